"""Ways to deliver notifications, one technology each."""
