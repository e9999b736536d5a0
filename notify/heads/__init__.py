"""
At which commit is this branch green: a queue's heads are validated one after the other.

A request that is not at its end has a work item; its state says which function takes it. Every step may be repeated,
so that a process may end between any two calls to a store.

Decided: work items of heads have no order key. All writes compare and set, and a queue with several slots is to be
    worked on by several processes.
"""
