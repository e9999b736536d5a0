"""A worker's fan-out and engine in the test's own process, on a real database and a real relay."""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, text

from notify import wiring
from notify.delivery.engine import Engine
from notify.domain.measures import Count, no_count
from notify.domain.preferences import Person
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.doorbell import RecordingDoorbell

MINUTE = timedelta(minutes=1)


@dataclass
class WorkerHarness:
    """
    What a worker does, step by step.

    Args:
        relay_url: Null means that no mail is configured.
        changes: Settings that differ from the usual ones.
    """

    database: Database
    relay_url: str | None
    changes: Mapping[str, Any] = field(default_factory=dict)
    doorbell: RecordingDoorbell = field(default_factory=RecordingDoorbell)
    count: Count = no_count

    @property
    def settings(self) -> Settings:
        usual = {
            "database_url": self.database.url,
            "smtp_url": self.relay_url,
            "mail_from": "notify@example.com",
            "public_url": "https://notify.example.com",
            "secret_keys": "k" * 32,
            "smtp_timeout_seconds": 60,
            "bundle_seconds": 0,
        }
        return Settings(**{**usual, **self.changes})

    @contextmanager
    def engine(self) -> Iterator[Engine]:
        """A delivery engine, stopped at the end."""
        made = wiring.engine(self.settings, self.database, doorbell=self.doorbell, worker=uuid4(), count=self.count)
        try:
            yield made
        finally:
            made.stop()

    def drain(self) -> dict[str, float]:
        """Start an engine, drain once, and stop."""
        with self.engine() as engine:
            return engine.drain()

    def pending_emails(self, *usernames: str, key: str = "k1", link: str = "CL-1") -> Sequence[Any]:
        """Fan out one comment by a stranger on a change list that these people review; the jobs, in order."""
        with self.database.begin() as connection:
            for username in usernames:
                directory.put_person(connection, Person(username=username, email=f"{username}@example.com"))
            receive(connection, [parse(comment(key=key, link=link, reviewers=usernames))])
        self.fan_out()
        return self.jobs(key)

    def fan_out(self) -> None:
        """Fan out all that is due."""
        made = wiring.fan_out(self.settings, self.database, doorbell=self.doorbell, worker=uuid4(), count=self.count)
        made.drain()

    def jobs(self, key: str = "k1") -> Sequence[Any]:
        """An event's notifications with their jobs and work items, in the order in which they were written."""
        return self.execute("SELECT * FROM jobs WHERE event_key = :key ORDER BY note_id, id", key=key)

    def attempts(self, key: str = "k1") -> Sequence[tuple[str, int, int]]:
        """For each email of an event: its status, its attempts, and how many of them ended in "no, later"."""
        return [(row.status, row.attempt, row.failures) for row in self.execute(ATTEMPTS, key=key)]

    def execute(self, statement: str, **parameters: object) -> Sequence[Any]:
        """Run a statement, in place of time, another worker or an operator; ``jobs`` is a table here."""
        with self.database.begin() as connection:
            return _rows(connection, statement, parameters)


def comment(
    *,
    key: str = "k1",
    link: str = "CL-1",
    actor: str = "stranger",
    reviewers: Sequence[str] = (),
    body: str = "The jitter comes after the cap.",
) -> dict[str, Any]:
    """A comment on a change list, as a producer emits it."""
    return {
        "key": key,
        "type": "cl.comment.created",
        "actor": actor,
        "cl": {"link": link, "title": "Cap the retry", "author": "somebody", "reviewers": list(reviewers)},
        "comment": {"id": "1", "body": body},
    }


def usernames(count: int) -> list[str]:
    """Distinct usernames."""
    return [f"person-{number:04}" for number in range(count)]


# Each notification with its job and that job's work item.
JOBS = """
    WITH jobs AS (
        SELECT j.id, n.id AS note_id, n.event_id, e.key AS event_key, n.event_type, e.topic, n.username, n.reason,
            j.to_email, j.message_id, j.expires_at, j.deferred_by, j.replay_of, j.created_at, j.finished_at,
            j.last_code, j.last_error, j.relay,
            CASE WHEN n.decision <> 'told' THEN n.why ELSE j.outcome_reason END AS outcome_reason,
            CASE WHEN n.decision <> 'told' THEN n.decision WHEN lane = 8 THEN 'sending' ELSE j.status END AS status,
            CASE WHEN j.status = 'pending' THEN due_at END AS due_at, leased_by, lane,
            coalesce(max_failures, 0) AS max_failures, coalesce(i.failures, (
                SELECT count(*) FROM notify.email_attempts AS a WHERE a.job_id = j.id AND a.outcome LIKE 'retry: %'
            )) AS failures,
            greatest(attempt, j.attempts) AS attempt, greatest(i.lapses, j.lapses) AS lapses
        FROM notify.notifications AS n JOIN notify.events AS e ON e.id = n.event_id
        LEFT JOIN notify.email_jobs AS j ON coalesce(j.replay_of, j.id) = n.email_job_id
        LEFT JOIN notify.work_items AS i ON stage = 'deliver' AND i.id = j.id
    )
"""
ATTEMPTS = """
    SELECT status, attempt, failures FROM jobs WHERE event_key = :key AND to_email IS NOT NULL ORDER BY id
"""


def _rows(connection: Connection, statement: str, parameters: Mapping[str, object]) -> Sequence[Any]:
    if re.search(r"\bFROM jobs\b", statement):
        statement = JOBS + statement
    result = connection.execute(text(statement), parameters)
    return result.all() if result.returns_rows else []
