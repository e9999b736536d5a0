"""Events: stored once per key, claimed by the fan-out, ended as done, dead or withdrawn."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from json import dumps, loads
from typing import Any

from sqlalchemy import Connection, TextClause, select, text

from notify.domain.claims import Lane
from notify.domain.events import Event
from notify.domain.outcomes import EventStatus
from notify.domain.stages import FAN_OUT
from notify.store.callers import Statement, Statements
from notify.store.outbox import items
from notify.store.outbox.items import Attempt, ItemOutcome
from notify.store.tables.emails import events
from notify.store.tables.people import first_known

FINALITY = ("open", "closed", "merged")
# For a SELECT from notify.events AS event.
COLUMNS_OF_EVENT = """
    event.id, event.key, event.type, event.topic, event.actor, event.occurred_at, event.payload,
    extract(epoch FROM now() - event.created_at)::float8 AS age_seconds, event.traceparent,
    event.status = 'withdrawn' AS is_withdrawn"""


@dataclass(frozen=True, slots=True, kw_only=True)
class NewEvent:
    """
    An event to store; ``occurred_at`` is ISO 8601 with an offset, None: now; ``traceparent`` None: no trace.

    ``key_hash`` distinguishes it from another event with the same key.
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
    """A stored event; ``key_hash`` distinguishes it from another with the same key, None: unknown."""

    id: int
    key_hash: Mapping[str, str] | None
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """
    The stored row of an event; ``duplicate``: its key was known before.

    ``differs`` names the fields that differ from what is stored under the key; nothing was changed. ``withdrawn``: the
    stored event was withdrawn, so nobody is told of this one either.
    """

    id: int
    key: str
    duplicate: bool
    differs: tuple[str, ...] = ()
    withdrawn: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class StatedFacts:
    """
    What events state about a change list; None: not stated.

    ``state_at`` is ISO 8601 with an offset, None: now; it counts only with a ``state``.
    """

    link: str
    title: str | None = None
    url: str | None = None
    repository: str | None = None
    author: str | None = None
    reviewers: Sequence[str] | None = None
    owners: Sequence[str] | None = None
    state: str | None = None
    state_at: str | None = None


# Returns numbers, not keys: the caller's session may have an encoding that cannot represent a key.
_NEW = """jsonb_to_recordset(CAST(CAST(:new AS text) AS jsonb)) AS new(
            number int, key text, type text, topic text, actor text, occurred_at timestamptz, payload jsonb,
            key_hash jsonb, traceparent text
        )"""
# clock_timestamp(), because in a long transaction now() is in the past.
_AHEAD = f"SELECT number FROM {_NEW} WHERE occurred_at > clock_timestamp() + interval '5 minutes'"
_FIND_AHEAD = text(_AHEAD)
# Urgent events have order keys of their own, so that they never wait for others.
_STORE = text(f"""
    WITH new AS MATERIALIZED (
        SELECT * FROM {_NEW} WHERE NOT EXISTS ({_AHEAD})
    ), stored AS (
        INSERT INTO notify.events (key, type, topic, actor, occurred_at, payload, key_hash, traceparent)
        SELECT key, type, topic, actor, coalesce(occurred_at, now()), payload, key_hash, traceparent FROM new
        ON CONFLICT (key) DO NOTHING
        RETURNING id, key, topic, type
    ), to_do AS (
        INSERT INTO notify.work_items (stage, id, lane, order_key)
        SELECT '{FAN_OUT}', stored.id, CASE WHEN kind.system_required THEN {Lane.URGENT:d} ELSE {Lane.NORMAL:d} END,
            CASE WHEN kind.system_required THEN 'urgent ' ELSE '' END || stored.topic
        FROM stored LEFT JOIN notify.notification_event_types AS kind ON kind.code = stored.type
    )
    SELECT new.number, stored.id FROM new JOIN stored USING (key)""")
# As text: an application's connection may have its own JSON loader.
_FIND = text("""
    SELECT wanted.number, event.id, CAST(event.key_hash AS text), event.status = 'withdrawn'
    FROM jsonb_to_recordset(CAST(CAST(:wanted AS text) AS jsonb)) AS wanted(number int, key text)
    JOIN notify.events AS event USING (key)""")

_FACTS = """jsonb_to_recordset(CAST(CAST(:facts AS text) AS jsonb)) AS facts(
            link text, title text, url text, repository text, author text, reviewers text[], owners text[], state text,
            state_at timestamptz
        )"""


def _replaces_state(stated: str) -> str:
    """
    SQL: whether a stated state replaces the known one: it is later, or as late and no less final.

    Events arrive in any order. A known time in the future, which the API no longer accepts, is ignored.
    """
    known_at = "CASE WHEN known.state_at <= now() + interval '5 minutes' THEN known.state_at ELSE '-infinity' END"
    finality = f"array_position(ARRAY{list(FINALITY)}, {{}}.state)"
    return f"({stated}.state_at, {finality.format(stated)}) >= ({known_at}, {finality.format('known')})"


# Change lists without news are filtered before ON CONFLICT, which would lock the row until the application's
# transaction ends and make other events wait. New reviewers need that lock, or two transactions' would mix.
# A state without a time gets clock_timestamp(), so that the second of two in a transaction is later.
_LEARN = text(f"""
    WITH stated AS MATERIALIZED (
        SELECT link, title, url, repository, author, reviewers, state,
            CASE WHEN state IS NOT NULL THEN coalesce(state_at, clock_timestamp()) END AS state_at
        FROM {_FACTS}
    )
    INSERT INTO notify.change_lists AS known (link, title, url, repository, author, state, state_at)
    SELECT link, title, url, repository, author, coalesce(state, 'open'), state_at FROM stated
    WHERE NOT EXISTS (
        SELECT FROM notify.change_lists AS known, LATERAL (
            SELECT coalesce(array_agg(username), ARRAY[]::text[]) AS names
            FROM notify.cl_reviewers WHERE topic = known.link
        ) AS reviewer
        WHERE known.link = stated.link
            AND coalesce(stated.title, known.title) IS NOT DISTINCT FROM known.title
            AND coalesce(stated.url, known.url) IS NOT DISTINCT FROM known.url
            AND coalesce(stated.repository, known.repository) IS NOT DISTINCT FROM known.repository
            AND coalesce(stated.author, known.author) IS NOT DISTINCT FROM known.author
            AND (stated.reviewers IS NULL OR stated.reviewers <@ reviewer.names AND stated.reviewers @> reviewer.names)
            AND (stated.state IS NULL OR NOT {_replaces_state("stated")})
    )
    ORDER BY link
    ON CONFLICT (link) DO UPDATE SET
        title = coalesce(excluded.title, known.title), url = coalesce(excluded.url, known.url),
        repository = coalesce(excluded.repository, known.repository), author = coalesce(excluded.author, known.author),
        first_title = {first_known("title", "coalesce(excluded.title, known.title)")},
        first_repository = {first_known("repository", "coalesce(excluded.repository, known.repository)")},
        state = CASE WHEN {_replaces_state("excluded")} THEN excluded.state ELSE known.state END,
        state_at = CASE WHEN {_replaces_state("excluded")} THEN excluded.state_at ELSE known.state_at END""")


def _put_people(facts: str, table: str) -> TextClause:
    return text(f"""
    WITH stated AS MATERIALIZED (
        SELECT link, {facts} AS people FROM {_FACTS} WHERE {facts} IS NOT NULL
    ), gone AS (
        DELETE FROM notify.{table} AS known USING stated
        WHERE known.topic = stated.link AND known.username <> ALL (stated.people)
    )
    INSERT INTO notify.{table} (topic, username)
    SELECT link, unnest(people) AS username FROM stated ORDER BY link, username
    ON CONFLICT (topic, username) DO NOTHING""")


_PUT_REVIEWERS = _put_people("reviewers", "cl_reviewers")
_PUT_OWNERS = _put_people("owners", "cl_owners")


def store_new(rows: Sequence[NewEvent]) -> Statements[dict[str, int]]:
    """Store the rows with new keys; their ids by key. Stores none if one is in the future (``in_future``)."""
    stored = yield Statement(_STORE, _numbered(rows))
    return {rows[number].key: id_ for number, id_ in stored}


def in_future(rows: Sequence[NewEvent]) -> Statements[list[int]]:
    """Indexes of the rows that lie more than five minutes in the future, by the database's clock."""
    ahead = yield Statement(_FIND_AHEAD, _numbered(rows))
    return sorted(number for (number,) in ahead)


def find(keys: Sequence[str]) -> Statements[dict[str, KnownEvent]]:
    """The events with these keys, by key."""
    wanted = [{"number": number, "key": key} for number, key in enumerate(keys)]
    found = yield Statement(_FIND, {"wanted": dumps(wanted)})
    return {
        keys[number]: KnownEvent(id_, loads(key_hash) if key_hash else None, withdrawn)
        for number, id_, key_hash, withdrawn in found
    }


def learn(facts: Sequence[StatedFacts]) -> Statements[None]:
    """Update the directory from these statements, one per change list; at most three SQL statements."""
    stated = {"facts": dumps([asdict(one) for one in facts])}
    if facts:
        yield Statement(_LEARN, stated)
    if any(one.reviewers is not None for one in facts):
        yield Statement(_PUT_REVIEWERS, stated)
    if any(one.owners is not None for one in facts):
        yield Statement(_PUT_OWNERS, stated)


def _numbered(rows: Sequence[NewEvent]) -> dict[str, str]:
    return {"new": dumps([{"number": number, **asdict(row)} for number, row in enumerate(rows)])}


_LOAD = f"SELECT {COLUMNS_OF_EVENT} FROM notify.events AS event WHERE event.id = ANY (%(ids)s::bigint[])"
# One statement for the usual outcome, done. Rows are locked in the order of ids. One that is locked is being withdrawn
# in an application's transaction, for which no batch waits; if that is rolled back, the lease runs out.
_DONE = f"""
    WITH locked AS MATERIALIZED (
        SELECT item.id FROM notify.work_items AS item
        JOIN unnest(%(ids)s::bigint[], %(attempts)s::int[]) AS named(id, attempt)
            ON named.id = item.id AND named.attempt = item.attempt
        WHERE item.stage = '{FAN_OUT}' AND item.id = ANY (%(ids)s::bigint[]) AND item.lane + 0 = {Lane.LEASED:d}
        ORDER BY item.id FOR UPDATE OF item SKIP LOCKED
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = '{FAN_OUT}' AND item.id = ANY (ARRAY(SELECT locked.id FROM locked))
        RETURNING item.id, item.attempt
    )
    UPDATE notify.events AS event SET status = '{EventStatus.DONE}', finished_at = now()
    FROM gone WHERE event.id = ANY (%(ids)s::bigint[]) AND event.id = gone.id
    RETURNING event.id, gone.attempt"""

_END = "UPDATE notify.events SET status = %(status)s, finished_at = now() WHERE id = ANY (%(ids)s::bigint[])"


def settle(connection: Connection, outcomes: Sequence[ItemOutcome]) -> set[Attempt]:
    """Record these outcomes and end the events that are done or dead; returns the attempts that had their lease."""
    done, others = [one for one in outcomes if one.lane is None], [one for one in outcomes if one.lane is not None]
    ours = items.settle(connection, FAN_OUT, others)
    end(connection, [one.id for one in others if one.lane is Lane.DEAD and one.name in ours], EventStatus.DEAD)
    if not done:
        return ours
    named = {"ids": [one.id for one in done], "attempts": [one.attempt for one in done]}
    return ours | {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_DONE, named)}


def end(connection: Connection, ids: Sequence[int], status: str) -> None:
    """Mark these events as done or dead; ``work_items`` has the reason."""
    if ids:
        connection.exec_driver_sql(_END, {"ids": list(ids), "status": status})


def load(connection: Connection, ids: Sequence[int]) -> dict[int, Event]:
    """The events with these ids, by id."""
    found = connection.exec_driver_sql(_LOAD, {"ids": list(ids)}).mappings()
    return {row["id"]: Event(**row) for row in found}


def any_emptied(connection: Connection, ids: Sequence[int]) -> bool:
    """Whether the payload of any of these events was deleted."""
    emptied = select(events.c.id).where(events.c.id.in_(ids), events.c.emptied_at.is_not(None))
    return connection.scalar(emptied.limit(1)) is not None
