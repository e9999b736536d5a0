"""Events in: refuse the malformed, store the rest, decide who is told."""
