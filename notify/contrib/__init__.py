"""notify inside web frameworks."""
