"""
Today's facts about jobs, for the recheck and for previews: two statements for any number of jobs.

Decided: each fact is looked up separately (LATERAL, fenced by OFFSET). With plain joins the planner scans whole tables
    until it knows how many notifications an email has.
Decided: events are loaded by a statement of their own; otherwise each recipient's row would repeat them.
"""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection

from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.events import ChangeList, Event
from notify.domain.jobs import Job, Notification
from notify.domain.preferences import NO_PREFERENCES, EventType, Person, Preferences
from notify.domain.schedule import DeferredBy
from notify.store.directory.directory import CHANGE_LIST
from notify.store.directory.preferences import QUIET, SCHEDULE, SWITCHES, of_all_emails
from notify.store.outbox.events import COLUMNS_OF_EVENT

PERSON = Person.__slots__
# The same people recur.
PEOPLE_CACHED = 4096
STORED = ("username", *SWITCHES, *SCHEDULE, *QUIET)


def _columns(table: str, names: Iterable[str]) -> str:
    return ", ".join(f"{table}.{name}" for name in names)


def _one(table: str, condition: str) -> str:
    """SQL: the row of this table, or nulls."""
    return f"LEFT JOIN LATERAL (SELECT * FROM notify.{table} WHERE {condition} OFFSET 0)"


_JOBS = f"""
    SELECT job.id, job.username, job.to_email, job.message_id, job.deferred_by, job.expires_at <= now(),
        job.replay_of IS NOT NULL, note.id, note.event_id, note.event_type, note.reason, about.topic,
        kind.category, kind.description, kind.system_required, kind.default_enabled, preference.enabled,
        of_topic.muted, of_topic.subscribed AND note.reason = 'subscriber',
        {_columns("person", PERSON)}, {_columns("stored", STORED)}
    FROM notify.email_jobs AS job
    CROSS JOIN LATERAL (
        SELECT * FROM notify.notifications WHERE email_job_id = coalesce(job.replay_of, job.id) OFFSET 0
    ) AS note
    CROSS JOIN LATERAL (
        SELECT coalesce(job.topic, (SELECT topic FROM notify.events WHERE events.id = note.event_id)) AS topic OFFSET 0
    ) AS about
    {_one("notification_event_types", "code = note.event_type")} AS kind ON true
    {_one("people", "people.username = job.username")} AS person ON true
    {_one("user_notification_settings", "username = job.username")} AS stored ON true
    {_one("user_notification_preferences", "(username, event_type_code) = (job.username, note.event_type)")}
        AS preference ON true
    {_one("topic_preferences", "(username, topic_preferences.topic) = (job.username, about.topic)")}
        AS of_topic ON true
    WHERE job.id = ANY (%(ids)s::bigint[])"""
_OF_NOTIFICATION = 19
_EVENTS = f"""
    SELECT {COLUMNS_OF_EVENT}, {_columns("cl", CHANGE_LIST)}, {_columns("person", PERSON)}
    FROM notify.events AS event
    {_one("change_lists", "link = event.topic")} AS cl ON true
    {_one("people", "people.username = event.actor")} AS person ON true
    WHERE event.id = ANY (%(ids)s::bigint[])"""
_OF_EVENT = len(Event.__slots__)

_About = tuple[Event, ChangeList | None, Person | None]


def of_claims(connection: Connection, claims: Sequence[Claim]) -> list[Job]:
    """The jobs of these claims, in this order."""
    if not claims:
        return []
    rows = defaultdict(list)
    for row in _run(connection, _JOBS, [one.id for one in claims]):
        rows[row[0]].append(row)
    events = _events(connection, {row[8] for found in rows.values() for row in found})
    return [_job(one, sorted(rows[one.id], key=itemgetter(7)), events) for one in claims if one.id in rows]


def of_job(connection: Connection, job_id: int) -> Job | None:
    """One job, without a claim; None: there is none."""
    no_claim = Claim(id=job_id, attempt=0, failures=0, max_failures=0, lapses=0)
    return next(iter(of_claims(connection, [no_claim])), None)


def _events(connection: Connection, ids: Iterable[int]) -> dict[int, _About]:
    return {row[0]: _about(row) for row in _run(connection, _EVENTS, list(ids))}


def _run(connection: Connection, statement: str, ids: Sequence[int]) -> Sequence[tuple[Any, ...]]:
    """Plain tuples of the driver, the cheapest form."""
    found: Sequence[tuple[Any, ...]] = connection.exec_driver_sql(statement, {"ids": ids}).cursor.fetchall()
    return found


def _job(claim: Claim, rows: Sequence[tuple[Any, ...]], events: dict[int, _About]) -> Job:
    _, username, to_email, message_id, deferred_by, expired, is_replay, *_ = first = rows[0]
    return Job(
        claim=claim,
        username=username,
        to_email=to_email,
        message_id=message_id,
        expired=expired,
        person=_person(first[_OF_NOTIFICATION : _OF_NOTIFICATION + len(PERSON)]),
        preferences=_preferences(rows),
        notifications=tuple([_notification(row, events) for row in rows]),
        deferred_by=DeferredBy(deferred_by) if deferred_by else None,
        is_replay=is_replay,
    )


def _notification(row: tuple[Any, ...], events: dict[int, _About]) -> Notification:
    event, change_list, actor = events[row[8]]
    return Notification(
        id=row[7],
        type_code=row[9],
        reason=Reason(row[10]),
        event=event,
        event_type=_event_type(row[9], *row[12:16]) if row[12] is not None else None,
        change_list=change_list,
        actor=actor,
    )


@lru_cache(256)
def _event_type(code: str, category: str, description: str, required: bool, default: bool) -> EventType:
    return EventType(
        code=code, category=category, description=description, system_required=required, default_enabled=default
    )


def _preferences(rows: Sequence[tuple[Any, ...]]) -> Preferences:
    """The stored preferences that matter to these notifications; ``NO_PREFERENCES`` itself if there are none."""
    stored = rows[0][_OF_NOTIFICATION + len(PERSON) :]
    if stored[0] is None and all(row[16] is None and not row[17] and not row[18] for row in rows):
        return NO_PREFERENCES
    named = dict(zip(STORED, stored, strict=True))
    return Preferences(
        **of_all_emails(named),
        preferences={row[9]: row[16] for row in rows if row[16] is not None},
        muted_cls=frozenset([row[11] for row in rows if row[17]]),
        subscribed_cls=frozenset([row[11] for row in rows if row[18]]),
    )


def _about(row: tuple[Any, ...]) -> _About:
    event = Event(**dict(zip(Event.__slots__, row[:_OF_EVENT], strict=True)))
    known, person = row[_OF_EVENT : _OF_EVENT + len(CHANGE_LIST)], row[_OF_EVENT + len(CHANGE_LIST) :]
    change_list = None if known[0] is None else ChangeList(**dict(zip(CHANGE_LIST, known, strict=True)))
    return event, change_list, _person(person)


@lru_cache(PEOPLE_CACHED)
def _person(row: tuple[Any, ...]) -> Person | None:
    return None if row[0] is None else Person(**dict(zip(PERSON, row, strict=True)))
