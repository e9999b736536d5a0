"""
Values and decisions: who is told, what an answer means, how long to wait. Standard library only.

Nothing here asks the clock or the dice; both are arguments, so every decision can be tested by a table.
"""
