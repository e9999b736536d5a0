"""Stores the events that notify emits itself, once for each key, in the caller's transaction."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notify.domain.events import OURSELVES
from notify.domain.own_events import OwnEvent
from notify.store.callers import run
from notify.store.outbox import events
from notify.store.outbox.events import NewEvent


def emit_own(connection: Connection, given: Sequence[OwnEvent]) -> int:
    """
    Store those whose keys are new; how many. The caller commits, and rings the fan-out's doorbell.

    They go round the public door, whose events are about change lists and whose types are an application's.
    """
    first = {one.key: one for one in reversed(given)}
    return len(run(connection, events.store_new([_row(one) for one in first.values()]))) if first else 0


def _row(one: OwnEvent) -> NewEvent:
    return NewEvent(
        key=one.key,
        type=one.type,
        topic=one.topic,
        actor=OURSELVES,
        occurred_at=None,
        payload=one.payload,
        key_hash={},
    )
