"""The known event types, each with the function that says whom an event of that type concerns."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from notify.domain import events
from notify.domain.audience import Concerned, Involved, everyone, requested

Trigger = Callable[[Involved], tuple[Concerned, ...]]

TRIGGERS: Mapping[str, Trigger] = MappingProxyType(
    {
        events.COMMENT_CREATED: everyone,
        events.REVIEW_SUBMITTED: everyone,
        events.REVIEW_REQUESTED: requested,
        events.CREATED: everyone,
        events.UPDATED: everyone,
        events.MERGED: everyone,
        events.CLOSED: everyone,
        events.REOPENED: everyone,
    }
)
