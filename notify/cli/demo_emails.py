"""What the demo waits for, and what it shows of emails."""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any, TypeVar

from notify.domain.errors import NotifyError
from notify.domain.outcomes import JobStatus
from notify.embedded.mailbox import read
from notify.store.database import Database
from notify.store.outbox import jobs
from notify.store.outbox.jobs import EventWithPeople, NotificationView

LIMIT_SECONDS = 30
POLL_SECONDS = 0.05
BUNDLE_SECONDS = 3
"""Short, so that nobody waits three minutes for the bundle."""

HEADERS = {"to": "To", "subject": "Subject", "message_id": "Message-ID"}

T = TypeVar("T")


class NotInTime(NotifyError):
    """What the demo shows did not happen within half a minute; the log says why."""


def until(find: Callable[[], T | None]) -> T:
    """
    What *find* finds, as soon as it finds anything.

    Raises:
        NotInTime: It never does.
    """
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        if found := find():
            return found
        sleep(POLL_SECONDS)
    raise NotInTime


def wait(database: Database, keys: Sequence[str], *, deferred_too: bool = False) -> list[EventWithPeople]:
    """The events once every email about them is sent, but for those that wait for a person's hour."""

    def told() -> list[EventWithPeople] | None:
        with database.begin() as connection:
            found = [event for key in keys if (event := jobs.of_event(connection, key))]
        people = [one for event in found for one in event.people if deferred_too or not one.deferred_by]
        ended = [one.finished_at for one in found] + [one.finished_at for one in people]
        return found if len(found) == len(keys) and all(ended) else None

    return until(told)


def emails_of(
    found: Sequence[EventWithPeople], *, folder: Path | None, deferred: Mapping[int, datetime]
) -> list[dict[str, Any]]:
    """
    Each email once, with the events that it is about.

    Args:
        folder: The catcher's; None: there is none.
        deferred: When the jobs were due that have been sent before their time.
    """
    caught = _caught(folder) if folder else {}
    about: dict[int, list[tuple[EventWithPeople, NotificationView]]] = {}
    for event in found:
        for one in event.people:
            if one.job_id is not None and one.status == JobStatus.SENT:
                about.setdefault(one.job_id, []).append((event, one))
    emails = [
        {
            "to": told[0][1].to_email,
            "message_id": f"<{told[0][1].message_id}>",
            "reason": told[0][1].reason,
            "about": [f"{event.type} by {event.actor}" for event, _ in told],
            "sent": _when(job_id, due_at=deferred.get(job_id), count=len(told)),
        }
        for job_id, told in sorted(about.items())
    ]
    return [{**email, **caught.get(str(email["message_id"]), {})} for email in emails]


def _when(job_id: int, *, due_at: datetime | None, count: int) -> str:
    if due_at is not None:
        return f"as the digest due {due_at:%Y-%m-%d %H:%M} UTC, but now, by `notify jobs retry {job_id}`"
    return f"as one bundle, {BUNDLE_SECONDS} s after the email before it" if count > 1 else "at once"


def _caught(folder: Path) -> dict[str, dict[str, str]]:
    """What the catcher has, by Message-ID."""
    found = [read(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
    return {
        email.header("Message-ID"): {name: email.header(header) for name, header in HEADERS.items()} for email in found
    }
