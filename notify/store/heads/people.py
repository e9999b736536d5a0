"""Whose commits are in a range of heads, who was told that a queue is broken, and what was found out before."""

from collections.abc import Sequence

from sqlalchemy import Connection

from notify.domain.events import HEAD_BROKEN, HEAD_RECOVERED, HEAD_VALIDATED
from notify.domain.head_ports import Commit
from notify.domain.heads import RequestId
from notify.domain.queue_events import Suspect

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
# Each table is asked by an index of its own (LATERAL, fenced by OFFSET): nobody is in most of them.
_TOLD = f"""
    SELECT asked.id, note.username, array_remove(array_agg(suspect.sha), NULL) AS shas
    FROM unnest(%(ids)s::bigint[]) AS asked(id)
    CROSS JOIN LATERAL (SELECT topic FROM notify.events WHERE id = asked.id OFFSET 0) AS head
    CROSS JOIN LATERAL (
        SELECT coalesce(max(id), 0) AS id FROM notify.events
        WHERE topic = head.topic AND id < asked.id AND type IN ('{HEAD_RECOVERED}', '{HEAD_VALIDATED}') OFFSET 0
    ) AS green
    CROSS JOIN LATERAL (
        SELECT id, payload FROM notify.events
        WHERE topic = head.topic AND id > green.id AND id < asked.id AND type = '{HEAD_BROKEN}' OFFSET 0
    ) AS broken
    CROSS JOIN LATERAL (
        SELECT username, reason, email_job_id FROM notify.notifications
        WHERE event_id = broken.id AND decision = 'told' OFFSET 0
    ) AS note
    CROSS JOIN LATERAL (
        SELECT FROM notify.email_jobs WHERE id = note.email_job_id AND status IN ('pending', 'sent') OFFSET 0
    ) AS email
    LEFT JOIN LATERAL (
        SELECT sha FROM jsonb_array_elements_text(broken.payload #> ARRAY['queue', 'authors', note.username]) AS sha
        WHERE note.reason = 'author'
    ) AS suspect ON true
    GROUP BY asked.id, note.username"""
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


def told_broken(connection: Connection, ids: Sequence[int]) -> dict[int, dict[str, frozenset[str]]]:
    """
    Who was told before each of these events, since the last green head, that the queue is broken.

    By event id and username: the person's commits that they were told of. Whose email is dead, expired or was not sent
    for another reason has not been told.
    """
    found: dict[int, dict[str, frozenset[str]]] = {}
    for id_, username, shas in connection.exec_driver_sql(_TOLD, {"ids": list(ids)}):
        found.setdefault(id_, {})[username] = frozenset(shas)
    return found


def degree_before(connection: Connection, id_: RequestId) -> float | None:
    """How broken the newest earlier head was that is known; None: none is."""
    degree: float | None = connection.exec_driver_sql(_BEFORE, {"queue": id_.queue, "number": id_.number}).scalar()
    return degree


def is_known_after(connection: Connection, id_: RequestId) -> bool:
    """Whether something is known of a newer head."""
    return bool(connection.exec_driver_sql(_AFTER, {"queue": id_.queue, "number": id_.number}).scalar())
