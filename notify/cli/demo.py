"""
The demo: what happens on two change lists and a pull request; who got an email about it, who did not, and why.

The application emits the events of the change lists; those of the pull request come from the embedded forge by webhook.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from time import monotonic, sleep
from typing import Any
from uuid import uuid4

import httpx
from rich.console import Console
from sqlalchemy import make_url

import notify
from notify import wiring
from notify.cli import sample
from notify.cli.output import console, print_json
from notify.domain import events
from notify.domain.errors import NotifyError
from notify.domain.fan_out import Why
from notify.domain.outcomes import DeliveryStatus, JobStatus
from notify.domain.ports import Doorbell
from notify.domain.preferences import Person
from notify.domain.schedule import Mode
from notify.domain.stages import DELIVER
from notify.embedded.completion import replaced
from notify.embedded.data_folder import RunningStack
from notify.embedded.forge.server import FORGE
from notify.embedded.mailbox import read
from notify.embedded.stack import EMAILS, Stack
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.forges import deliveries
from notify.store.outbox import jobs, retry_cancel_replay
from notify.store.outbox.jobs import EventWithPeople, NotificationView
from notify.store.outbox.retry_cancel_replay import Action

LOG = "demo.log"
LIMIT_SECONDS = 30
POLL_SECONDS = 0.05
BUNDLE_SECONDS = 3
"""Short, so that nobody waits three minutes for the bundle."""

HEADERS = {"to": "To", "subject": "Subject", "message_id": "Message-ID"}
LABELS = {**HEADERS, "reason": "Reason", "about": "About", "sent": "Sent"}

PEOPLE = (
    sample.RECIPIENT,
    Person(username="bob", display_name="Bob Okafor", email="bob@example.com"),
    Person(username="carol", display_name="Carol Nguyễn", email="carol@example.com"),
    Person(username="dana", display_name="Dana Reyes", email="dana@example.com"),
)
CHOICES = {
    "bob": preferences.StoredSettings(enabled=False),
    "carol": preferences.StoredSettings(delivery_mode=Mode.DAILY),
}
RETRY = {**sample.CHANGE_LIST, "author": "alice", "reviewers": ["bob", "carol", "dana"]}
INDEX = {
    "link": "CL-4822",
    "title": "Sort the index",
    "url": "https://review.example/CL-4822",
    "repository": "monorepo",
    "author": "bob",
    "reviewers": ["carol"],
}
ANSWER = {
    "id": "8732",
    "body": "Right, thank you. Moved, with a test for the **last** retry.",
    "url": "https://review.example/CL-4821#c8732",
}
QUESTION = {
    "id": "8733",
    "body": "Does the cap hold for the first retry too?",
    "url": "https://review.example/CL-4821#c8733",
}
APPROVAL = {"id": "513", "state": "approved", "body": "Good to go.", "url": "https://review.example/CL-4821#r513"}
EVENTS: Sequence[Mapping[str, Any]] = (
    {"type": events.COMMENT_CREATED, "actor": "dana", "cl": RETRY, "comment": sample.COMMENT},
    {"type": events.COMMENT_CREATED, "actor": "alice", "cl": RETRY, "comment": ANSWER},
    {"type": events.COMMENT_CREATED, "actor": "dana", "cl": RETRY, "comment": QUESTION},
    {"type": events.REVIEW_SUBMITTED, "actor": "dana", "cl": RETRY, "review": APPROVAL},
    {"type": "cl.merged", "actor": "bob", "cl": INDEX},
)
OWNER, REPOSITORY = "example", "monorepo"
PULL = {
    "title": "Retry the index",
    "body": "The index is built again after a fault of the disk.",
    "head": "retry-the-index",
    "base": "main",
}
REMARK = {"body": "Nice. How long does it wait between two *attempts*?"}


class NoEmails(NotifyError):
    """The sample emails were not sent within half a minute; the log says why."""


def run(settings: Settings, *, once: bool, as_json: bool) -> None:
    """
    Start the stack, emit the sample events and show what came of them.

    Args:
        once: Stop then; otherwise stay until Ctrl-C.

    Raises:
        NoEmails: Not all were sent in time.
    """
    progress = Console(stderr=True, highlight=False)
    data_dir = settings.data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / LOG).open("w", encoding="utf-8") as log:
        stack = Stack(replaced(settings, bundle_seconds=BUNDLE_SECONDS), console=progress, log=Console(file=log))

        def show(running: RunningStack) -> None:
            forge = "; a pull request is opened on the forge" if "forge" in running.urls else ""
            progress.print(f"Emitting {len(EVENTS)} events{forge}; the last email leaves {BUNDLE_SECONDS} s later ...")
            try:
                result = _play(stack.settings, running)
            except NoEmails:
                raise NoEmails(log=log.name) from None
            if as_json:
                print_json({**result, "log": log.name})
            else:
                _print({**result, "log": log.name}, stays=not once)

        progress.print(
            f"Starting PostgreSQL, Valkey, the API, a worker, beat, Flower and a forge; their log is {log.name} ...",
            soft_wrap=True,
        )
        stack.run(show, stay=not once)


def _play(settings: Settings, running: RunningStack) -> dict[str, Any]:
    database, doorbell = wiring.database(settings, pool_size=1), wiring.doorbell(settings)
    try:
        _introduce_people(database)
        keys = _emit_events(database, doorbell)
        if "forge" in running.urls:
            keys += _review_pull_request(database, running.urls["forge"])
        people = [one for event in _wait(database, keys) for one in event.people]
        due = {one.job_id: one.due_at for one in people if one.job_id and one.due_at}
        _make_due(database, doorbell, due)
        found = _wait(database, keys, deferred_too=True)
    finally:
        database.close()
    caught = _caught(settings.data_dir / EMAILS) if "inbox" in running.urls else {}
    return {
        "emails": [{**email, **caught.get(email["message_id"], {})} for email in _emails(found, due)],
        "skipped": [
            {"username": one.username, "actor": event.actor, "why": one.why or ""}
            for event in found
            for one in event.people
            if one.status != JobStatus.SENT
        ],
        "urls": running.urls,
        "database": make_url(running.settings["database_url"]).render_as_string(),
    }


def _introduce_people(database: Database) -> None:
    """Bob wants no emails and Carol a daily digest; Alice and Dana have never chosen anything."""
    with database.begin() as connection:
        for person in PEOPLE:
            directory.put_person(connection, person)
        for username, settings in CHOICES.items():
            preferences.put_config(connection, username, settings=settings, preferences={})


def _emit_events(database: Database, doorbell: Doorbell) -> list[str]:
    """The keys of the events, which are emitted in one transaction."""
    with database.begin() as connection:
        keyed = [{**event, "key": f"demo-{uuid4().hex}"} for event in EVENTS]
        return [notify.emit(connection, event, doorbell=doorbell).key for event in keyed]


def _review_pull_request(database: Database, forge_url: str) -> list[str]:
    """Alice opens a pull request and asks Bob for his review; Carol comments. The keys of what webhooks told of it."""
    with database.begin() as connection:
        last = max((one.id for one in deliveries.listed(connection, forge=FORGE, limit=1)), default=0)
    with _as_person("alice", forge_url) as alice, _as_person("carol", forge_url) as carol:
        repository = f"/repos/{OWNER}/{REPOSITORY}"
        alice.post(f"/orgs/{OWNER}/repos", json={"name": REPOSITORY})  # refused where an earlier demo has made it
        opened = alice.post(f"{repository}/pulls", json=PULL).raise_for_status().json()
        asked = alice.post(f"{repository}/pulls/{opened['number']}/requested_reviewers", json={"reviewers": ["bob"]})
        asked.raise_for_status()
        carol.post(f"{repository}/issues/{opened['number']}/comments", json=REMARK).raise_for_status()
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        with database.begin() as connection:
            found = [one for one in deliveries.listed(connection, forge=FORGE) if one.id > last]
        # Webhooks come in order, and the comment's is the last.
        is_complete = any(one.event == "issue_comment" for one in found)
        if is_complete and all(one.status is not DeliveryStatus.PENDING for one in found):
            return [key for one in reversed(found) for key in one.event_keys]
        sleep(POLL_SECONDS)
    raise NoEmails


def _as_person(login: str, forge_url: str) -> httpx.Client:
    """The embedded forge's API, as this person."""
    return httpx.Client(base_url=f"{forge_url}/api/v3", headers={"Authorization": f"Bearer person_{login}"})


def _wait(database: Database, keys: Sequence[str], *, deferred_too: bool = False) -> list[EventWithPeople]:
    """The events once every email about them is sent, but for those that wait for a person's hour."""
    end = monotonic() + LIMIT_SECONDS
    while monotonic() < end:
        with database.begin() as connection:
            found = [event for key in keys if (event := jobs.of_event(connection, key))]
        people = [one for event in found for one in event.people if deferred_too or not one.deferred_by]
        if all(event.finished_at for event in found) and all(one.finished_at for one in people):
            return found
        sleep(POLL_SECONDS)
    raise NoEmails


def _make_due(database: Database, doorbell: Doorbell, job_ids: Iterable[int]) -> None:
    """What ``notify jobs retry`` does."""
    with database.begin() as connection:
        for job_id in job_ids:
            retry_cancel_replay.act_on(connection, Action.RETRY, job_id)
    doorbell.ring(DELIVER)


def _emails(found: Sequence[EventWithPeople], deferred: Mapping[int, datetime]) -> list[dict[str, Any]]:
    """Each email once, with the events that it is about."""
    about: dict[int, list[tuple[EventWithPeople, NotificationView]]] = {}
    for event in found:
        for one in event.people:
            if one.job_id is not None and one.status == JobStatus.SENT:
                about.setdefault(one.job_id, []).append((event, one))
    return [
        {
            "to": told[0][1].to_email,
            "message_id": f"<{told[0][1].message_id}>",
            "reason": told[0][1].reason,
            "about": [f"{event.type} by {event.actor}" for event, _ in told],
            "sent": _when(job_id, due_at=deferred.get(job_id), count=len(told)),
        }
        for job_id, told in sorted(about.items())
    ]


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


def _print(result: Mapping[str, Any], *, stays: bool) -> None:
    console.print()
    for email in result["emails"]:
        about = [f"{what} ({times})" if times > 1 else what for what, times in Counter(email["about"]).items()]
        facts = {**email, "about": ", ".join(about)}
        _print_facts({LABELS[name]: facts[name] for name in LABELS if name in facts})
        console.print()
    for why in dict.fromkeys(one["why"] for one in result["skipped"]):
        names = sorted({one["username"] for one in result["skipped"] if one["why"] == why})
        of_what = " of their own actions" if why == Why.IS_ACTOR else ""
        console.print(f"{', '.join(names)}: not notified{of_what} ({why})", markup=False)
    console.print()
    if stays:
        urls = result["urls"]
        inbox = {"Inbox": urls["inbox"]} if "inbox" in urls else {}
        forge = {"Forge": urls["forge"]} if "forge" in urls else {}
        _print_facts({**inbox, **forge, "API docs": f"{urls['api']}/docs", "Flower": urls["flower"]})
    _print_facts({"Database": result["database"], "Log": result["log"]})
    console.print("Stop with Ctrl-C. `make clean` removes the data." if stays else "`make demo` stays up.")


def _print_facts(facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        console.print(f"{name + ':':<12} {value}", markup=False, soft_wrap=True)
