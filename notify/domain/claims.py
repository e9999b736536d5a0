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

    ``(id, attempt)`` identifies this attempt permanently. ``failures`` and ``lapses`` count earlier attempts;
    ``max_failures`` is the retry budget. ``lane`` is the item's lane before the claim, and ``waited`` how many
    seconds it had been due. ``predecessor`` is the previous item with the same order key that is neither finished nor
    failed, which this claim may include; None: there is none.
    """

    id: int
    attempt: int
    failures: int
    max_failures: int
    lapses: int
    lane: int = 1
    waited: float = 0.0
    predecessor: int | None = None
