"""Stores events, once for each key, in the caller's transaction, and updates the directory from them."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

from notify.domain.errors import MalformedEvent
from notify.domain.events import CLOSED, CREATED, MERGED, REOPENED
from notify.intake.event_digests import differing_fields, digests
from notify.intake.schema import PAYLOAD_OBJECTS, EventIn
from notify.store.callers import Statements, run
from notify.store.connection_kinds import Caller
from notify.store.directory.directory import State
from notify.store.outbox import events
from notify.store.outbox.events import FINALITY, KnownEvent, NewEvent, Receipt, StatedFacts

STATE_AFTER: Mapping[str, State] = MappingProxyType(
    {CREATED: State.OPEN, REOPENED: State.OPEN, MERGED: State.MERGED, CLOSED: State.CLOSED}
)
NOW = datetime.max.replace(tzinfo=UTC)


def receive(caller: Caller, given: Sequence[EventIn], *, traceparent: str | None = None) -> list[Receipt]:
    """
    Store the new events and return a receipt for each. The caller commits.

    An event whose key is already known changes nothing, not even the directory; its receipt names the fields that
    differ from the stored event. Within one call the first event with a key wins.

    Args:
        caller: A SQLAlchemy Session or Connection, or a psycopg Connection.
        traceparent: For events without their own.

    Raises:
        MalformedEvent: An event is in the future, by the database's clock.
        UnsupportedConnection: *caller* is something else.
    """
    return run(caller, receiving(given, traceparent=traceparent))


def receiving(given: Sequence[EventIn], *, traceparent: str | None = None) -> Statements[list[Receipt]]:
    """The statements of ``receive``, for any connection."""
    rows = [_row(event, traceparent) for event in given]
    first: dict[str, tuple[EventIn, NewEvent]] = {}
    for event, row in zip(given, rows, strict=True):
        first.setdefault(row.key, (event, row))
    asked = [row for _, row in first.values()]
    new = yield from events.store_new(asked)
    stored = (yield from events.find([key for key in first if key not in new])) if len(new) < len(first) else {}
    if len(new) + len(stored) < len(first) and (ahead := (yield from events.in_future(asked))):
        index = rows.index(asked[ahead[0]])
        reason = "expected an instant not later than five minutes from now"
        raise MalformedEvent(field="occurred_at", reason=reason, index=index if len(rows) > 1 else None)
    yield from events.learn(merged(event for key, (event, _) in first.items() if key in new))
    known = stored | {key: KnownEvent(id_, first[key][1].key_hash) for key, id_ in new.items()}
    unclaimed = set(new)
    receipts = []
    for row in rows:
        duplicate = row.key not in unclaimed
        unclaimed.discard(row.key)
        differs = differing_fields(known[row.key].key_hash, row.key_hash) if duplicate else ()
        stored_as = known[row.key]
        receipts.append(
            Receipt(id=stored_as.id, key=row.key, duplicate=duplicate, differs=differs, withdrawn=stored_as.withdrawn)
        )
    return receipts


def merged(stated: Iterable[EventIn]) -> list[StatedFacts]:
    """
    The facts that a batch of events states about each change list; later events override earlier ones.

    The state is that of the event with the latest ``occurred_at``, whatever the order of the batch. At the same instant
    the more final state wins; without ``occurred_at``, the later event.
    """
    facts: dict[str, StatedFacts] = {}
    since: dict[str, tuple[datetime, int]] = {}
    for event in stated:
        link, state, at = event.cl.link, STATE_AFTER.get(event.type), event.occurred_at or NOW
        known = facts.get(link, StatedFacts(link=link))
        if event.cl.states_facts:
            facts[link] = known = replace(known, **event.cl.model_dump(exclude_none=True))
        final = FINALITY.index(state) if state and event.occurred_at else 0
        if state and (at, final) >= since.get(link, (at, final)):
            since[link] = (at, final)
            facts[link] = replace(known, state=state, state_at=_iso(event.occurred_at))
    return [facts[link] for link in sorted(facts)]


def _row(event: EventIn, traceparent: str | None) -> NewEvent:
    return NewEvent(
        key=event.key or uuid4().hex,
        type=event.type,
        topic=event.cl.link,
        actor=event.actor,
        occurred_at=_iso(event.occurred_at),
        payload=event.model_dump(include=set(PAYLOAD_OBJECTS), exclude_none=True),
        key_hash=digests(event),
        traceparent=event.traceparent or traceparent,
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
