"""Requests, and which request has a head."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Row

from notify.domain.claims import Lane
from notify.domain.head_ports import AlreadyExists, NotFound, VersionMismatch
from notify.domain.heads import Request, RequestId, RequestState, Strategy
from notify.domain.stages import HEADS
from notify.store.database import Database
from notify.store.heads.listing import FORCED

# A build that takes hours is asked for often.
MOST_FAILURES = 25
# A request and its work item are born together: none is forgotten.
_CREATE = f"""
    WITH made AS (
        INSERT INTO notify.requests (queue, id, uri, state, build_strategy, base_uri, forced, version, finished_at)
        VALUES (%(queue)s, %(id)s, %(uri)s, %(state)s, %(strategy)s, %(base_uri)s, %(forced)s, %(version)s,
            CASE WHEN %(final)s THEN now() END)
        ON CONFLICT (queue, id) DO NOTHING
        RETURNING item_id
    ), to_do AS (
        INSERT INTO notify.work_items (stage, id, lane, max_failures)
        SELECT '{HEADS}', item_id, {Lane.NORMAL:d}, {MOST_FAILURES} FROM made WHERE NOT %(final)s
    )
    SELECT item_id FROM made"""
_COLUMNS = "queue, id, uri, state, build_strategy, base_uri, forced, version"
_GET = f"SELECT {_COLUMNS} FROM notify.requests WHERE queue = %(queue)s AND id = %(id)s"
_BY_ITEM = f"SELECT item_id, {_COLUMNS} FROM notify.requests WHERE item_id = ANY (%(items)s::bigint[])"
_UPDATE = """
    UPDATE notify.requests SET state = %(state)s, build_strategy = %(strategy)s, base_uri = %(base_uri)s,
        forced = %(forced)s, version = %(new_version)s,
        finished_at = CASE WHEN %(final)s THEN coalesce(finished_at, now()) END
    WHERE queue = %(queue)s AND id = %(id)s AND version = %(old_version)s"""
_UNCHANGED = """
    SELECT FROM notify.requests WHERE queue = %(queue)s AND id = %(id)s AND version = %(version)s FOR SHARE"""
_CLAIM_URI = """
    INSERT INTO notify.request_uris (queue, uri, request_id) VALUES (%(queue)s, %(uri)s, %(id)s)
    ON CONFLICT (queue, uri) DO NOTHING"""
_ID_BY_URI = "SELECT request_id FROM notify.request_uris WHERE queue = %(queue)s AND uri = %(uri)s"
_HAS_HEAD = """
    SELECT FROM notify.request_uris WHERE queue = %(queue)s AND uri = %(uri)s AND request_id = %(id)s FOR SHARE"""
_MOVE_URI = """
    UPDATE notify.request_uris SET request_id = %(new)s
    WHERE queue = %(queue)s AND uri = %(uri)s AND request_id = %(old)s"""
_WAKE = f"""
    UPDATE notify.work_items SET due_at = now()
    WHERE stage = '{HEADS}' AND lane < {Lane.LEASED:d} AND due_at > now() AND id = ANY (ARRAY(
        SELECT request.item_id FROM unnest(%(queues)s::text[], %(slots)s::int[]) AS wanted(name, slots)
        JOIN notify.queues AS queue ON queue.name = wanted.name AND queue.in_flight_count < wanted.slots
        JOIN notify.requests AS request ON request.queue = queue.name
        WHERE request.state = 'accepted' AND request.finished_at IS NULL
    ))"""
_WAKE_ENDED = f"""
    UPDATE notify.work_items SET due_at = now()
    WHERE stage = '{HEADS}' AND lane < {Lane.LEASED:d} AND due_at > now() AND id = ANY (ARRAY(
        SELECT request.item_id FROM notify.requests AS request
        JOIN notify.builds AS build ON build.queue = request.queue AND build.request_id = request.id
        WHERE request.item_id = ANY (%(items)s::bigint[]) AND build.status <> 'running'
    ))"""
_MAKE_DUE = f"""
    UPDATE notify.work_items SET due_at = now()
    WHERE stage = '{HEADS}' AND lane < {Lane.LEASED:d} AND due_at > now() AND id = (
        SELECT item_id FROM notify.requests WHERE queue = %(queue)s AND id = %(id)s
    )"""
_VERDICTS = f"""
    SELECT queue, CASE WHEN forced THEN '{FORCED}' ELSE state END,
        greatest(extract(epoch FROM finished_at - created_at), 0)::float8
    FROM notify.requests WHERE item_id = ANY (%(items)s::bigint[]) AND state IN ('succeeded', 'failed')"""
_COUNT = """
    INSERT INTO notify.counters AS known (queue, domain, value) VALUES (%(queue)s, %(domain)s, 1)
    ON CONFLICT (queue, domain) DO UPDATE SET value = known.value + 1
    RETURNING value"""


class Verdict(NamedTuple):
    """
    A request's verdict: its state, or ``forced`` if it was given up without one.

    Args:
        seconds: Since its head was first heard of.
    """

    queue: str
    outcome: str
    seconds: float


class Requests:
    """A ``RequestStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, request: Request) -> None:
        with self._database.single() as connection:
            if connection.exec_driver_sql(_CREATE, _values(request)).first() is None:
                raise AlreadyExists(request=request.id)

    def get(self, id_: RequestId) -> Request:
        with self._database.single() as connection:
            row = connection.exec_driver_sql(_GET, {"queue": id_.queue, "id": id_.number}).first()
        if row is None:
            raise NotFound(request=id_)
        return _request(row)

    def update(self, request: Request, *, old_version: int, new_version: int) -> None:
        values = _values(request) | {"old_version": old_version, "new_version": new_version}
        with self._database.single() as connection:
            if not connection.exec_driver_sql(_UPDATE, values).rowcount:
                raise VersionMismatch(request=request.id, version=old_version)

    def by_items(self, items: list[int]) -> dict[int, Request]:
        """The requests of these work items, by item."""
        with self._database.single() as connection:
            return {row.item_id: _request(row) for row in connection.exec_driver_sql(_BY_ITEM, {"items": items})}


class RequestUris:
    """A ``RequestUriStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, queue: str, uri: str, id_: RequestId) -> None:
        with self._database.single() as connection:
            values = {"queue": queue, "uri": uri, "id": id_.number}
            if not connection.exec_driver_sql(_CLAIM_URI, values).rowcount:
                raise AlreadyExists(queue=queue, uri=uri)

    def get_id_by_uri(self, queue: str, uri: str) -> RequestId:
        with self._database.single() as connection:
            found = connection.exec_driver_sql(_ID_BY_URI, {"queue": queue, "uri": uri}).scalar()
        if found is None:
            raise NotFound(queue=queue, uri=uri)
        return RequestId(queue, found)

    def move(self, queue: str, uri: str, *, old: RequestId, new: RequestId) -> None:
        values = {"queue": queue, "uri": uri, "old": old.number, "new": new.number}
        with self._database.single() as connection:
            if not connection.exec_driver_sql(_MOVE_URI, values).rowcount:
                raise VersionMismatch(queue=queue, uri=uri, request=old)


class Counters:
    """A ``CounterStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def next(self, queue: str, domain: str) -> int:
        with self._database.single() as connection:
            value: int = connection.exec_driver_sql(_COUNT, {"queue": queue, "domain": domain}).scalar_one()
            return value


def _values(request: Request) -> dict[str, object]:
    return {
        "queue": request.id.queue,
        "id": request.id.number,
        "uri": request.uri,
        "state": request.state.value,
        "strategy": None if request.strategy is None else request.strategy.value,
        "base_uri": request.base_uri,
        "forced": request.forced,
        "version": request.version,
        "final": request.state.is_final,
    }


def _request(row: Row[tuple[object, ...]]) -> Request:
    return Request(
        id=RequestId(row.queue, row.id),
        uri=row.uri,
        state=RequestState(row.state),
        strategy=None if row.build_strategy is None else Strategy(row.build_strategy),
        base_uri=row.base_uri,
        forced=row.forced,
        version=row.version,
    )


def wake_waiting(connection: Connection, slots: Mapping[str, int]) -> int:
    """Make requests due that wait while their queue has a free slot, of so many by queue; how many there were."""
    values = {"queues": list(slots), "slots": list(slots.values())}
    return connection.exec_driver_sql(_WAKE, values).rowcount


def wake_ended(connection: Connection, items: Sequence[int]) -> int:
    """Make those of these items due whose builds have ended; how many there were."""
    return connection.exec_driver_sql(_WAKE_ENDED, {"items": list(items)}).rowcount


def is_unchanged(connection: Connection, request: Request) -> bool:
    """Whether the stored request is still as it was read; if so, it stays so until commit."""
    values = {"queue": request.id.queue, "id": request.id.number, "version": request.version}
    return connection.exec_driver_sql(_UNCHANGED, values).first() is not None


def has_head(connection: Connection, request: Request) -> bool:
    """Whether its head is this request's still, and no later one's; if so, it stays so until commit."""
    values = {"queue": request.id.queue, "uri": request.uri, "id": request.id.number}
    return connection.exec_driver_sql(_HAS_HEAD, values).first() is not None


def make_due(connection: Connection, id_: RequestId) -> None:
    """Take this request forward at the next opportunity."""
    connection.exec_driver_sql(_MAKE_DUE, {"queue": id_.queue, "id": id_.number})


def verdicts(connection: Connection, items: Sequence[int]) -> list[Verdict]:
    """Of these work items; a superseded or cancelled request has none."""
    found = connection.exec_driver_sql(_VERDICTS, {"items": list(items)}).cursor.fetchall()
    return [Verdict(*row) for row in found]
