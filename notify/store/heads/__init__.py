"""
The stores of heads on PostgreSQL.

Decided: each call is a transaction of its own, as the contracts say. A use case over them holds on any store that can
    compare and set one row, and is proved with kills between any two calls.
"""
