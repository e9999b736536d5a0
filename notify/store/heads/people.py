"""Whose commits are in a range of heads, who was told that a queue is broken, and what was found out before."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notify.domain.events import HEAD_BROKEN, HEAD_RECOVERED
from notify.domain.head_ports import Commit
from notify.domain.heads import RequestId
from notify.domain.queue_events import Suspect, topic_of

# A commit that merged a change is its author's; any other belongs to the address that it states.
_SUSPECTS = """
    SELECT given.sha, change.link, change.url, coalesce(cl.author, person.username) AS username
    FROM unnest(%(shas)s::text[], %(emails)s::text[]) WITH ORDINALITY AS given(sha, email, turn)
    LEFT JOIN LATERAL (
        SELECT known.link, known.url FROM notify.forge_changes AS known
        JOIN notify.forge_repositories AS repository ON repository.id = known.repository_id
        WHERE known.merge_sha IS NOT NULL AND known.merge_sha = given.sha AND repository.forge = %(forge)s
        ORDER BY known.number LIMIT 1
    ) AS change ON true
    LEFT JOIN notify.change_lists AS cl ON cl.link = change.link
    LEFT JOIN LATERAL (
        SELECT known.username FROM notify.people AS known
        WHERE given.email <> '' AND lower(known.email) = lower(given.email) ORDER BY known.username LIMIT 1
    ) AS person ON true
    ORDER BY given.turn"""
_TOLD = """
    SELECT DISTINCT told.username
    FROM notify.events AS event JOIN notify.notifications AS told ON told.event_id = event.id
    WHERE event.topic = %(topic)s AND event.type = %(broken)s AND told.decision = 'told'
      AND event.id > coalesce((
        SELECT max(last.id) FROM notify.events AS last WHERE last.topic = %(topic)s AND last.type = %(recovered)s
      ), 0)
    ORDER BY told.username"""
_BEFORE = """
    SELECT degree FROM notify.facts
    WHERE queue = %(queue)s AND project = '' AND request_id < %(number)s ORDER BY request_id DESC LIMIT 1"""
_AFTER = """
    SELECT EXISTS (SELECT FROM notify.facts WHERE queue = %(queue)s AND project = '' AND request_id > %(number)s)"""


def suspects(connection: Connection, commits: Sequence[Commit], *, forge: str) -> list[Suspect]:
    """The commits with whose they are, in the same order."""
    shas = [one.sha for one in commits]
    values = {"shas": shas, "emails": [one.author_email for one in commits], "forge": forge}
    rows = connection.exec_driver_sql(_SUSPECTS, values)
    return [
        Suspect(sha=one.sha, title=one.title, name=one.author_name, username=row.username, link=row.link, url=row.url)
        for one, row in zip(commits, rows, strict=True)
    ]


def told_broken(connection: Connection, queue: str) -> list[str]:
    """Who was told that the queue is broken since it recovered last."""
    values = {"topic": topic_of(queue), "broken": HEAD_BROKEN, "recovered": HEAD_RECOVERED}
    return list(connection.exec_driver_sql(_TOLD, values).scalars())


def degree_before(connection: Connection, id_: RequestId) -> float | None:
    """How broken the newest earlier head was that is known; None: none is."""
    degree: float | None = connection.exec_driver_sql(_BEFORE, {"queue": id_.queue, "number": id_.number}).scalar()
    return degree


def is_known_after(connection: Connection, id_: RequestId) -> bool:
    """Whether something is known of a newer head."""
    return bool(connection.exec_driver_sql(_AFTER, {"queue": id_.queue, "number": id_.number}).scalar())
