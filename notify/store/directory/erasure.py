"""
Everything stored about one person: export and erasure.

Decided: emails and events are kept under a random alias, so that counts stay correct; addresses, Message-IDs and
    texts are replaced.
Decided: events are scanned by id. An index by actor would cost every event, for a rare question.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, func, select, update

from notify.store.operations.upkeep import IS_NEEDED
from notify.store.tables.emails import bundles, email_attempts, email_jobs, events, notifications
from notify.store.tables.forges import identities
from notify.store.tables.operations import endpoints
from notify.store.tables.people import (
    change_lists,
    cl_owners,
    cl_reviewers,
    people,
    topic_preferences,
    user_notification_preferences,
    user_notification_settings,
)

ERASED = "erased"
# Tables whose rows about the person are deleted.
DELETED: Sequence[Table] = (
    people,
    user_notification_settings,
    user_notification_preferences,
    topic_preferences,
    cl_reviewers,
    cl_owners,
    identities,
    bundles,
)
# Tables whose rows stay, under an alias.
RENAMED: Sequence[Table] = (notifications, email_jobs)

_row = email_jobs.c
_note = notifications.c
_said = events.c

_ERASE_EMAILS = f"""
    WITH page AS MATERIALIZED (
        SELECT id FROM notify.email_jobs WHERE username = %(username)s AND status <> 'pending'
        ORDER BY id LIMIT %(limit)s FOR UPDATE
    ), emptied AS (
        UPDATE notify.email_attempts SET text = NULL WHERE job_id = ANY (ARRAY(SELECT id FROM page))
    )
    UPDATE notify.email_jobs SET username = %(alias)s, to_email = '{ERASED}', message_id = '{ERASED}.' || id,
        last_error = NULL, relay_reply = NULL
    WHERE id = ANY (ARRAY(SELECT id FROM page))"""
_ERASE_NOTIFICATIONS = """
    WITH page AS MATERIALIZED (
        SELECT id FROM notify.notifications AS note WHERE username = %(username)s AND NOT EXISTS (
            SELECT FROM notify.email_jobs AS job WHERE job.id = note.email_job_id AND job.username = note.username
        ) ORDER BY id LIMIT %(limit)s FOR UPDATE
    )
    UPDATE notify.notifications SET username = %(alias)s WHERE id = ANY (ARRAY(SELECT id FROM page))"""
_ERASE_EVENTS = f"""
    UPDATE notify.events AS event
    SET actor = %(alias)s, payload = '{{}}', key_hash = NULL, emptied_at = coalesce(emptied_at, now())
    WHERE id = ANY (%(ids)s::bigint[]) AND NOT {IS_NEEDED}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedEvents:
    """
    One page of events: how many were erased, and how many wait because pending emails need them.

    ``last_id`` None: there are no more events.
    """

    erased: int
    waiting: int
    last_id: int | None


def export(connection: Connection, username: str) -> dict[str, list[dict[str, Any]]]:
    """Every row about the person, by table, with the attempts of their emails. Scans all events."""
    own = {table.name: _rows(connection, table, table.c.username == username) for table in (*DELETED, *RENAMED)}
    attempts = email_attempts.c.job_id.in_(select(_row.id).where(_row.username == username))
    return {
        **own,
        email_attempts.name: _rows(connection, email_attempts, attempts),
        change_lists.name: _rows(connection, change_lists, change_lists.c.author == username),
        events.name: _rows(connection, events, _said.actor == username),
    }


def remaining(connection: Connection, username: str) -> Mapping[str, int]:
    """How many rows are about the person, by table, where there are any. Scans all events."""
    named = {table.name: (table, table.c.username) for table in (*DELETED, *RENAMED)}
    named |= {change_lists.name: (change_lists, change_lists.c.author), events.name: (events, _said.actor)}
    counts = [
        select(func.count()).select_from(table).where(column == username).scalar_subquery().label(name)
        for name, (table, column) in named.items()
    ]
    return {name: count for name, count in connection.execute(select(*counts)).mappings().one().items() if count}


def erase_directory(connection: Connection, username: str) -> None:
    """Delete their person row, preferences, reviews, authorship, and relay errors that contain their address."""
    addresses = select(people.c.email).where(people.c.username == username, people.c.email.is_not(None))
    about = func.strpos(endpoints.c.last_error, addresses.scalar_subquery()) > 0
    connection.execute(update(endpoints).where(about).values(last_error=None))
    for table in DELETED:
        connection.execute(delete(table).where(table.c.username == username))
    connection.execute(update(change_lists).where(change_lists.c.author == username).values(author=None))


def erase_emails(connection: Connection, username: str, *, alias: str, limit: int) -> int:
    """Anonymise up to *limit* of their ended emails and attempts; returns how many."""
    asked = {"username": username, "alias": alias, "limit": limit}
    return connection.exec_driver_sql(_ERASE_EMAILS, asked).rowcount


def erase_notifications(connection: Connection, username: str, *, alias: str, limit: int) -> int:
    """Anonymise up to *limit* of their notifications, except of pending emails; returns how many."""
    asked = {"username": username, "alias": alias, "limit": limit}
    return connection.exec_driver_sql(_ERASE_NOTIFICATIONS, asked).rowcount


def erase_events(connection: Connection, username: str, *, alias: str, after_id: int, limit: int) -> ErasedEvents:
    """Anonymise and empty the person's events among the next *limit*; those not fanned out yet, or needed, wait."""
    page = select(_said.id, _said.actor, _said.finished_at).where(_said.id > after_id).order_by(_said.id).limit(limit)
    found = connection.execute(page).all()
    ids = [one.id for one in found if one.actor == username and one.finished_at is not None]
    done = connection.exec_driver_sql(_ERASE_EVENTS, {"ids": ids, "alias": alias}).rowcount
    theirs = sum(one.actor == username for one in found)
    return ErasedEvents(erased=done, waiting=theirs - done, last_id=found[-1].id if found else None)


def _rows(connection: Connection, table: Table, condition: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a condition
    query = select(table).where(condition).order_by(*table.primary_key.columns)
    return [dict(row) for row in connection.execute(query).mappings()]
