"""What an application, a worker and an operator do with the event type of docs/examples, in a process that has it."""

import json
from contextlib import closing
from typing import Any

from typer.testing import CliRunner

import notify
from notify.cli.commands import command_line
from notify.domain.preferences import Person
from notify.doorbell import NoDoorbell
from notify.settings import load
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.outbox import jobs
from tests.support.harness import WorkerHarness

EVENT = {
    "type": "acme.build.failed",
    "actor": "ci",
    "cl": {"link": "CL-4821", "author": "alice", "reviewers": ["bob"]},
    "change": {"summary": "3 of 812 tests fail.", "url": "https://ci.example/1"},
}


def run(*arguments: str) -> str:
    return CliRunner().invoke(command_line(arguments[0]), arguments, catch_exceptions=False).stdout


def emit(database: Database, key: str) -> None:
    with database.begin() as connection:
        notify.emit(connection, {**EVENT, "key": key}, doorbell=NoDoorbell())


def journey(database: Database) -> dict[str, Any]:
    """What became of one event; another is left for workers without the package."""
    stored = [json.loads(run("types", "sync", "--json"))["stored"] for _ in range(2)]
    with database.begin() as connection:
        for name, locale in (("alice", "de"), ("bob", None), ("oncall", None)):
            person = Person(username=name, email=f"{name}@example.com", locale=locale)
            directory.put_person(connection, person)
    emit(database, "build-1")
    harness = WorkerHarness(database, load().smtp_url.get_secret_value())  # type: ignore[union-attr]
    harness.fan_out()
    harness.drain()
    with database.begin() as connection:
        event = jobs.of_event(connection, "build-1")
    emit(database, "build-2")
    found = json.loads(run("doctor", "--json"))
    return {
        "stored": stored,
        "became": {one.username: one.status for one in event.people} if event else None,
        "preview": run("preview", "acme.build.failed"),
        "doctor": {one["about"]: one["ok"] for one in found if "acme" in one["about"]},
    }


if __name__ == "__main__":
    with closing(Database(load().database_url.get_secret_value())) as opened:  # type: ignore[union-attr]
        print(json.dumps(journey(opened)))  # noqa: T201
