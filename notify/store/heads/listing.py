"""What people ask of queues: how each stands, what became of a request, and which facts are known."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection

NEWEST = 10_000
FORCED = "forced"
_QUEUES = """
    SELECT name, last_green_uri, last_green_request_id, in_flight_count, latest_request_id,
        (SELECT min(fact.created_at) FROM notify.facts AS fact
         WHERE fact.queue = name AND fact.request_id = last_green_request_id AND fact.project = '') AS last_green_at,
        (SELECT count(*) FROM notify.requests AS request
         WHERE request.queue = name AND request.finished_at IS NULL) AS unfinished,
        poll.fault, poll.fault_at
    FROM unnest(%(names)s::text[]) AS wanted(name)
    LEFT JOIN notify.queues AS known USING (name) LEFT JOIN notify.queue_polls AS poll ON poll.queue = name
    ORDER BY name"""
_REQUEST = """
    SELECT request.queue, request.id, request.uri, request.state, request.build_strategy, request.base_uri,
        request.forced, request.created_at, request.finished_at, build.id AS build_id, build.url AS build_url,
        CASE WHEN build.status <> 'running' OR request.finished_at IS NULL THEN build.status END AS build_status
    FROM notify.requests AS request
    LEFT JOIN notify.builds AS build ON build.queue = request.queue AND build.request_id = request.id
    WHERE request.queue = %(queue)s AND request.id = %(id)s"""
_BY_URIS = """
    SELECT uri.uri, request.id, request.state FROM notify.request_uris AS uri
    JOIN notify.requests AS request ON request.queue = uri.queue AND request.id = uri.request_id
    WHERE uri.queue = %(queue)s AND uri.uri = ANY (%(uris)s::text[])"""
_FACTS = """
    SELECT uri, project, degree FROM notify.facts
    WHERE queue = %(queue)s AND uri = ANY (%(uris)s::text[]) ORDER BY uri, project"""

_WITHOUT_VERDICT = """
    SELECT request.queue, count(*) FROM notify.requests AS request
    WHERE request.queue = ANY (%(names)s::text[]) AND request.forced AND request.id > coalesce((
        SELECT max(fact.request_id) FROM notify.facts AS fact WHERE fact.queue = request.queue
    ), 0)
    GROUP BY request.queue ORDER BY request.queue"""

# A queue that was never green counts from its first request.
_LAST_GREEN_AGES = """
    SELECT name, CASE WHEN last_green_request_id = latest_request_id THEN 0 ELSE
        coalesce(extract(epoch FROM now() - coalesce(
            (SELECT fact.created_at FROM notify.facts AS fact
             WHERE fact.queue = name AND fact.request_id = last_green_request_id AND fact.project = ''),
            (SELECT first.created_at FROM notify.requests AS first WHERE first.queue = name ORDER BY first.id LIMIT 1)
        )), 0) END
    FROM notify.queues WHERE name = ANY (%(names)s::text[])"""
_COUNTED = f"""
    SELECT queue, CASE WHEN forced THEN '{FORCED}' ELSE state END, count(*) FROM (
        SELECT queue, state, forced FROM notify.requests ORDER BY item_id DESC LIMIT {NEWEST}
    ) AS newest WHERE queue = ANY (%(names)s::text[]) GROUP BY 1, 2"""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueView:
    """
    A queue for people.

    Args:
        last_green_uri: None (like the other two): no head was green yet.
        unfinished: Requests that are not at their end.
        fault: Why its ref could not be looked at; None: it could.
    """

    name: str
    last_green_uri: str | None
    last_green_request_id: int | None
    last_green_at: datetime | None
    in_flight_count: int
    latest_request_id: int
    unfinished: int
    fault: str | None
    fault_at: datetime | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RequestView:
    """
    A request for people.

    Args:
        forced: It failed because it could not be validated.
        build_id: None: no build was started.
        build_status: None: no build was started, or the request was given up before its build's end was heard of.
    """

    queue: str
    id: int
    uri: str
    state: str
    build_strategy: str | None
    base_uri: str | None
    forced: bool
    created_at: datetime
    finished_at: datetime | None
    build_id: str | None
    build_status: str | None
    build_url: str | None


@dataclass(frozen=True, slots=True)
class KnownHead:
    """What is known of a head: its request and the request's state, None: none has it; degrees by project."""

    request_id: int | None
    state: str | None
    degrees: Mapping[str, float]


def queues(connection: Connection, names: Sequence[str]) -> list[QueueView]:
    """These queues, by name; one that has no request yet is empty."""
    return [
        QueueView(
            **{
                **row,
                "in_flight_count": row["in_flight_count"] or 0,
                "latest_request_id": row["latest_request_id"] or 0,
            }
        )
        for row in connection.exec_driver_sql(_QUEUES, {"names": sorted(names)}).mappings()
    ]


def request(connection: Connection, queue: str, number: int) -> RequestView | None:
    """None: there is no such request."""
    row = connection.exec_driver_sql(_REQUEST, {"queue": queue, "id": number}).mappings().first()
    return None if row is None else RequestView(**row)


def without_verdict(connection: Connection, names: Sequence[str]) -> dict[str, int]:
    """How many requests of these queues could not be validated since the last one that could; by queue, if any."""
    return dict(connection.exec_driver_sql(_WITHOUT_VERDICT, {"names": list(names)}).cursor.fetchall())


def last_green_ages(connection: Connection, names: Sequence[str]) -> dict[str, float]:
    """For how many seconds each queue's last green head has been known; 0: it is the newest, or there is none yet."""
    rows = connection.exec_driver_sql(_LAST_GREEN_AGES, {"names": list(names)}).cursor.fetchall()
    return dict.fromkeys(names, 0.0) | {name: float(age) for name, age in rows}


def counted(connection: Connection, names: Sequence[str]) -> dict[tuple[str, str], int]:
    """The newest requests by queue and state; ``FORCED`` are those that could not be validated."""
    rows = connection.exec_driver_sql(_COUNTED, {"names": list(names)}).cursor.fetchall()
    return {(queue, state): count for queue, state, count in rows}


def known_heads(connection: Connection, queue: str, uris: Sequence[str]) -> dict[str, KnownHead]:
    """What is known of these heads, by URI; a head of which nothing is known is left out."""
    values = {"queue": queue, "uris": list(uris)}
    requests = {row.uri: row for row in connection.exec_driver_sql(_BY_URIS, values)}
    degrees: dict[str, dict[str, float]] = {}
    for row in connection.exec_driver_sql(_FACTS, values):
        degrees.setdefault(row.uri, {})[row.project] = row.degree
    return {
        uri: KnownHead(
            requests[uri].id if uri in requests else None,
            requests[uri].state if uri in requests else None,
            degrees.get(uri, {}),
        )
        for uri in {*requests, *degrees}
    }
