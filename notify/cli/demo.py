"""
The demo: what happens on two change lists and a pull request; who got an email about it, who did not, and why. Then the
pull request is merged into a branch that a queue validates.

The application emits the events of the change lists; those of the pull request come from the embedded forge by webhook.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any
from uuid import uuid4

from rich.console import Console
from sqlalchemy import make_url

import notify
from notify import wiring
from notify.cli import demo_queue, sample
from notify.cli.demo_emails import BUNDLE_SECONDS, HEADERS, NotInTime, emails_of, until, wait
from notify.cli.demo_queue import BRANCH, QueueStory, as_person, facts_of
from notify.cli.output import console, print_json
from notify.domain import events
from notify.domain.fan_out import Why
from notify.domain.forge_settings import QueueSettings
from notify.domain.outcomes import DeliveryStatus, JobStatus
from notify.domain.ports import Doorbell
from notify.domain.preferences import Person
from notify.domain.schedule import Mode
from notify.domain.stages import DELIVER
from notify.embedded.completion import replaced
from notify.embedded.data_folder import RunningStack
from notify.embedded.forge.git.queue import QUEUE, REPOSITORY
from notify.embedded.forge.server import FORGE
from notify.embedded.stack import EMAILS, Stack
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.forges import deliveries
from notify.store.outbox import retry_cancel_replay
from notify.store.outbox.retry_cancel_replay import Action
from notify.vcs.commands import OLDEST_GIT

LOG = "demo.log"
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
PULL = {
    "title": "Retry the index",
    "body": "The index is built again after a fault of the disk.",
    "head": BRANCH,
    "base": "main",
}
NEEDS_GIT = f"What a queue does is not shown: that needs git {'.'.join(map(str, OLDEST_GIT))} or newer on this machine."
REMARK = {"body": "Nice. How long does it wait between two *attempts*?"}


def run(settings: Settings, *, once: bool, as_json: bool) -> None:
    """
    Start the stack, emit the sample events, break and mend the forge's queue, and show what came of it all.

    Args:
        once: Stop then; otherwise stay until Ctrl-C.

    Raises:
        NotInTime: Not all of it happened in time.
    """
    progress = Console(stderr=True, highlight=False)
    data_dir = settings.data_dir.resolve()
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with (data_dir / LOG).open("w", encoding="utf-8") as log:
        stack = Stack(replaced(settings, bundle_seconds=BUNDLE_SECONDS), console=progress, log=Console(file=log))

        def show(running: RunningStack) -> None:
            forge = "; a pull request is opened on the forge" if "forge" in running.urls else ""
            progress.print(
                f"Emitting {len(EVENTS)} events{forge}; the last email leaves {BUNDLE_SECONDS} s later ...",
                soft_wrap=True,
            )
            database = wiring.database(stack.settings, pool_size=1)
            try:
                result = _play(stack.settings, running, database)
                if not as_json:
                    _print(result)
                heads = []
                if not stack.stopping.is_set():
                    heads = _play_queue(stack.settings, running, database, number=result["pull_request"], quiet=as_json)
            except NotInTime:
                raise NotInTime(log=log.name) from None
            finally:
                database.close()
            where = {"database": make_url(running.settings["database_url"]).render_as_string(), "log": log.name}
            if as_json:
                print_json({**result, "heads": heads, "urls": running.urls, **where})
            else:
                _print_where(where, running.urls, stays=not once)

        progress.print(
            f"Starting PostgreSQL, Valkey, the API, a worker, beat, Flower and a forge; their log is {log.name} ...",
            soft_wrap=True,
        )
        stack.run(show, stay=not once)


def _play(settings: Settings, running: RunningStack, database: Database) -> dict[str, Any]:
    """What became of the change lists and the pull request. Its number is None without an embedded forge."""
    doorbell, number = wiring.doorbell(settings), None
    _introduce_people(database)
    keys = _emit_events(database, doorbell)
    if "forge" in running.urls:
        if queue := _queue(settings, database):
            demo_queue.push_change(queue)
        number, told = _review_pull_request(database, running.urls["forge"])
        keys += told
    people = [one for event in wait(database, keys) for one in event.people]
    due = {one.job_id: one.due_at for one in people if one.job_id and one.due_at}
    _make_due(database, doorbell, due)
    found = wait(database, keys, deferred_too=True)
    return {
        "emails": emails_of(found, folder=_caught_in(settings, running), deferred=due),
        "skipped": [
            {"username": one.username, "actor": event.actor, "why": one.why or ""}
            for event in found
            for one in event.people
            if one.status != JobStatus.SENT
        ],
        "pull_request": number,
    }


def _play_queue(
    settings: Settings, running: RunningStack, database: Database, *, number: int | None, quiet: bool
) -> list[dict[str, Any]]:
    """What became of the two heads; none without an embedded forge or without git."""
    if number is None:
        return []
    if (queue := _queue(settings, database)) is None:
        if not quiet:
            console.print(f"{NEEDS_GIT}\n", soft_wrap=True)
        return []
    story = QueueStory(database, queue, running.urls["forge"], _caught_in(settings, running))
    acts: Mapping[str, Callable[[], dict[str, Any]]] = {
        f"Bob merges {REPOSITORY}#{number}. The queue {queue.name} validates the merge.": partial(story.merge, number),
        "Alice pushes a fix.": story.mend,
    }
    heads = []
    for words, act in acts.items():
        if not quiet:
            console.print(f"{words}\n", markup=False, soft_wrap=True)
        heads.append(act())
        if not quiet:
            _print_facts(facts_of(heads[-1]))
            console.print()
            _print_emails(heads[-1]["emails"])
    return heads


def _queue(settings: Settings, database: Database) -> QueueSettings | None:
    """The embedded forge's; None: git is not installed."""
    return wiring.forge_settings(settings, database).queues.get(QUEUE)


def _caught_in(settings: Settings, running: RunningStack) -> Path | None:
    return settings.data_dir / EMAILS if "inbox" in running.urls else None


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


def _review_pull_request(database: Database, forge_url: str) -> tuple[int, list[str]]:
    """
    Alice opens a pull request and asks Bob for his review; Carol comments.

    Its number, and the keys of what webhooks told of it.
    """
    with database.begin() as connection:
        last = max((one.id for one in deliveries.listed(connection, forge=FORGE, limit=1)), default=0)
    with as_person("alice", forge_url) as alice, as_person("carol", forge_url) as carol:
        owner, _, name = REPOSITORY.partition("/")
        alice.post(f"/orgs/{owner}/repos", json={"name": name})  # refused where it is there already
        opened = alice.post(f"/repos/{REPOSITORY}/pulls", json=PULL).raise_for_status().json()
        number: int = opened["number"]
        asked = alice.post(f"/repos/{REPOSITORY}/pulls/{number}/requested_reviewers", json={"reviewers": ["bob"]})
        asked.raise_for_status()
        carol.post(f"/repos/{REPOSITORY}/issues/{number}/comments", json=REMARK).raise_for_status()

    def told() -> list[str] | None:
        with database.begin() as connection:
            found = [one for one in deliveries.listed(connection, forge=FORGE) if one.id > last]
        # Webhooks come in order, and the comment's is the last.
        is_complete = any(one.event == "issue_comment" for one in found)
        if not is_complete or any(one.status is DeliveryStatus.PENDING for one in found):
            return None
        return [key for one in reversed(found) for key in one.event_keys]

    return number, until(told)


def _make_due(database: Database, doorbell: Doorbell, job_ids: Iterable[int]) -> None:
    """What ``notify jobs retry`` does."""
    with database.begin() as connection:
        for job_id in job_ids:
            retry_cancel_replay.act_on(connection, Action.RETRY, job_id)
    doorbell.ring(DELIVER)


def _print(result: Mapping[str, Any]) -> None:
    console.print()
    _print_emails(result["emails"])
    for why in dict.fromkeys(one["why"] for one in result["skipped"]):
        names = sorted({one["username"] for one in result["skipped"] if one["why"] == why})
        of_what = " of their own actions" if why == Why.IS_ACTOR else ""
        console.print(f"{', '.join(names)}: not notified{of_what} ({why})", markup=False)
    console.print()


def _print_emails(emails: Sequence[Mapping[str, Any]]) -> None:
    for email in emails:
        about = [f"{what} ({times})" if times > 1 else what for what, times in Counter(email["about"]).items()]
        facts = {**email, "about": ", ".join(about)}
        _print_facts({LABELS[name]: facts[name] for name in LABELS if name in facts})
        console.print()


def _print_where(where: Mapping[str, str], urls: Mapping[str, str], *, stays: bool) -> None:
    if stays:
        inbox = {"Inbox": urls["inbox"]} if "inbox" in urls else {}
        forge = {"Forge": urls["forge"]} if "forge" in urls else {}
        _print_facts({**inbox, **forge, "API docs": f"{urls['api']}/docs", "Flower": urls["flower"]})
    _print_facts({"Database": where["database"], "Log": where["log"]})
    console.print("Stop with Ctrl-C. `make clean` removes the data." if stays else "`make demo` stays up.")


def _print_facts(facts: Mapping[str, str]) -> None:
    for name, value in facts.items():
        console.print(f"{name + ':':<12} {value}", markup=False, soft_wrap=True)
