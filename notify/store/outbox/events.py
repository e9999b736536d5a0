"""Events in the table: stored once for each key, claimed by the fan-out, finished with a reason."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from json import dumps, loads
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Integer,
    Interval,
    Row,
    Text,
    any_,
    bindparam,
    case,
    cast,
    delete,
    exists,
    extract,
    func,
    literal,
    select,
    type_coerce,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, JSONB, insert

from notify.domain.claims import Lane
from notify.domain.events import Event
from notify.domain.stages import FAN_OUT
from notify.domain.statuses import EventStatus
from notify.store.database import Run
from notify.store.outbox import items
from notify.store.outbox.items import Attempt, Ending
from notify.store.records import records
from notify.store.tables.emails import events, work_items
from notify.store.tables.people import change_lists, cl_reviewers, first_known, notification_event_types

OPEN = "open"
FINALITY = (OPEN, "closed", "merged")
MOST_AHEAD = timedelta(minutes=5)
FACTS_OF_EVENT: Sequence[ColumnElement[Any]] = (
    events.c.id,
    events.c.key,
    events.c.type,
    events.c.topic,
    events.c.actor,
    events.c.occurred_at,
    events.c.payload,
    events.c.traceparent,
    cast(extract("epoch", func.now() - events.c.created_at), Float).label("age_seconds"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """
    A row to be; ``occurred_at`` is ISO 8601 with an offset, None means now; ``traceparent`` None: in no trace.

    ``key_hash`` is what tells it from another event with its key.
    """

    key: str
    type: str
    topic: str
    actor: str
    occurred_at: str | None
    payload: Mapping[str, Any]
    key_hash: Mapping[str, str]
    traceparent: str | None = None


@dataclass(frozen=True, slots=True)
class KnownEvent:
    """An event that is stored, and what tells it from another with its key; None: nobody knows."""

    id: int
    key_hash: Mapping[str, str] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """
    Which row an event is; ``duplicate`` means that its key was known before this call.

    ``differs`` names the fields in which it is not what was stored with its key; it changed nothing then either.
    """

    id: int
    key: str
    duplicate: bool
    differs: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedFacts:
    """
    What events say about a change list; None means that they do not say.

    ``state_at`` is ISO 8601 with an offset, None means now; it counts only beside a ``state``.
    """

    link: str
    title: str | None = None
    url: str | None = None
    repository: str | None = None
    author: str | None = None
    reviewers: Sequence[str] | None = None
    state: str | None = None
    state_at: str | None = None

    def updated(self, **facts: Any) -> "StatedFacts":  # noqa: ANN401 - the fields of this very class
        """The same with later facts over earlier ones."""
        return replace(self, **facts)


# What the caller's session gives back is numbers: it may have an encoding in which a key cannot be said.
_new = records(
    "new",
    number=Integer,
    key=Text,
    type=Text,
    topic=Text,
    actor=Text,
    occurred_at=DateTime(timezone=True),
    payload=JSONB,
    key_hash=JSONB,
    traceparent=Text,
)
# The clock at this moment, not the transaction's: what happened in a long one did not happen in the future.
_any = _new.alias("any_of_them")
AHEAD = select(_any.c.number).where(_any.c.occurred_at > func.clock_timestamp() + literal(MOST_AHEAD, Interval))
_stored = (
    insert(events)
    .from_select(
        ["key", "type", "topic", "actor", "occurred_at", "payload", "key_hash", "traceparent"],
        select(
            _new.c.key,
            _new.c.type,
            _new.c.topic,
            _new.c.actor,
            func.coalesce(_new.c.occurred_at, func.now()),
            _new.c.payload,
            _new.c.key_hash,
            _new.c.traceparent,
        ).where(~AHEAD.exists()),
    )
    .on_conflict_do_nothing(index_elements=[events.c.key])
    .returning(events.c.id, events.c.key, events.c.topic, events.c.type)
    .cte("stored")
)
# What is urgent waits for nothing that is not.
_is_urgent = exists().where(
    notification_event_types.c.code == _stored.c.type, notification_event_types.c.system_required
)
_to_do = (
    insert(work_items)
    .from_select(
        ["stage", "id", "lane", "order_key"],
        select(
            literal(FAN_OUT, Text),
            _stored.c.id,
            case((_is_urgent, literal(int(Lane.URGENT))), else_=literal(int(Lane.NORMAL))),
            case((_is_urgent, literal("urgent ", Text) + _stored.c.topic), else_=_stored.c.topic),
        ),
    )
    .cte("to_do")
)
INSERT = select(_new.c.number, _stored.c.id).where(_new.c.key == _stored.c.key).add_cte(_to_do)

_wanted = records("wanted", number=Integer, key=Text)
# As text: an application's connection may read JSON in a way of its own.
FIND = select(_wanted.c.number, events.c.id, cast(events.c.key_hash, Text)).where(events.c.key == _wanted.c.key)

_facts = records(
    "facts",
    link=Text,
    title=Text,
    url=Text,
    repository=Text,
    author=Text,
    reviewers=ARRAY(Text),
    state=Text,
    state_at=DateTime(timezone=True),
)
FACTS = ("title", "url", "repository", "author")


def _unchanged(fact: str) -> ColumnElement[bool]:
    stated, known = _facts.c[fact], change_lists.c[fact]
    return stated.is_(None) | stated.is_not_distinct_from(known)


_reviewer_names = func.coalesce(func.array_agg(cl_reviewers.c.username), literal([], ARRAY(Text)))
_known_reviewers = type_coerce(
    select(_reviewer_names).where(cl_reviewers.c.topic == _facts.c.link).scalar_subquery(), ARRAY(Text)
)
# A state that was true before the known one is no news: events arrive in any order.
# What states no instant is of this moment, so that of two in one transaction the second is the later one.
_state_at = case((_facts.c.state.is_not(None), func.coalesce(_facts.c.state_at, func.clock_timestamp())))
# One that was stated for the future, which no door takes any more, counts as none.
_known_since = case(
    (change_lists.c.state_at <= func.now() + literal(MOST_AHEAD, Interval), change_lists.c.state_at),
    else_=literal("-infinity", DateTime(timezone=True)),
)
_same_reviewers = _known_reviewers.contains(_facts.c.reviewers) & _known_reviewers.contained_by(_facts.c.reviewers)


def _stands(state: ColumnElement[Any], since: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether a state takes the place of the known one: it is of later, or of the same instant and no less final."""
    as_final = func.array_position(literal(list(FINALITY), ARRAY(Text)), cast(state, Text))
    known = func.array_position(literal(list(FINALITY), ARRAY(Text)), change_lists.c.state)
    return (since > _known_since) | ((since == _known_since) & (as_final >= known))


# A change list about which nothing new is said is left out before the conflict, not after it: a conflict
# locks the row until the application's transaction ends, and makes others' events on it wait.
# New reviewers need that lock, or those of two transactions would mix.
_old_news = exists().where(
    change_lists.c.link == _facts.c.link,
    *(_unchanged(fact) for fact in FACTS),
    _facts.c.reviewers.is_(None) | _same_reviewers,
    _facts.c.state.is_(None) | ~_stands(_facts.c.state, _state_at),
)
_learn = insert(change_lists).from_select(
    ["link", *FACTS, "state", "state_at"],
    select(_facts.c.link, *(_facts.c[fact] for fact in FACTS), func.coalesce(_facts.c.state, OPEN), _state_at)
    .where(~_old_news)
    .order_by(_facts.c.link),
)
_newer = _stands(_learn.excluded.state, _learn.excluded.state_at)
LEARN = _learn.on_conflict_do_update(
    index_elements=[change_lists.c.link],
    set_={
        **{fact: func.coalesce(_learn.excluded[fact], change_lists.c[fact]) for fact in FACTS},
        **{
            f"first_{fact}": first_known(fact, func.coalesce(_learn.excluded[fact], change_lists.c[fact]))
            for fact in ("title", "repository")
        },
        "state": case((_newer, _learn.excluded.state), else_=change_lists.c.state),
        "state_at": case((_newer, _learn.excluded.state_at), else_=change_lists.c.state_at),
    },
)

_reviewers = records("reviewers", link=Text, username=Text)
_complete = records("complete", link=Text)
DROP_REVIEWERS = delete(cl_reviewers).where(
    cl_reviewers.c.topic.in_(select(_complete.c.link)),
    ~exists().where(_reviewers.c.link == cl_reviewers.c.topic, _reviewers.c.username == cl_reviewers.c.username),
)
ADD_REVIEWERS = (
    insert(cl_reviewers)
    .from_select(
        ["topic", "username"],
        select(_reviewers.c.link, _reviewers.c.username).order_by(_reviewers.c.link, _reviewers.c.username),
    )
    .on_conflict_do_nothing()
)


def store_new(run: Run, rows: Sequence[NewEvent]) -> dict[str, int]:
    """Store the rows whose key is new; the ids of those by key. None is stored if one is ``ahead``."""
    new = [{"number": number, **asdict(row)} for number, row in enumerate(rows)]
    return {rows[number].key: id_ for number, id_ in run(INSERT, {"new": dumps(new)})}


def ahead(run: Run, rows: Sequence[NewEvent]) -> list[int]:
    """Which of these happen more than five minutes from now by the database's clock: the reason to store none."""
    new = [{"number": number, **asdict(row)} for number, row in enumerate(rows)]
    return sorted(number for (number,) in run(AHEAD, {"new": dumps(new)}))


def find(run: Run, keys: Sequence[str]) -> dict[str, KnownEvent]:
    """The events with these keys, by key."""
    wanted = [{"number": number, "key": key} for number, key in enumerate(keys)]
    return {
        keys[number]: KnownEvent(id_, loads(key_hash) if key_hash else None)
        for number, id_, key_hash in run(FIND, {"wanted": dumps(wanted)})
    }


def learn(run: Run, facts: Sequence[StatedFacts]) -> None:
    """Bring the directory up to what was stated; one entry for each change list, three statements in all."""
    if not facts:
        return
    run(LEARN, {"facts": dumps([asdict(one) for one in facts])})
    complete = [one for one in facts if one.reviewers is not None]
    if complete:
        reviewers = dumps([{"link": one.link, "username": name} for one in complete for name in one.reviewers or ()])
        run(DROP_REVIEWERS, {"complete": dumps([{"link": one.link} for one in complete]), "reviewers": reviewers})
        run(ADD_REVIEWERS, {"reviewers": reviewers})


_LOAD = select(*FACTS_OF_EVENT).where(events.c.id == func.any(bindparam("ids", type_=ARRAY(BigInteger))))


# One statement for what mostly happens: the event is done. Rows are locked in the order of their ids.
_DONE = f"""
    WITH locked AS MATERIALIZED (
        SELECT item.id FROM notify.work_items AS item
        JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS named(id, attempt)
            ON named.id = item.id AND named.attempt = item.attempt
        WHERE item.stage = '{FAN_OUT}' AND item.id = ANY (%(ids)s::bigint[]) AND item.lane + 0 = {Lane.LEASED:d}
        ORDER BY item.id FOR UPDATE OF item
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = '{FAN_OUT}' AND item.id = ANY (ARRAY(SELECT locked.id FROM locked))
        RETURNING item.id, item.attempt
    )
    UPDATE notify.events AS event SET status = '{EventStatus.DONE}', finished_at = now()
    FROM gone WHERE event.id = ANY (%(ids)s::bigint[]) AND event.id = gone.id
    RETURNING event.id, gone.attempt"""


def settle(connection: Connection, endings: Sequence[Ending]) -> set[Attempt]:
    """End these attempts to fan out, and the events that are done or dead; those whose lease was still ours."""
    done, others = [one for one in endings if one.lane is None], [one for one in endings if one.lane is not None]
    ours = items.settle(connection, FAN_OUT, others)
    end(connection, [one.id for one in others if one.lane is Lane.DEAD and one.name in ours], EventStatus.DEAD)
    if not done:
        return ours
    named = {"ids": [one.id for one in done], "attempts": [one.attempt for one in done]}
    return ours | {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_DONE, named)}


def end(connection: Connection, ids: Sequence[int], status: str) -> None:
    """Write that these events are done or dead; why one is dead stands in ``work_items``."""
    if ids:
        ended = update(events).where(events.c.id == any_(literal(list(ids), ARRAY(BigInteger))))
        connection.execute(ended.values(status=status, finished_at=func.now()))


def load(connection: Connection, ids: Sequence[int]) -> dict[int, Event]:
    """The events with these ids, by id."""
    return {row.id: _event(row) for row in connection.execute(_LOAD, {"ids": list(ids)}).all()}


def any_emptied(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether any of these events has lost its words."""
    emptied = select(events.c.id).where(events.c.id.in_(ids), events.c.emptied_at.is_not(None))
    return connection.scalar(emptied.limit(1)) is not None


def _event(row: Row[Any]) -> Event:
    return Event(
        id=row.id,
        key=row.key,
        type=row.type,
        topic=row.topic,
        actor=row.actor,
        occurred_at=row.occurred_at,
        payload=row.payload,
        traceparent=row.traceparent,
        age_seconds=row.age_seconds,
    )
