"""Ways to reach people, one technology each."""
