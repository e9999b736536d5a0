"""The way to each relay: its breaker, its rate, its share of the sessions, its pace, and which of them is taken."""
