"""Events in: stored once for each key, in the caller's transaction; the directory learns what they state."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from types import MappingProxyType
from uuid import uuid4

from notify.domain.errors import MalformedEvent
from notify.domain.events import CLOSED, CREATED, MERGED, REOPENED
from notify.intake.sameness import differing, digests
from notify.intake.schema import PARTS, EventIn
from notify.store.database import Caller, runner
from notify.store.directory.directory import State
from notify.store.outbox import events
from notify.store.outbox.events import FINALITY, KnownEvent, NewEvent, Receipt, StatedFacts

STATE_AFTER: Mapping[str, State] = MappingProxyType(
    {CREATED: State.OPEN, REOPENED: State.OPEN, MERGED: State.MERGED, CLOSED: State.CLOSED}
)
NOW = datetime.max.replace(tzinfo=UTC)


def receive(caller: Caller, given: Sequence[EventIn], *, traceparent: str | None = None) -> list[Receipt]:
    """
    Store the events that are new and say for each which row it is. The caller commits.

    An event whose key is known changes nothing, not even the directory; its receipt says where it
    differs from the one that is stored. Within one call the first event of a key is the one that counts.

    Args:
        caller: A SQLAlchemy Session or Connection, or a psycopg Connection.
        traceparent: The trace of events that state none.

    Raises:
        MalformedEvent: An event happened in the future, by the clock of the database.
        UnsupportedConnection: The caller is something else.
    """
    run = runner(caller)
    rows = [_row(event, traceparent) for event in given]
    first: dict[str, tuple[EventIn, NewEvent]] = {}
    for event, row in zip(given, rows, strict=True):
        first.setdefault(row.key, (event, row))
    asked = [row for _, row in first.values()]
    new = events.store_new(run, asked)
    stored = events.find(run, [key for key in first if key not in new]) if len(new) < len(first) else {}
    if len(new) + len(stored) < len(first) and (ahead := events.ahead(run, asked)):
        index = rows.index(asked[ahead[0]])
        reason = "expected an instant not later than five minutes from now"
        raise MalformedEvent(field="occurred_at", reason=reason, index=index if len(rows) > 1 else None)
    events.learn(run, merged(event for key, (event, _) in first.items() if key in new))
    known = stored | {key: KnownEvent(id_, first[key][1].key_hash) for key, id_ in new.items()}
    unclaimed = set(new)
    receipts = []
    for row in rows:
        duplicate = row.key not in unclaimed
        unclaimed.discard(row.key)
        differs = differing(known[row.key].key_hash, row.key_hash) if duplicate else ()
        receipts.append(Receipt(id=known[row.key].id, key=row.key, duplicate=duplicate, differs=differs))
    return receipts


def merged(stated: Iterable[EventIn]) -> list[StatedFacts]:
    """
    What the events of one batch say about each change list; a later fact beats an earlier one.

    The state is that after the event that happened last, whichever order they come in. Of two that state the
    same instant, the more final one counts; of two that state none, the later one.
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
        payload=event.model_dump(include=set(PARTS), exclude_none=True),
        key_hash=digests(event),
        traceparent=event.traceparent or traceparent,
    )


def _iso(at: datetime | None) -> str | None:
    return at.isoformat() if at else None
