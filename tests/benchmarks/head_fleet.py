"""Queues on git repositories, with a build service, a forge, an API and a sink: all that validated heads need."""

import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from os import environ, pathsep
from pathlib import Path
from tempfile import TemporaryDirectory
from time import sleep

import httpx
from sqlalchemy import text

from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.ports import Doorbell
from notify.domain.preferences import Person
from notify.domain.stages import HEADS
from notify.embedded.forge.server import CONFIGURATION
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, tokens
from notify.store.directory.tokens import Scope
from notify.store.heads import polls
from tests.benchmarks.benchmark_servers import BenchmarkServers, settings
from tests.benchmarks.build_service import BuildService, Ends, build_service
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.race import ready
from tests.benchmarks.repositories import GREEN, MAIN, Pushed, repositories
from tests.benchmarks.sink import Sink, sink
from tests.support.api_server import served
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker

PROCESSES = 2
REPOSITORY = "acme/app"
# Of so many heads in a row the last is broken.
BROKEN_EVERY = 4
LOOK_SECONDS = 0.05
TIMEOUT_SECONDS = 120
DRAIN_SECONDS = 3_600
TELL_AGAIN_SECONDS, TELLS = 0.02, 500
DAY_SECONDS = "86400"
NOT_YET = 404
AT_THEIR_END = text("""
    SELECT request.queue, right(request.uri, 40) AS head FROM notify.queues AS queue
    JOIN notify.requests AS request ON request.queue = queue.name AND request.id = queue.latest_request_id
    WHERE request.finished_at IS NOT NULL""")
# Repositories are read for ever.
LEFT = text("SELECT count(*) FROM notify.work_items WHERE stage <> 'reconcile'")
QUEUE = """
[queues."{name}"]
forge = "github"
repository = "{repository}"
ref = "{ref}"
remote = "{remote}"
promotion_ref = "{green}"
runner = {{ kind = "http", url = "{url}" }}
"""


class NotTold(NotifyError):
    """The API did not take a build's end."""


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFleet:
    """The fleet on one database."""

    settings: Settings
    environment: Mapping[str, str]
    database: Database
    remotes: Mapping[str, Pushed]
    service: BuildService
    sink: Sink
    forge_url: str
    bell: Doorbell
    folder: Path

    @contextmanager
    def workers(self) -> Iterator[RunningWorker]:
        """A prefork worker with two processes that serves every queue."""
        with worker(self.environment, self.folder, processes=PROCESSES) as running:
            running.wait_until_serving()
            yield running

    def push(self, names: Sequence[str]) -> None:
        """Push the next head of each of these queues; the workers hear of it as by webhooks."""
        for name in names:
            self.remotes[name].push()
        with self.database.begin() as connection:
            polls.make_due(connection, names)
        self.bell.ring(HEADS)

    def follow(self, names: Sequence[str], *, heads: int) -> None:
        """Push each queue's next head when the one before is at its end, until so many are; return when all is told."""
        last = {name: self.remotes[name].pushed + heads for name in names}
        ended = set(names)

        def all_ended() -> bool:
            nonlocal ended
            more = [name for name in ended if self.remotes[name].pushed < last[name]]
            if more:
                self.push(more)
            sleep(LOOK_SECONDS)
            ended = self.at_their_end(names)
            return len(ended) == len(names) and all(self.remotes[name].pushed == last[name] for name in names)

        until(all_ended, seconds=DRAIN_SECONDS)
        self.finish()

    def take_in(self, name: str, *, heads: int) -> None:
        """Push so many heads of a queue one after another, each of which is taken in."""
        take_in = wiring.ingest(self.settings, self.database)
        for _ in range(heads):
            self.remotes[name].push()
            take_in(name)

    def at_their_end(self, names: Sequence[str]) -> set[str]:
        """Those of these queues whose newest head is at its end."""
        with self.database.single() as connection:
            found = {row.queue: row.head for row in connection.execute(AT_THEIR_END)}
        return {name for name in names if found.get(name) == self.remotes[name].head}

    def finish(self) -> None:
        """Return when nothing is left to do, for emails and statuses too."""
        until(self._is_idle, seconds=DRAIN_SECONDS)

    def _is_idle(self) -> bool:
        sleep(LOOK_SECONDS)
        with self.database.single() as connection:
            return not connection.scalar(LEFT)


def is_broken(number: int) -> bool:
    """Whether the head of this number, counted from 0, is broken."""
    return number % BROKEN_EVERY == BROKEN_EVERY - 1


def verdicts(shas: Sequence[str]) -> dict[str, str]:
    """The final status of each head's build."""
    return {sha: "failure" if is_broken(number) else "success" for number, sha in enumerate(shas)}


@contextmanager
def head_fleet(servers: BenchmarkServers, ends: Mapping[str, Ends], *, commits: int) -> Iterator[HeadFleet]:
    """
    Everything but the workers, with so many commits for each queue. Refs are only looked at when a push says so.

    Args:
        ends: The queues, and how their builds end.
    """
    with ExitStack() as stack:
        database = stack.enter_context(servers.database())
        folder = Path(stack.enter_context(TemporaryDirectory(dir=servers.folder)))
        names = list(ends)
        remotes = repositories(folder, names, commits=commits)
        shas = remotes[names[0]].commits
        service = stack.enter_context(build_service(ends, verdicts(shas)))
        file = _forge(stack, folder, shas)
        with file.open("a") as queues:
            for name in names:
                remote = remotes[name].folder
                queues.write(
                    QUEUE.format(
                        name=name, repository=REPOSITORY, ref=MAIN, remote=remote, green=GREEN, url=service.url
                    )
                )
        near = stack.enter_context(sink(folder, own=True))
        environment = servers.environment(
            database,
            near.url,
            forges_file=str(file),
            data_dir=str(folder / "data"),
            poll_seconds=DAY_SECONDS,
            bundle_seconds="0",
            api_calls_per_minute="1000000",
        )
        everything = {**environ, **environment, "PYTHONPATH": _path()}
        token = _prepare(database, names)
        api = stack.enter_context(served(everything, folder / "api.log", options=("--no-access-log",)))
        headers = {"Authorization": f"Bearer {token}"}
        client = stack.enter_context(httpx.Client(base_url=api, headers=headers, timeout=TIMEOUT_SECONDS))
        client.get("/livez").raise_for_status()
        service.tell = _teller(client)
        here = settings(environment)
        yield HeadFleet(
            settings=here,
            environment=everything,
            database=database,
            remotes=remotes,
            service=service,
            sink=near,
            forge_url=wiring.forge_settings(here, database).forges["github"].api_url,
            bell=wiring.doorbell(here),
            folder=folder,
        )


def _path() -> str:
    return pathsep.join(filter(None, (str(ROOT), environ.get("PYTHONPATH"))))


def _forge(stack: ExitStack, folder: Path, shas: Sequence[str]) -> Path:
    """The embedded forge in a process of its own; the file that names it."""
    command = (sys.executable, "-m", "tests.benchmarks.forge_process", str(folder / "forge"), *shas)
    stack.enter_context(ready([command], environment={**environ, "PYTHONPATH": _path()}))
    return folder / "forge" / CONFIGURATION


def _prepare(database: Database, names: Sequence[str]) -> str:
    """People, and when refs are looked at: not by themselves; a token that may report builds."""
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
        polls.make_due(connection, names)
        connection.execute(text("UPDATE notify.queue_polls SET due_at = now() + interval '1 day'"))
        return tokens.create(connection, "build service", scopes=[Scope.EVENTS_WRITE])


def _teller(client: httpx.Client) -> Callable[[str, str, str], None]:
    def tell(queue: str, id_: str, status: str) -> None:
        """A service may be faster than the worker that stores its build; it then tells again."""
        for _ in range(TELLS):
            answer = client.post(f"/api/v1/builds/{queue}/{id_}", json={"status": status})
            if answer.status_code != NOT_YET:
                answer.raise_for_status()
                return
            sleep(TELL_AGAIN_SECONDS)
        raise NotTold(queue=queue, build=id_)

    return tell
