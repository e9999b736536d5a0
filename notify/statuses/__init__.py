"""
Statuses: what applications want to be shown on commits, published in their own transactions and applied by a stage.

Decided: one row for each target (forge, repository, commit, context), with what is wanted and what was applied. An
    older state cannot stand over a newer one, since a worker applies what the row wants when it gets to it.
Rejected: one row for each update. It needs an order between rows, rows that no longer count, and another kind of
    duplicate.
"""
