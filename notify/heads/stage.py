"""
The stage: looks at each queue's ref when it is time, and takes requests forward, several at a time.

Decided: a worker's requests come forward in a few threads, since source control and runners are waited for.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import timedelta
from random import Random
from threading import Lock
from time import monotonic

import structlog
from sqlalchemy import Connection

from notify import checkpoints
from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.claims import Claim, Lane
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import (
    BuildRunner,
    NotFound,
    Reporter,
    RunnerRefused,
    RunnerUnavailable,
    SourceControl,
    SourceControlUnavailable,
    Stores,
)
from notify.domain.heads import Request, RequestId
from notify.domain.measures import Count, Measure, bucket, no_count, verdict_label
from notify.domain.outcomes import INTERNAL_ERROR
from notify.domain.ports import Doorbell
from notify.domain.stages import HEADS
from notify.heads.ingest import ingest
from notify.heads.retry import retry
from notify.heads.steps import WAIT_FOR_BUILD, WAIT_FOR_SLOT, Steps
from notify.store.database import UNAVAILABLE, Database
from notify.store.heads import polls, requests
from notify.store.heads.polls import Look
from notify.store.heads.requests import Requests, Verdict
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.work.stage import BatchStage

THREADS = 8
RENEWED_AFTER = 1 / 3
ENDED = (None, Lane.DEAD)

log = structlog.get_logger(__name__)


class Queues:
    """
    The configured queues of one process, and what reaches each.

    Args:
        source_of: Makes the source control of a queue; *runner_of* and *reporter_of* likewise.
    """

    def __init__(
        self,
        settings: Mapping[str, QueueSettings],
        *,
        stores: Stores,
        source_of: Callable[[QueueSettings], SourceControl],
        runner_of: Callable[[QueueSettings], BuildRunner],
        reporter_of: Callable[[QueueSettings], Reporter],
    ) -> None:
        self.settings = settings
        self.stores = stores
        self._source_of, self._runner_of, self._reporter_of = source_of, runner_of, reporter_of

    def ingest(self, name: str, *, checkpoint: Checkpoint = no_checkpoint) -> RequestId:
        """The request that validates the queue's newest head; see ``notify.heads.ingest``."""
        return ingest(name, queues=self.settings, source_of=self._source_of, stores=self.stores, checkpoint=checkpoint)

    def retry(self, name: str, *, checkpoint: Checkpoint = no_checkpoint) -> RequestId:
        """A new request for a head of which nothing was found out; see ``notify.heads.retry``."""
        return retry(name, queues=self.settings, source_of=self._source_of, stores=self.stores, checkpoint=checkpoint)

    def source(self, name: str) -> SourceControl:
        """The history of a configured queue."""
        return self._source_of(self.settings[name])

    def steps(self, name: str, *, freed: Callable[[str], None], checkpoint: Checkpoint) -> Steps:
        queue = self.settings[name]
        return Steps(
            queue=queue,
            stores=self.stores,
            source=self._source_of(queue),
            runner=self._runner_of(queue),
            reporter=self._reporter_of(queue),
            freed=freed,
            checkpoint=checkpoint,
        )


@dataclass(frozen=True, slots=True)
class _Advanced:
    """
    How far a request came.

    Args:
        waits_in: The queue that it waits for a slot of; None: it does not.
        is_built: It waits for its build.
    """

    outcome: ItemOutcome
    waits_in: str | None = None
    is_built: bool = False


class Heads:
    """Takes requests forward. Thread-safe; create it after a fork."""

    name = HEADS
    ordered = False
    counts = ("ended", "waiting")

    def __init__(
        self,
        database: Database,
        queues: Queues,
        *,
        doorbell: Doorbell,
        lease: timedelta,
        rng: Random,
        checkpoint: Checkpoint = no_checkpoint,
        count: Count = no_count,
    ) -> None:
        self._database = database
        self._requests = Requests(database)
        self._queues = queues
        self._doorbell = doorbell
        self._lease = lease
        self._rng = rng
        self._checkpoint = checkpoint
        self._count = count
        self._lock = Lock()
        self._pool: ThreadPoolExecutor | None = None

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Take these requests as far as they go now."""
        known = self._requests.by_items([one.id for one in claims])
        under_way = {self.threads().submit(self._advanced, one, known.get(one.id)): one for one in claims}
        done: Counter[str] = Counter()
        renewed = monotonic()
        while under_way:
            ready, _ = wait(
                under_way, timeout=self._lease.total_seconds() * RENEWED_AFTER, return_when="FIRST_COMPLETED"
            )
            for one in ready:
                del under_way[one]
            done.update(self._settle([one.result() for one in ready]))
            if under_way and monotonic() - renewed > self._lease.total_seconds() * RENEWED_AFTER:
                renewed = monotonic()
                with self._database.begin() as connection:
                    attempts = [(one.id, one.attempt) for one in under_way.values()]
                    items.extend(connection, HEADS, attempts, lease=self._lease)
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Three workers died of these requests: they could not be validated. Stores have their own connections."""
        # The transaction must not be idle for as long as runners that hang take one after the other.
        list(self.threads().map(self._give_up, self._requests.by_items(list(ids)).values()))
        self._time(requests.verdicts(connection, ids))

    def close(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False)

    def _advanced(self, claim: Claim, request: Request | None) -> "_Advanced":
        if request is None:
            return _Advanced(items.done(claim))
        if request.id.queue not in self._queues.settings:
            return self._later(claim, request, "unknown_queue")
        try:
            again = self._taken_forward(request)
        except (SourceControlUnavailable, RunnerUnavailable) as error:
            return self._later(claim, request, f"{type(error).__name__}: {error}")
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("heads.failed", request=str(request.id))
            return self._later(claim, request, f"{INTERNAL_ERROR}: {type(error).__name__}")
        waits_in = request.id.queue if again == WAIT_FOR_SLOT else None
        outcome = items.done(claim) if again is None else _again(claim, again)
        return _Advanced(outcome, waits_in, is_built=again == WAIT_FOR_BUILD)

    def _taken_forward(self, request: Request) -> timedelta | None:
        """As ``Steps.advance`` says; a request that cannot be validated is at its end."""
        steps = self._steps(request)
        try:
            return steps.advance(request)
        except (RunnerRefused, NotFound) as error:
            log.warning("heads.cannot_validate", request=str(request.id), reason=type(error).__name__)
            steps.fail_closed(self._requests.get(request.id))
            return None

    def _later(self, claim: Claim, request: Request, reason: str) -> "_Advanced":
        """Due again after the backoff; once the budget is spent the request is at its end."""
        outcome = items.later(claim, reason[:250], rng=self._rng)
        if outcome.lane is Lane.DEAD:
            self._give_up(self._requests.get(request.id))
        return _Advanced(outcome)

    def _give_up(self, request: Request) -> None:
        """Fail closed. What goes wrong at that is logged, since the item is dead anyway and must stop no other."""
        if request.id.queue not in self._queues.settings:
            return
        try:
            self._steps(request).fail_closed(request)
        except UNAVAILABLE:
            raise
        except Exception:
            log.exception("heads.not_closed", request=str(request.id))

    def _steps(self, request: Request) -> Steps:
        return self._queues.steps(request.id.queue, freed=self._wake_waiting, checkpoint=self._checkpoint)

    def _wake_waiting(self, *queues: str) -> None:
        """Have requests of these queues taken forward that wait for a slot, where one is free."""
        slots = {one: self._queues.settings[one].max_concurrent for one in queues}
        with self._database.single() as connection:
            woken = requests.wake_waiting(connection, slots)
        if woken:
            self.ring()

    def _wake_ended(self, waiting: Sequence[int]) -> None:
        """Have those of these items taken forward whose builds have ended."""
        with self._database.single() as connection:
            woken = requests.wake_ended(connection, waiting)
        if woken:
            self.ring()

    def _settle(self, advanced: Sequence["_Advanced"]) -> Counter[str]:
        outcomes = [one.outcome for one in advanced]
        with self._database.begin() as connection:
            ours = items.settle(connection, HEADS, outcomes)
            ended = [one.id for one in outcomes if one.name in ours and one.lane in ENDED]
            verdicts = requests.verdicts(connection, ended) if ended else ()
        self._time(verdicts)
        # What came before this commit woke nobody whose item was leased: a free slot, a build's end that was told.
        if waiting := {one.waits_in for one in advanced if one.waits_in is not None}:
            self._wake_waiting(*waiting)
        if built := [one.outcome.id for one in advanced if one.is_built]:
            self._wake_ended(built)
        return Counter(_count_of(one) for one in outcomes if one.name in ours)

    def _time(self, verdicts: Sequence[Verdict]) -> None:
        """Count how long each took, from when its head was first heard of."""
        for queue, outcome, seconds in verdicts:
            self._count(Measure.TO_VERDICT, verdict_label(bucket(seconds), queue=queue, outcome=outcome), seconds)

    def ring(self) -> None:
        """Wake idle workers."""
        self._doorbell.ring(HEADS)

    def threads(self) -> ThreadPoolExecutor:
        """Where git and runners are waited for."""
        with self._lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="heads")
            return self._pool


class HeadsStage:
    """The stage ``heads``. A queue's ref is looked at every *poll*; a webhook makes that due at once."""

    name = HEADS

    def __init__(
        self,
        heads: Heads,
        batch: BatchStage,
        database: Database,
        queues: Queues,
        *,
        poll: timedelta,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._heads = heads
        self._batch = batch
        self._database = database
        self._queues = queues
        self._poll = poll
        self._checkpoint = checkpoint
        self._stopping = False

    def is_due(self) -> bool:
        """Whether a queue is to be looked at, or a request to be taken forward; never without a queue."""
        if not self._queues.settings:
            return False
        with self._database.single() as connection:
            if polls.is_due(connection, list(self._queues.settings)):
                return True
        return self._batch.is_due()

    def drain(self) -> Mapping[str, float]:
        for _ in range(0, len(self._queues.settings), THREADS):
            if self._stopping or not self._look_at_some():
                break
        return self._batch.drain()

    def stop(self, *, at_most_seconds: float = 0.0) -> None:
        self._stopping = True
        self._batch.stop(at_most_seconds=at_most_seconds)
        self._heads.close()

    def _look_at_some(self) -> bool:
        """Look at a few queues at a time, which leaves the rest to other workers; whether more may be due."""
        with self._database.single() as connection:
            taken = polls.take(connection, list(self._queues.settings), every=self._poll, most=THREADS)
        if not taken:
            return False
        self._checkpoint(checkpoints.HEADS_LOOK_TAKEN)
        if len(taken) == THREADS:
            self._heads.ring()
        list(self._heads.threads().map(self._look, taken))
        return len(taken) == THREADS

    def _look(self, look: Look) -> None:
        """Take in the queue's head; a queue that cannot be looked at stops no other."""
        fault = None
        try:
            self._queues.ingest(look.queue, checkpoint=self._checkpoint)
        except (SourceControlUnavailable, NotFound) as error:
            fault = str(error)
            log.warning("heads.poll_failed", queue=look.queue, fault=type(error).__name__)
        with self._database.single() as connection:
            polls.note(connection, look, every=self._poll, fault=fault)


def _again(claim: Claim, after: timedelta) -> ItemOutcome:
    return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=Lane.NORMAL, due_in=after.total_seconds())


def _count_of(outcome: ItemOutcome) -> str:
    if outcome.lane is None:
        return "ended"
    if outcome.lane is Lane.DEAD:
        return "dead"
    return "retried" if outcome.failed else "waiting"
