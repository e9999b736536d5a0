"""The lanes of work items, and the right to work on one."""

from dataclasses import dataclass
from enum import IntEnum


class Lane(IntEnum):
    """The state of an item; waiting items are claimed in this order."""

    URGENT = 0
    NORMAL = 1
    BULK = 2
    LAPSED = 4
    LEASED = 8
    DEAD = 9


WAITING = (Lane.URGENT, Lane.NORMAL, Lane.BULK)


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """
    The right to work on one item until its lease ends.

    ``(id, attempt)`` names this attempt for ever. ``failures`` and ``lapses`` count what happened before it;
    ``max_failures`` is the retry budget. ``lane`` is where the item was, and ``waited`` for how many seconds it had
    been due. ``follows`` is the last item before it with its order key that had neither ended nor failed when it was
    claimed, perhaps by the same claim; None: there was none.
    """

    id: int
    attempt: int
    failures: int
    max_failures: int
    lapses: int
    lane: int = 1
    waited: float = 0.0
    follows: int | None = None
