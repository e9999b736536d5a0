"""One function for each event type: whom an event of that type concerns."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from notify.domain import events
from notify.domain.audience import Circle, Concerned, around, around_and_mentioned, requested
from notify.domain.events import Event

Trigger = Callable[[Event, Circle], tuple[Concerned, ...]]


def said(_event: Event, circle: Circle) -> tuple[Concerned, ...]:
    """A comment or a review concerns everyone around its change list, and whom it mentions."""
    return around_and_mentioned(circle)


def happened(_event: Event, circle: Circle) -> tuple[Concerned, ...]:
    """What happens to a change list concerns everyone around it."""
    return around(circle)


def review_requested(event: Event, _circle: Circle) -> tuple[Concerned, ...]:
    """A request concerns the people who are asked, and nobody else."""
    return requested(event)


TRIGGERS: Mapping[str, Trigger] = MappingProxyType(
    {
        events.COMMENT_CREATED: said,
        events.REVIEW_SUBMITTED: said,
        events.REVIEW_REQUESTED: review_requested,
        events.CREATED: happened,
        events.UPDATED: happened,
        events.MERGED: happened,
        events.CLOSED: happened,
        events.REOPENED: happened,
    }
)
