"""The event types that applications and notify itself emit, and whom an event of each concerns."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType

from notify import entry_points
from notify.domain import events
from notify.domain.audience import (
    AudienceMember,
    InvolvedPeople,
    everyone_involved,
    operators,
    people_of_broken_head,
    people_of_green_head,
    requested_reviewers,
)
from notify.domain.custom_types import CustomEventType, members_of
from notify.domain.events import Event

Trigger = Callable[[InvolvedPeople], tuple[AudienceMember, ...]]

TRIGGERS: Mapping[str, Trigger] = MappingProxyType(
    {
        events.COMMENT_CREATED: everyone_involved,
        events.REVIEW_SUBMITTED: everyone_involved,
        events.REVIEW_REQUESTED: requested_reviewers,
        events.CREATED: everyone_involved,
        events.UPDATED: everyone_involved,
        events.MERGED: everyone_involved,
        events.CLOSED: everyone_involved,
        events.REOPENED: everyone_involved,
    }
)
# What notify emits itself; the public doors refuse these types.
OWN_TRIGGERS: Mapping[str, Trigger] = MappingProxyType(
    {
        events.SYNC_FAILING: operators,
        events.STATUS_DEAD: operators,
        events.REQUEST_STUCK: operators,
        events.HEAD_BROKEN: people_of_broken_head,
        events.HEAD_RECOVERED: people_of_green_head,
        events.HEAD_VALIDATED: people_of_green_head,
    }
)
_BUILT_IN = {**TRIGGERS, **OWN_TRIGGERS}


def custom_type(code: str) -> CustomEventType | None:
    """The event type of another package; None: there is none with this code. Looks for one only if we have none."""
    return None if code in _BUILT_IN else entry_points.custom_event_types().types.get(code)


def emittable() -> tuple[str, ...]:
    """Every event type that applications can emit, in order."""
    return tuple(sorted({*TRIGGERS, *entry_points.custom_event_types().types}))


def trigger_of(event: Event) -> Trigger | None:
    """Finds whom the event concerns; None: its type is unknown. Another package's may raise BadAudience."""
    custom = custom_type(event.type)
    return _BUILT_IN.get(event.type) if custom is None else partial(members_of, custom, event)
