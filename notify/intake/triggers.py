"""The event types that applications and notify itself emit, each with the function that determines its audience."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from notify.domain import events
from notify.domain.audience import (
    AudienceMember,
    InvolvedPeople,
    everyone_involved,
    operators,
    people_of_queue,
    requested_reviewers,
)

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
        events.HEAD_BROKEN: people_of_queue,
        events.HEAD_RECOVERED: people_of_queue,
        events.HEAD_VALIDATED: people_of_queue,
    }
)
