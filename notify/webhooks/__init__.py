"""
Webhooks out: tells the endpoints of operators how emails, notifications and events ended.

Decided: a call is written in the transaction that writes the outcome, so that none is lost, by a trigger for each
    statement. None of our other statements mentions it, and without endpoints it reads one small table.
Decided: the row keeps ids; the rest is read when the call is made. So nothing personal has a second copy.
Rejected: the same in our own statements. Outcomes are recorded in nine places, some in applications whose role has no
    right to these tables, and a place that is forgotten is a call that nobody misses.
Rejected: a stage that looks for finished jobs; no index finds them.
"""
