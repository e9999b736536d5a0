"""The demo: two comments on a change list; who got an email, who did not, and why."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from rich.console import Console
from rich.text import Text

import notify
from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.outcomes import JobStatus
from notify.domain.preferences import Person
from notify.embedded.completion import replaced
from notify.embedded.data_folder import RunningStack
from notify.embedded.mailbox import read
from notify.embedded.stack import EMAILS, Stack
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.outbox import jobs
from notify.store.outbox.jobs import EventWithPeople

LIMIT_SECONDS = 30
LOOK_SECONDS = 0.05
RELAY_ELSEWHERE = "(sent to the configured relay)"
HEADERS = {"to": "To", "subject": "Subject", "reason": "X-Notify-Reason", "message_id": "Message-ID"}
LABELS = {**HEADERS, "reason": "Reason"}

Facts = dict[str, Any]

PEOPLE = (
    Person(username="alice", display_name="Alice Meyer", email="alice@example.com"),
    Person(username="bob", display_name="Bob Okafor", email="bob@example.com"),
    Person(username="carol", display_name="Carol Nguyễn", email="carol@example.com"),
    Person(username="dana", display_name="Dana Reyes", email="dana@example.com"),
)
CHANGE_LIST = {
    "link": "CL-4821",
    "title": "Cap the upload retry",
    "url": "https://review.example/CL-4821",
    "repository": "monorepo",
    "author": "alice",
    "reviewers": ["bob", "carol", "dana"],
}
COMMENTS: Sequence[tuple[str, Mapping[str, Any]]] = (
    (
        "dana",
        {
            "id": "8731",
            "body": "The *jitter* has to come after the cap, otherwise the upper half of the range is lost.\n\n"
            "```python\ndelay = min(cap, base * 2 ** n)\n```",
            "url": "https://review.example/CL-4821#c8731",
            "path": "src/upload/retry.py",
            "line": 42,
            "code": "delay = base * 2 ** n",
        },
    ),
    (
        "alice",
        {
            "id": "8732",
            "body": "Right, thank you. Moved, with a test for the **last** retry.",
            "url": "https://review.example/CL-4821#c8732",
        },
    ),
)


class NoEmails(NotifyError):
    """The sample emails were not sent in time; the worker's lines above say why."""


def run(settings: Settings, *, once: bool, as_json: bool) -> None:
    """
    Start the stack, emit the sample comments and show what came of them. Its emails are not bundled.

    Args:
        once: Stop then; otherwise stay until Ctrl-C.

    Raises:
        NoEmails: Not all were sent within half a minute.
    """
    stack = Stack(replaced(settings, bundle_seconds=0), console=Console(stderr=True, quiet=once))

    def show(running: RunningStack) -> None:
        shown = play(stack.settings, running)
        (_print_json if as_json else _print)(shown)

    stack.run(show, stay=not once)


def play(settings: Settings, running: RunningStack) -> Facts:
    """Emit the comments, wait until everybody's job has ended, and say what the demo has to show."""
    database = wiring.database(settings, pool_size=1)
    try:
        _introduce_people(database)
        events = _settled(database, _comment(settings, database))
    finally:
        database.close()
    return {
        "emails": _emails(events, settings.data_dir / EMAILS if "inbox" in running.urls else None),
        "skipped": [
            {"username": job.username, "actor": event.actor, "why": job.why or ""}
            for event in events
            for job in event.people
            if job.status != JobStatus.SENT
        ],
        "urls": running.urls,
    }


def _introduce_people(database: Database) -> None:
    """Bob has switched everything off; Carol has never chosen anything."""
    with database.begin() as connection:
        for person in PEOPLE:
            directory.put_person(connection, person)
        preferences.put_config(connection, "bob", settings=preferences.Settings(enabled=False), preferences={})
        preferences.set_preference(connection, "alice", "cl.comment.created", enabled=True)


def _comment(settings: Settings, database: Database) -> list[str]:
    """Emit each comment as an application would, in a transaction of its own; the keys."""
    bell = wiring.doorbell(settings)
    keys = []
    for actor, comment in COMMENTS:
        event = {
            "key": f"demo-{uuid4().hex}",
            "type": "cl.comment.created",
            "actor": actor,
            "cl": CHANGE_LIST,
            "comment": comment,
        }
        with database.begin() as connection:
            keys.append(notify.emit(connection, event, doorbell=bell).key)
    return keys


def _settled(database: Database, keys: Sequence[str]) -> list[EventWithPeople]:
    end = monotonic() + LIMIT_SECONDS
    while True:
        with database.begin() as connection:
            events = [event for key in keys if (event := jobs.of_event(connection, key))]
        if all(event.finished_at and all(job.finished_at for job in event.people) for event in events):
            return events
        if monotonic() > end:
            raise NoEmails
        sleep(LOOK_SECONDS)


def _emails(events: Iterable[EventWithPeople], folder: Path | None) -> list[Facts]:
    """The emails that were caught; with a relay elsewhere, what the table says of them."""
    sent = {f"<{job.message_id}>": job for event in events for job in event.people if job.status == JobStatus.SENT}
    if folder is None:
        return [
            {"to": job.to_email or "", "subject": RELAY_ELSEWHERE, "reason": job.reason, "message_id": name}
            for name, job in sent.items()
        ]
    caught = (read(path.read_bytes()) for path in sorted(folder.glob("*.eml")))
    return [
        {name: email.header(header) for name, header in HEADERS.items()}
        for email in caught
        if email.header("Message-ID") in sent
    ]


def _print_json(shown: Facts) -> None:
    sys.stdout.write(json.dumps(shown, ensure_ascii=False, indent=2) + "\n")


def _print(shown: Facts) -> None:
    console = Console(highlight=False)
    console.print()
    for email in shown["emails"]:
        _print_facts(console, {LABELS[name]: value for name, value in email.items()})
        console.print()
    for one in shown["skipped"]:
        console.print(Text(f"No email to {one['username']} about {one['actor']}'s comment: {one['why']}"))
    console.print()
    _print_facts(console, shown["urls"])


def _print_facts(console: Console, facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        console.print(Text(f"{name + ':':<12} {value}"), soft_wrap=True)
