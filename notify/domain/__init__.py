"""
Values and decisions: who is notified, what an outcome means, how long to wait. Standard library only.

Nothing here reads the clock or draws random numbers; both are arguments, so every decision can be tested by a table.
"""
