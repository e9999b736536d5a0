"""
Everything stored about one person: export and erasure.

Decided: emails and events are kept under a random alias, so that counts stay correct; addresses, Message-IDs and
    texts are replaced.
Decided: events and webhook deliveries are scanned by id, in pages. An index by actor would cost every event, for a
    rare question, and no index finds a name inside a body.
Decided: what others wrote stays, even if it names the person. A webhook's body goes: it is a copy, and names everybody
    around a change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Table, delete, func, or_, select, update

from notify.store.directory.person_names import PersonNames
from notify.store.operations.upkeep import IS_NEEDED
from notify.store.tables.emails import bundles, email_attempts, email_jobs, events, notifications
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
    bundles,
)
# Tables whose rows stay, under an alias.
RENAMED: Sequence[Table] = (notifications, email_jobs)
# Where the payload of an event has usernames: of requested reviewers, and of authors in a broken head.
NAMED_IN = (("request", "reviewers"), ("queue", "authors"))

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
_IS_ACTOR = "(event.actor = %(username)s OR lower(event.actor) = ANY (%(unmapped_actors)s::text[]))"
_IS_NAMED = " OR ".join(f"event.payload #> '{{{part},{key}}}' ? %(username)s" for part, key in NAMED_IN)
_EVENTS = f"""
    WITH page AS MATERIALIZED (
        SELECT id, finished_at, {_IS_ACTOR} OR event.key ~* %(event_keys)s OR {_IS_NAMED} AS is_theirs
        FROM notify.events AS event WHERE id > %(after_id)s ORDER BY id LIMIT %(limit)s
    )
    SELECT count(*) FILTER (WHERE is_theirs) AS theirs, max(id) AS last_id,
        coalesce(array_agg(id) FILTER (WHERE is_theirs AND finished_at IS NOT NULL), '{{}}') AS ended
    FROM page"""
_ERASE_EVENTS = f"""
    UPDATE notify.events AS event
    SET actor = CASE WHEN {_IS_ACTOR} THEN %(alias)s ELSE actor END,
        key = CASE WHEN key ~* %(event_keys)s THEN '{ERASED}.' || id ELSE key END,
        payload = '{{}}', key_hash = NULL, emptied_at = coalesce(emptied_at, now())
    WHERE id = ANY (%(ids)s::bigint[]) AND NOT {IS_NEEDED}"""


@dataclass(frozen=True, slots=True, kw_only=True)
class ErasedPage:
    """
    One page: how many of its rows were erased, and how many are still needed.

    ``last_id`` None: there are no more rows.
    """

    erased: int = 0
    waiting: int = 0
    last_id: int | None = None


def export(connection: Connection, names: PersonNames) -> dict[str, list[dict[str, Any]]]:
    """Every row of the directory and the outbox about the person, by table. Scans all events."""
    username = names.username
    own = {table.name: _rows(connection, table, table.c.username == username) for table in (*DELETED, *RENAMED)}
    attempts = email_attempts.c.job_id.in_(select(_row.id).where(_row.username == username))
    return {
        **own,
        email_attempts.name: _rows(connection, email_attempts, attempts),
        change_lists.name: _rows(connection, change_lists, change_lists.c.author == username),
        events.name: _rows(connection, events, _is_theirs(names)),
    }


def remaining(connection: Connection, username: str) -> Mapping[str, int]:
    """How many rows are about the person, by table, where there are any; without events, which have pages."""
    named = {table.name: (table, table.c.username) for table in (*DELETED, *RENAMED)}
    named |= {change_lists.name: (change_lists, change_lists.c.author)}
    counts = [
        select(func.count()).select_from(table).where(column == username).scalar_subquery().label(name)
        for name, (table, column) in named.items()
    ]
    return {name: count for name, count in connection.execute(select(*counts)).mappings().one().items() if count}


def erase_directory(connection: Connection, names: PersonNames) -> None:
    """Delete their person row, preferences, reviews, authorship, and relay errors that contain an address."""
    for address in names.addresses:
        about = func.strpos(endpoints.c.last_error, address) > 0
        connection.execute(update(endpoints).where(about).values(last_error=None))
    for table in DELETED:
        connection.execute(delete(table).where(table.c.username == names.username))
    connection.execute(delete(people).where(func.lower(people.c.username).in_(names.unmapped_actors)))
    connection.execute(update(change_lists).where(change_lists.c.author == names.username).values(author=None))


def erase_emails(connection: Connection, username: str, *, alias: str, limit: int) -> int:
    """Anonymise up to *limit* of their ended emails and attempts; returns how many."""
    asked = {"username": username, "alias": alias, "limit": limit}
    return connection.exec_driver_sql(_ERASE_EMAILS, asked).rowcount


def erase_notifications(connection: Connection, username: str, *, alias: str, limit: int) -> int:
    """Anonymise up to *limit* of their notifications, except of pending emails; returns how many."""
    asked = {"username": username, "alias": alias, "limit": limit}
    return connection.exec_driver_sql(_ERASE_NOTIFICATIONS, asked).rowcount


def erase_events(
    connection: Connection, names: PersonNames, *, alias: str | None, after_id: int, limit: int
) -> ErasedPage:
    """
    Empty the person's events among the next *limit*, requests for their review, and broken heads with their commits.

    Those that are still needed wait.

    Args:
        alias: The actor's name from then on; None: only count them, as waiting.
    """
    asked = {
        "username": names.username,
        "unmapped_actors": names.unmapped_actors,
        "event_keys": names.event_keys,
        "after_id": after_id,
        "limit": limit,
    }
    found = connection.exec_driver_sql(_EVENTS, asked).mappings().one()
    erased = 0
    if alias is not None:
        erased = connection.exec_driver_sql(_ERASE_EVENTS, {**asked, "ids": found["ended"], "alias": alias}).rowcount
    return ErasedPage(erased=erased, waiting=found["theirs"] - erased, last_id=found["last_id"])


def _is_theirs(names: PersonNames) -> Any:  # noqa: ANN401 - a condition
    named = [_said.payload[part][key].has_key(names.username) for part, key in NAMED_IN]
    unmapped = func.lower(_said.actor).in_(names.unmapped_actors)
    return or_(_said.actor == names.username, unmapped, _said.key.op("~*")(names.event_keys), *named)


def _rows(connection: Connection, table: Table, condition: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - a condition
    query = select(table).where(condition).order_by(*table.primary_key.columns)
    return [dict(row) for row in connection.execute(query).mappings()]
