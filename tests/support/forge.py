"""The embedded forge and a worker's parts in the test's own process; its webhooks come in by HTTP."""

import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Thread
from typing import Any
from uuid import uuid4

import uvicorn
from sqlalchemy import text

from notify import wiring
from notify.api.app import context_of
from notify.domain.preferences import Person
from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.ports import LOOPBACK, listen
from notify.settings import Settings
from notify.sources.reconciler import Reconciler
from notify.store.database import Database
from notify.store.directory import directory
from notify.work.stage import BatchStage
from tests.support.callers import shared_app
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge_calls import running_forge
from tests.support.harness import WorkerHarness
from tests.support.wait import until

REPOSITORY = "acme/app"
PEOPLE = ("alice", "bob", "carol", "dana")


class ForgeClock:
    """A clock that is a second later each time it is read."""

    def __init__(self) -> None:
        self.set(late=timedelta(hours=1))

    def set(self, *, late: timedelta = timedelta(0)) -> None:
        self._start, self._reads = datetime.now(UTC) - late, 0

    def __call__(self) -> datetime:
        self._reads += 1
        return self._start + timedelta(seconds=self._reads)


@dataclass
class ForgeHarness:
    """
    A forge whose webhooks notify takes, and the stages of a worker, to be run step by step.

    Args:
        worker: The stages that make emails of events.
    """

    forge: EmbeddedForge
    worker: WorkerHarness
    settings: Settings
    inbox: BatchStage
    reconciler: Reconciler
    webhook_url: str
    clock: ForgeClock

    def take_webhooks(self) -> dict[str, float]:
        """Wait until the forge's webhooks have arrived, and work them off."""
        assert self.forge.hooks.wait(), "the forge has not got rid of its webhooks"
        return self.inbox.drain()

    def sweep(self) -> Mapping[str, float]:
        """Read the forge as if the interval had passed."""
        with self.worker.database.begin() as connection:
            connection.execute(text("UPDATE notify.forges SET listed_from = now(), paused_until = NULL"))
            connection.execute(text("DELETE FROM notify.forge_installations"))
            connection.execute(text("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'"))
        return self.reconciler.drain()

    def deliver(self) -> list[tuple[str, str, str]]:
        """Fan out and send all that is due: whom, about what, why, of what was written since."""
        self.worker.fan_out()
        self.worker.drain()
        return self.emails()

    def emails(self) -> list[tuple[str, str, str]]:
        """Every email so far, sorted: to whom, the event's type, the reason."""
        found = self.rows(
            "SELECT note.username, note.event_type, note.reason FROM notify.notifications AS note"
            " JOIN notify.email_jobs AS job ON job.id = note.email_job_id WHERE job.status = 'sent'"
        )
        return sorted(tuple(row) for row in found)

    def rows(self, statement: str) -> Sequence[Any]:
        return self.worker.execute(statement)


@contextmanager
def forge_harness(
    database: Database,
    relay_url: str | None,
    folder: Path,
    *,
    configuration: str = "",
    changes: Mapping[str, Any] | None = None,
) -> Iterator[ForgeHarness]:
    """
    A forge with one repository that has been swept once, and four people.

    Args:
        configuration: TOML, after what the forge says of itself.
        changes: Settings that differ from the usual ones; null: none.
    """
    with listen(LOOPBACK, 0) as listening:
        port = listening.getsockname()[1]
        url = f"http://127.0.0.1:{port}/webhooks/github"
        clock = ForgeClock()
        with running_forge(folder / "forge", webhook_url=url, now=clock) as forge:
            forge.configuration.write_text(forge.configuration.read_text() + configuration)
            worker = WorkerHarness(database, relay_url, {"forges_file": forge.configuration, **(changes or {})})
            with database.begin() as connection:
                for name in PEOPLE:
                    directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
            forge.state.add_repository(REPOSITORY)
            with _serving(worker.settings, listening):
                stages: dict[str, Any] = {"doorbell": RecordingDoorbell(), "worker": uuid4()}
                made = ForgeHarness(
                    forge=forge,
                    worker=worker,
                    settings=worker.settings,
                    inbox=wiring.inbox(worker.settings, database, **stages),
                    reconciler=wiring.reconciler(worker.settings, database, **stages),
                    webhook_url=url,
                    clock=clock,
                )
                try:
                    made.sweep()
                    clock.set()
                    yield made
                finally:
                    wiring.forges(worker.settings, database).close()


@contextmanager
def _serving(settings: Settings, listening: socket.socket) -> Iterator[None]:
    app = shared_app(context_of(settings))
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", lifespan="off"))
    thread = Thread(target=server.run, kwargs={"sockets": [listening]})
    thread.start()
    try:
        until(lambda: server.started)
        yield
    finally:
        server.should_exit = True
        thread.join()
        app.state.context.forges.close()
        app.state.context.database.close()
