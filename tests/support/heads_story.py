"""Pushes to a queue on the embedded forge, which one worker process after the other works on until it is killed."""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from random import Random
from typing import Protocol

from sqlalchemy import insert

from notify import wiring
from notify.checkpoints import CRASH_AT
from notify.domain.preferences import Person
from notify.embedded.forge.hooks import Trouble
from notify.sources.redelivery import redeliver
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.tables.people import topic_preferences, user_notification_preferences
from tests.support.bare_worker import BareWorker, bare_worker
from tests.support.command_queue import QUEUE, command_queue, push
from tests.support.fault_scenario import LEASES_END, LOOKS_END
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.remotes import GitRemote
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.wire import header, message_id

SUBSCRIBER, OPERATOR = "sam", "olga"
PROCESSES, LEASE_SECONDS = 2, 5
# By so many writes to requests and queues the heads come forward between two kills.
KILL_AFTER = (1, 6)
WRITES = """
    SELECT (SELECT coalesce(sum(version), 0) FROM notify.requests) +
        (SELECT coalesce(sum(version), 0) FROM notify.queues)"""
# What has lapsed three times is given up.
WOULD_BE_POISON = "SELECT id FROM notify.work_items WHERE lapses >= 2 AND lane < 9"
TIME_PASSES = """
    UPDATE notify.work_items SET due_at = now() WHERE stage <> 'reconcile' AND lane < 8 AND due_at > now()"""
LOOK = "UPDATE notify.queue_polls SET due_at = now()"
BUDGET_IS_NEARLY_SPENT = """
    UPDATE notify.work_items SET failures = max_failures - 2 WHERE stage = 'heads' AND lane < 8"""
# The reconciler's item is there for ever.
OPEN = "SELECT to_jsonb(one)::text FROM notify.work_items AS one WHERE stage <> 'reconcile' AND lane < 9"
TOLD = """
    SELECT id FROM notify.requests WHERE finished_at IS NOT NULL
    AND item_id NOT IN (SELECT id FROM notify.work_items WHERE stage = 'heads' AND lane < 9)"""
UNSENT = "SELECT 1 FROM notify.work_items WHERE stage IN ('fan_out', 'deliver') AND lane < 9"
MERGE_IS_KNOWN = "SELECT 1 FROM notify.forge_changes WHERE merge_sha IS NOT NULL"

Email = tuple[str, str, str]
"""To whom, the event's type, the reason."""


class End(StrEnum):
    """What becomes of a head: the state of its request, or that this was forced."""

    GREEN = "succeeded"
    RED = "failed"
    CANCELLED = "cancelled"
    SUPERSEDED = "superseded"
    FORCED = "forced"


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """
    Args:
        end: What should become of it.
    """

    sha: str
    author: str
    end: End


class Workers(Protocol):
    def tend(self) -> None:
        """Start workers where some are missing."""

    def kill(self) -> None:
        """Kill whoever is running, and start nobody."""


@dataclass
class OneAfterTheOther:
    """
    One worker process at a time. Each is killed at its point; the next one takes over.

    Args:
        points: Where, in turn; the last worker has none.
    """

    environment: Mapping[str, str]
    log: Path
    forge: ForgeHarness
    points: deque[str]
    stack: ExitStack
    running: BareWorker | None = None

    def tend(self) -> None:
        if self.running is not None and not self.running.is_running:
            assert self.points, "a worker ended by itself"
            self.points.popleft()
            self._forget()
        if self.running is None:
            point = {CRASH_AT: self.points[0]} if self.points else {}
            self.running = self.stack.enter_context(bare_worker({**self.environment, **point}, self.log))

    def kill(self) -> None:
        """The next worker has the same point."""
        self.tend()
        assert self.running is not None
        self.running.kill()
        self._forget()

    def _forget(self) -> None:
        self.running = None
        self.forge.rows(LEASES_END)
        self.forge.rows(LOOKS_END)


@dataclass
class KilledNowAndThen:
    """
    Two worker processes, one of which is killed now and then, wherever it is. Leases end by themselves.

    Args:
        killed: How many were.
    """

    environment: Mapping[str, str]
    log: Path
    forge: ForgeHarness
    stack: ExitStack
    dice: Random
    running: list[BareWorker] = field(default_factory=list)
    killed: int = 0
    next_at: int = 0

    def tend(self) -> None:
        while len(self.running) < PROCESSES:
            self.running.append(self.stack.enter_context(bare_worker(self.environment, self.log)))
        assert all(one.is_running for one in self.running), "a worker ended by itself"
        ((writes,),) = self.forge.rows(WRITES)
        if writes > self.next_at and not self.forge.rows(WOULD_BE_POISON):
            self.next_at = int(writes) + self.dice.randint(*KILL_AFTER)
            self._kill(self.dice.choice(self.running))

    def kill(self) -> None:
        for one in tuple(self.running):
            self._kill(one)

    def _kill(self, one: BareWorker) -> None:
        one.kill()
        self.running.remove(one)
        self.killed += 1
        self.forge.rows(LOOKS_END)


@dataclass
class Story:
    """
    Args:
        gate: Slow builds wait until this file exists.
    """

    forge: ForgeHarness
    remote: GitRemote
    relay: ScriptedRelay
    workers: Workers
    gate: Path
    pushes: list[Push] = field(default_factory=list)

    def push(self, title: str, end: End, *, by: str, onto: str | None = None) -> str:
        """
        Push a commit.

        Args:
            onto: Its parent, where history is rewritten.
        """
        sha = push(self.remote, title, by=by, onto=onto)
        self.forge.forge.state.push(REPOSITORY, "main", by=by, sha=sha)
        return self._pushed(sha, end, author=by)

    def merge(self, title: str, end: End, *, author: str, by: str) -> str:
        """Merge a pull request by a commit that states nobody's address."""
        state = self.forge.forge.state
        pull = state.open_pull(REPOSITORY, by=author, title=title, head=f"{author}-{len(self.pushes)}")
        sha = push(self.remote, title, by="forge")
        state.merge(REPOSITORY, pull.number, by=by, sha=sha)
        return self._pushed(sha, end, author=author)

    @contextmanager
    def webhooks(self, trouble: Trouble) -> Iterator[None]:
        """Webhooks go wrong in this way."""
        hooks = self.forge.forge.hooks
        hooks.trouble = trouble
        yield
        hooks.release()
        assert hooks.wait()
        hooks.trouble = Trouble()

    def redeliver(self) -> None:
        """Have webhooks that did not arrive sent again, as beat does every hour."""
        forges = wiring.forges(self.forge.settings, self.forge.worker.database)
        (forge,) = forges.by_name.values()
        assert redeliver(forges, forge)

    def look(self) -> None:
        """It is time to look at the queue's ref."""
        self.forge.rows(LOOK)

    @contextmanager
    def git_away(self) -> Iterator[None]:
        """The remote cannot be reached, and most attempts were in vain."""
        away = self.remote.folder.rename(self.remote.folder.with_suffix(".away"))
        self.forge.rows(BUDGET_IS_NEARLY_SPENT)
        yield
        away.rename(self.remote.folder)

    def until(self, condition: Callable[[], object]) -> None:
        """Let workers work until it is so."""

        def is_so() -> bool:
            self.workers.tend()
            self.forge.rows(TIME_PASSES)
            return bool(condition())

        until(is_so, seconds=120)

    def until_is(self, state: str, sha: str) -> None:
        """Let workers work until the request of this head is in this state."""
        self.until(lambda: (sha, state) in self.by_head("SELECT uri, state FROM notify.requests"))

    def until_ended(self) -> None:
        """
        Let workers work until every head is at its end, and that is told and sent.

        It is no news after the next one, and an email that waits takes up what comes next about its topic.
        """
        self.until(lambda: len(self.forge.rows(TOLD)) == len(self.pushes) and not self.forge.rows(UNSENT))

    def emails(self) -> Counter[Email]:
        """Who got what; a kill may repeat an email, and then both have one Message-ID."""
        each = {message_id(one.content): one for one in self.relay.emails}
        return Counter(
            (
                one.recipient.partition("@")[0],
                header(one.content, "X-Notify-Event"),
                header(one.content, "X-Notify-Reason"),
            )
            for one in each.values()
        )

    def shown(self) -> dict[str, list[str]]:
        """Every state that each commit showed, in order."""
        found: dict[str, list[str]] = {}
        for call in self.forge.forge.state.statuses.calls:
            if call.context == f"notify/{QUEUE}":
                found.setdefault(call.sha, []).append(call.state)
        return found

    def by_head(self, statement: str) -> list[tuple[str, object]]:
        """The rows of a statement that selects a URI and something, by commit, sorted."""
        return sorted((row[0].rpartition("/")[2], row[1]) for row in self.forge.rows(statement))

    def _pushed(self, sha: str, end: End, *, author: str) -> str:
        assert self.forge.forge.hooks.wait()
        self.pushes.append(Push(sha=sha, author=author, end=end))
        return sha


@contextmanager
def heads_story(
    database: Database,
    environment: Mapping[str, str],
    relay: ScriptedRelay,
    folder: Path,
    *,
    kills: Sequence[str] | Random,
) -> Iterator[Story]:
    """
    A queue to which somebody subscribes, also to its green heads.

    A failed assertion says what is open, and what the workers logged.

    Args:
        environment: Of a worker, complete but for the forge and the relay.
        kills: The points at which workers are killed, in turn; or what says when one is.
    """
    remote, gate, data = GitRemote(folder / "remote.git"), folder / "gate", folder / "data"
    changes = {"data_dir": data, "poll_seconds": 3600, "operators": OPERATOR}
    configuration = command_queue(remote, gate)
    with (
        forge_harness(database, relay.url, folder, configuration=configuration, changes=changes) as forge,
        ExitStack() as stack,
    ):
        _subscribe(database)
        complete = {
            **environment,
            "NOTIFY_SMTP_URL": relay.url,
            "NOTIFY_FORGES_FILE": str(forge.settings.forges_file),
            "NOTIFY_DATA_DIR": str(data),
            "NOTIFY_OPERATORS": OPERATOR,
            "NOTIFY_POLL_SECONDS": "3600",
            "NOTIFY_SWEEP_SECONDS": "0.1",
            "NOTIFY_BUNDLE_SECONDS": "0",
        }
        log = folder / "bare_worker.log"
        workers: Workers
        if isinstance(kills, Random):
            complete |= {"NOTIFY_LEASE_SECONDS": str(LEASE_SECONDS)}
            workers = KilledNowAndThen(complete, log, forge, stack, kills)
        else:
            workers = OneAfterTheOther(complete, log, forge, deque(kills), stack)
        try:
            yield Story(forge, remote, relay, workers, gate)
        except AssertionError as error:
            error.add_note("\n".join([*(row[0] for row in forge.rows(OPEN)), log.read_text()]))
            raise


def _subscribe(database: Database) -> None:
    topic = {"username": SUBSCRIBER, "topic": f"queue:{QUEUE}", "subscribed": True}
    green = {"username": SUBSCRIBER, "event_type_code": "queue.head.validated", "enabled": True}
    with database.begin() as connection:
        for name in (SUBSCRIBER, OPERATOR):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
        connection.execute(insert(topic_preferences).values(topic))
        connection.execute(insert(user_notification_preferences).values(green))
