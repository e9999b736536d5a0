"""The way to each relay: breaker, rate, share of the sessions, pace; and the choice among them."""
