"""The demo: two comments on a change list; who got an email, who did not, and why."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

from rich.console import Console

import notify
from notify import wiring
from notify.cli import sample
from notify.cli.output import console, print_json
from notify.domain.errors import NotifyError
from notify.domain.events import COMMENT_CREATED
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
POLL_SECONDS = 0.05
HEADERS = {"to": "To", "subject": "Subject", "reason": "X-Notify-Reason", "message_id": "Message-ID"}
LABELS = {**HEADERS, "reason": "Reason"}

PEOPLE = (
    sample.RECIPIENT,
    Person(username="bob", display_name="Bob Okafor", email="bob@example.com"),
    Person(username="carol", display_name="Carol Nguyễn", email="carol@example.com"),
    Person(username="dana", display_name="Dana Reyes", email="dana@example.com"),
)
CHANGE_LIST = {**sample.CHANGE_LIST, "author": "alice", "reviewers": ["bob", "carol", "dana"]}
ANSWER = {
    "id": "8732",
    "body": "Right, thank you. Moved, with a test for the **last** retry.",
    "url": "https://review.example/CL-4821#c8732",
}
COMMENTS = (("dana", sample.COMMENT), ("alice", ANSWER))


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
        result = _play(stack.settings, running)
        (print_json if as_json else _print)(result)

    stack.run(show, stay=not once)


def _play(settings: Settings, running: RunningStack) -> dict[str, Any]:
    database = wiring.database(settings, pool_size=1)
    try:
        _introduce_people(database)
        events = _wait_for_emails(database, _emit_comments(settings, database))
    finally:
        database.close()
    people = [(event, person) for event in events for person in event.people]
    sent = [person for _, person in people if person.status == JobStatus.SENT]
    emails = [{"to": one.to_email, "reason": one.reason, "message_id": f"<{one.message_id}>"} for one in sent]
    return {
        "emails": _caught(settings.data_dir / EMAILS, emails) if "inbox" in running.urls else emails,
        "skipped": [
            {"username": person.username, "actor": event.actor, "why": person.why or ""}
            for event, person in people
            if person.status != JobStatus.SENT
        ],
        "urls": running.urls,
    }


def _introduce_people(database: Database) -> None:
    """Bob has switched everything off; Carol has never chosen anything."""
    with database.begin() as connection:
        for person in PEOPLE:
            directory.put_person(connection, person)
        preferences.put_config(connection, "bob", settings=preferences.Settings(enabled=False), preferences={})
        preferences.set_preference(connection, "alice", COMMENT_CREATED, enabled=True)


def _emit_comments(settings: Settings, database: Database) -> list[str]:
    """Emit each comment as an application would, in a transaction of its own; the keys."""
    doorbell = wiring.doorbell(settings)
    keys = []
    for actor, comment in COMMENTS:
        key = f"demo-{uuid4().hex}"
        event = {"key": key, "type": COMMENT_CREATED, "actor": actor, "cl": CHANGE_LIST, "comment": comment}
        with database.begin() as connection:
            keys.append(notify.emit(connection, event, doorbell=doorbell).key)
    return keys


def _wait_for_emails(database: Database, keys: Sequence[str]) -> list[EventWithPeople]:
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        with database.begin() as connection:
            events = [event for key in keys if (event := jobs.of_event(connection, key))]
        if all(event.finished_at and all(person.finished_at for person in event.people) for event in events):
            return events
        sleep(POLL_SECONDS)
    raise NoEmails


def _caught(folder: Path, sent: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """What the catcher has of these emails."""
    message_ids = {one["message_id"] for one in sent}
    found = [read(path.read_bytes()) for path in sorted(folder.glob("*.eml"))]
    return [
        {name: email.header(header) for name, header in HEADERS.items()}
        for email in found
        if email.header("Message-ID") in message_ids
    ]


def _print(result: Mapping[str, Any]) -> None:
    console.print()
    for email in result["emails"]:
        _print_facts({LABELS[name]: value for name, value in email.items()})
        console.print()
    for one in result["skipped"]:
        console.print(f"No email to {one['username']} about {one['actor']}'s comment: {one['why']}")
    console.print()
    _print_facts(result["urls"])


def _print_facts(facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        console.print(f"{name + ':':<12} {value}", markup=False, soft_wrap=True)
