"""How the sessions that a relay allows to all workers together are shared among their processes."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Claimant:
    """
    A worker process, how many sessions it has a use for, and how many it has.

    ``is_idle``: its sessions wait for emails that may come.
    """

    wanted: int
    sessions: int
    is_idle: bool = False


def share(cap: int, *, mine: Claimant, others: Sequence[Claimant]) -> int:
    """
    How many of *cap* sessions a process may have from now on; fewer than it has: it has to give up the rest.

    Whoever comes first has what it wants. As soon as another has less than an equal part and wants more, nobody keeps
    more than an equal part, and who has nothing to send keeps none. Together they never have more than *cap*.
    """
    equal = max(1, cap // (len(others) + 1))
    free = max(0, cap - sum(one.sessions for one in others))
    if not any(one.sessions < min(one.wanted, equal) for one in others):
        return min(mine.wanted, free)
    return 0 if mine.is_idle else min(mine.wanted, free, equal)
