"""Events in: stored once for each key, in the caller's transaction; the directory learns what they state."""

from collections.abc import Iterable, Mapping, Sequence
from uuid import uuid4

from notify.intake.schema import ChangeListIn, EventIn
from notify.store import events
from notify.store.database import Caller, runner
from notify.store.events import NewEvent, Receipt, StatedFacts


def receive(caller: Caller, given: Sequence[EventIn]) -> list[Receipt]:
    """
    Store the events that are new and say for each which row it is. The caller commits.

    An event whose key is known changes nothing, not even the directory. Within one call the
    first event of a key is the one that counts.

    Args:
        caller: A SQLAlchemy Session or Connection, or a psycopg Connection.

    Raises:
        UnsupportedConnection: The caller is something else.
    """
    run = runner(caller)
    by_key: dict[str, EventIn] = {}
    keys = [event.key or uuid4().hex for event in given]
    for key, event in zip(keys, given, strict=True):
        by_key.setdefault(key, event)
    new = events.store_new(run, [_row(key, event) for key, event in by_key.items()])
    known = events.find(run, [key for key in by_key if key not in new]) if len(new) < len(by_key) else {}
    events.learn(run, merged(event.cl for key, event in by_key.items() if key in new))
    return _receipts(keys, new=new, known=known)


def merged(stated: Iterable[ChangeListIn]) -> list[StatedFacts]:
    """What the events of one batch say about each change list; a later fact beats an earlier one."""
    facts: dict[str, StatedFacts] = {}
    for cl in stated:
        if cl.states_facts:
            known = facts.get(cl.link, StatedFacts(link=cl.link))
            facts[cl.link] = known.updated(**cl.model_dump(exclude_none=True))
    return [facts[link] for link in sorted(facts)]


def _row(key: str, event: EventIn) -> NewEvent:
    return NewEvent(
        key=key,
        type=event.type,
        cl_link=event.cl.link,
        actor=event.actor,
        occurred_at=event.occurred_at.isoformat() if event.occurred_at else None,
        payload={"comment": event.comment.model_dump(exclude_none=True)},
    )


def _receipts(keys: Sequence[str], *, new: Mapping[str, int], known: Mapping[str, int]) -> list[Receipt]:
    unclaimed = set(new)
    receipts = []
    for key in keys:
        receipts.append(Receipt(id=new.get(key) or known[key], key=key, duplicate=key not in unclaimed))
        unclaimed.discard(key)
    return receipts
