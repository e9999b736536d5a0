"""Webhook deliveries: stored before they are answered, and processed later by the stage ``inbox``."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Connection, RowMapping

from notify.domain.claims import Lane
from notify.domain.outcomes import DeliveryStatus
from notify.domain.stages import INBOX
from notify.store.outbox import items
from notify.store.outbox.items import Attempt, ItemOutcome

MOST_LISTED = 200
NEWEST = 10_000


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery whose signature is valid."""

    forge: str
    delivery_id: str
    event: str
    content_type: str
    body: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """The row of a delivery. ``duplicate``: it was stored before and is not processed again."""

    id: int
    duplicate: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery to process; ``now`` is the database's clock when it was loaded."""

    forge: str
    event: str
    content_type: str
    body: bytes
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """
    What became of a delivery.

    ``repository`` None: the body names none or cannot be read; ``reason`` None: it is done.
    """

    status: DeliveryStatus
    repository: str | None = None
    reason: str | None = None
    event_keys: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryView:
    """
    A delivery as people see it.

    ``repository``, ``outcome_reason`` and ``finished_at`` are None as in the table; ``failures`` counts attempts
    that failed and are repeated; ``due_at`` None: it is finished.
    """

    id: int
    forge: str
    delivery_id: str
    event: str
    status: DeliveryStatus
    repository: str | None
    outcome_reason: str | None
    event_keys: tuple[str, ...]
    bytes: int
    created_at: datetime
    finished_at: datetime | None
    failures: int
    due_at: datetime | None


def _due(rows: str) -> str:
    """SQL that makes the deliveries of *rows* due, also those that are dead, with a new retry budget."""
    return f"""INSERT INTO notify.work_items AS item (stage, id, lane) SELECT '{INBOX}', id, {Lane.NORMAL:d} FROM {rows}
        ON CONFLICT (stage, id) DO UPDATE
        SET lane = CASE WHEN item.lapses > 0 THEN {Lane.LAPSED:d} ELSE excluded.lane END, due_at = now(),
            max_failures = item.failures + excluded.max_failures"""


# A dead delivery is sent again because somebody wants it processed.
_STORE = f"""
    WITH stored AS (
        INSERT INTO notify.webhook_deliveries AS known (forge, delivery_id, event, content_type, body) {{given}}
        ON CONFLICT (forge, delivery_id) DO UPDATE
        SET status = 'pending', finished_at = NULL, outcome_reason = NULL, body = excluded.body
        WHERE known.status = 'dead'
        RETURNING id, forge, delivery_id
    ), to_do AS (
        {_due("stored")}
    )
    SELECT forge, delivery_id, id, false FROM stored
    UNION ALL
    SELECT forge, delivery_id, id, true FROM {{asked}}
    JOIN notify.webhook_deliveries USING (forge, delivery_id)
    WHERE (forge, delivery_id) NOT IN (SELECT forge, delivery_id FROM stored)"""
# As an array, a body of 25 MiB would be copied several times on its way.
_STORE_ONE = _STORE.format(
    given="VALUES (%(forge)s, %(delivery_id)s, %(event)s, %(content_type)s, %(body)s)",
    asked="(VALUES (%(forge)s::text, %(delivery_id)s::text)) AS asked (forge, delivery_id)",
)
# Bodies in binary (%b): psycopg takes two hundred times as long to write an array of them as text.
_STORE_MANY = _STORE.format(
    given="""SELECT * FROM unnest(%(forge)s::text[], %(delivery_id)s::text[], %(event)s::text[],
        %(content_type)s::text[], %(body)b::bytea[])""",
    asked="unnest(%(forge)s::text[], %(delivery_id)s::text[]) AS asked (forge, delivery_id)",
)
_REPLAY = f"""
    WITH again AS (
        UPDATE notify.webhook_deliveries SET status = 'pending', finished_at = NULL, outcome_reason = NULL
        WHERE id = %(id)s AND status <> 'pending' RETURNING id
    ), to_do AS (
        {_due("again")}
    )
    SELECT id FROM again"""
_LOAD = """
    SELECT forge, event, content_type, body, now() AS now FROM notify.webhook_deliveries WHERE id = %(id)s"""
_FINISH = """
    UPDATE notify.webhook_deliveries SET status = %(status)s, repository = %(repository)s,
        outcome_reason = left(%(reason)s, 250), event_keys = %(event_keys)s::text[], finished_at = now()
    WHERE id = %(id)s"""
_BURY = """
    UPDATE notify.webhook_deliveries AS delivery
    SET status = 'dead', finished_at = now(), outcome_reason = coalesce(left(item.reason, 250), 'unknown')
    FROM notify.work_items AS item
    WHERE item.stage = %(stage)s AND item.id = delivery.id AND delivery.id = ANY (%(ids)s::bigint[])"""
_VIEW = f"""
    SELECT delivery.id, delivery.forge, delivery.delivery_id, delivery.event, delivery.status, delivery.repository,
        delivery.outcome_reason, delivery.event_keys, octet_length(delivery.body) AS bytes, delivery.created_at,
        delivery.finished_at, coalesce(item.failures, 0) AS failures,
        CASE WHEN delivery.status = 'pending' THEN item.due_at END AS due_at
    FROM notify.webhook_deliveries AS delivery
    LEFT JOIN notify.work_items AS item ON item.stage = '{INBOX}' AND item.id = delivery.id"""
_LIST = f"""{_VIEW}
    WHERE (%(forge)s::text IS NULL OR delivery.forge = %(forge)s)
      AND (%(status)s::text IS NULL OR delivery.status = %(status)s)
      AND (%(before)s::bigint IS NULL OR delivery.id < %(before)s)
    ORDER BY delivery.id DESC LIMIT %(limit)s"""
_SHOW = f"{_VIEW} WHERE delivery.id = %(id)s"
_COUNTED = f"""
    SELECT status, count(*) FROM (
        SELECT status FROM notify.webhook_deliveries ORDER BY id DESC LIMIT {NEWEST}
    ) AS newest GROUP BY status"""
_BODY = "SELECT body FROM notify.webhook_deliveries WHERE id = %(id)s"


def store(connection: Connection, given: Sequence[NewDelivery]) -> list[Receipt]:
    """
    Store deliveries and make them due, in one statement; the caller commits.

    One that is known changes nothing, unless it is dead: then it is due again.

    Args:
        given: No two of one forge with the same id.
    """
    receipts = _stored(connection, given)
    if len(receipts) < len(given):  # other transactions have stored some since the statement began
        receipts |= _stored(connection, [one for one in given if (one.forge, one.delivery_id) not in receipts])
    return [receipts[one.forge, one.delivery_id] for one in given]


def _stored(connection: Connection, given: Sequence[NewDelivery]) -> dict[tuple[str, str], Receipt]:
    values = {name: [getattr(one, name) for one in given] for name in NewDelivery.__slots__}
    one = {name: listed[0] for name, listed in values.items()} if len(given) == 1 else None
    rows = connection.exec_driver_sql(*((_STORE_MANY, values) if one is None else (_STORE_ONE, one)))
    return {(forge, name): Receipt(id=id_, duplicate=known) for forge, name, id_, known in rows.cursor.fetchall()}


def load(connection: Connection, id_: int) -> Delivery | None:
    """A delivery to process; None: it was deleted."""
    row = connection.exec_driver_sql(_LOAD, {"id": id_}).mappings().first()
    return None if row is None else Delivery(**{**row, "body": bytes(row["body"])})


def finish(connection: Connection, id_: int, result: Result) -> None:
    """Store the result of a delivery."""
    values = {name: getattr(result, name) for name in Result.__slots__}
    connection.exec_driver_sql(_FINISH, {**values, "event_keys": list(result.event_keys), "id": id_})


def settle(connection: Connection, outcomes: Sequence[ItemOutcome]) -> set[Attempt]:
    """End these attempts; returns those whose lease was still ours."""
    return items.settle(connection, INBOX, outcomes)


def bury(connection: Connection, ids: Sequence[int]) -> None:
    """Mark these deliveries as dead; ``work_items`` has the reason."""
    connection.exec_driver_sql(_BURY, {"stage": INBOX, "ids": list(ids)})


def replay(connection: Connection, id_: int) -> bool:
    """Make a delivery due again; False if there is none or it is pending."""
    return connection.exec_driver_sql(_REPLAY, {"id": id_}).first() is not None


def counted(connection: Connection) -> dict[str, int]:
    """How many of the ``NEWEST`` deliveries have each status; statuses without deliveries are absent."""
    return dict(connection.exec_driver_sql(_COUNTED).cursor.fetchall())


def view(connection: Connection, id_: int) -> DeliveryView | None:
    """A delivery without its body; None if there is none."""
    row = connection.exec_driver_sql(_SHOW, {"id": id_}).mappings().first()
    return None if row is None else _viewed(row)


def body_of(connection: Connection, id_: int) -> bytes | None:
    """The body as it was received; None if there is no such delivery."""
    body = connection.exec_driver_sql(_BODY, {"id": id_}).scalar()
    return None if body is None else bytes(body)


def listed(
    connection: Connection,
    *,
    forge: str | None = None,
    status: str | None = None,
    before: int | None = None,
    limit: int = MOST_LISTED,
) -> Iterator[DeliveryView]:
    """Deliveries, newest first; None does not filter. ``before``: the last id of the previous page."""
    values = {"forge": forge, "status": status, "before": before, "limit": limit}
    return map(_viewed, connection.exec_driver_sql(_LIST, values).mappings().all())


def _viewed(row: RowMapping) -> DeliveryView:
    return DeliveryView(**{**row, "status": DeliveryStatus(row["status"]), "event_keys": tuple(row["event_keys"])})
