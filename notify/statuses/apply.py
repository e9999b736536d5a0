"""
The stage: has forges show what is wanted, many targets at a time, and each target in one call at a time.

Decided: results are recorded in groups, as they come within a moment. A process that is killed repeats what it has not
    recorded: a commit status is told twice the same, a check run is looked for before another is created.
Decided: a worker's calls come from a few threads that all its drains share, fewer than the client has connections.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from datetime import timedelta
from random import Random
from threading import Event, Lock
from time import monotonic

from sqlalchemy import Connection

from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.claims import Claim
from notify.domain.ports import Doorbell
from notify.domain.stages import STATUSES
from notify.statuses.call import Answered, call
from notify.statuses.gate import Gate
from notify.statuses.results import Recorder
from notify.store.database import Database
from notify.store.outbox import items
from notify.store.statuses import applying
from notify.store.statuses.applying import Target
from notify.work.forges import Forges, take_probe
from notify.work.stage import BatchStage

CALLS_AT_A_TIME = 8
GATHER_SECONDS = 0.25


class Statuses:
    """
    Applies targets. Thread-safe; create it after a fork.

    Args:
        lease: Renewed while calls are under way.
    """

    name = STATUSES
    ordered = False
    counts = ("applied", "skipped")

    def __init__(
        self,
        database: Database,
        forges: Forges,
        *,
        doorbell: Doorbell,
        lease: timedelta,
        rng: Random,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._database = database
        self._forges = forges
        self._doorbell = doorbell
        self._lease = lease
        self._checkpoint = checkpoint
        self._recorder = Recorder(database, forges, doorbell=doorbell, rng=rng, checkpoint=checkpoint)
        self._pool_lock = Lock()
        self._pool: ThreadPoolExecutor | None = None
        self.stopping = Event()

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Apply these targets."""
        lease = _Lease(claims, self._lease, stopping=self.stopping)
        done: Counter[str] = Counter()
        with self._database.single() as connection:
            targets = applying.load(connection, [one.id for one in claims])
            gate = self._gate(connection)
            if gone := [items.done(one) for one in claims if one.id not in targets]:
                items.settle(connection, STATUSES, gone)
        by_id = {one.id: one for one in claims}
        unknown = [one for one in targets.values() if one.forge not in self._forges.by_name]
        if unknown:
            done.update(self._recorder.end(by_id, unknown))
        pending = {
            self._threads().submit(self._call, target, by_id[target.id], gate=gate, lease=lease)
            for target in targets.values()
            if target.forge in self._forges.by_name
        }
        try:
            while pending:
                ready, pending = wait(pending, timeout=min(GATHER_SECONDS, self._lease.total_seconds() / 10))
                if ready:
                    done.update(self._recorder.record([one.result() for one in ready]))
                lease.renew(self._database, without=ready)
        finally:
            for one in pending:
                one.cancel()
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Three workers died of these targets."""
        self._recorder.bury(connection, ids)

    def close(self) -> None:
        """Begin no more calls; those that are under way end by themselves."""
        self.stopping.set()
        with self._pool_lock:
            if self._pool is not None:
                self._pool.shutdown(wait=False)

    def _call(self, target: Target, claim: Claim, *, gate: Gate, lease: "_Lease") -> Answered:
        forge = self._forges.by_name[target.forge]
        return call(forge, target, claim, gate=gate, may_begin=lease.lasts, checkpoint=self._checkpoint)

    def _gate(self, connection: Connection) -> Gate:
        pauses = self._forges.pauses(connection)
        probes = {name for name in pauses.to_be_probed if take_probe(connection, self._forges.by_name[name])}
        return Gate(pauses, probes=frozenset(probes))

    def _threads(self) -> ThreadPoolExecutor:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(CALLS_AT_A_TIME, thread_name_prefix="status")
            return self._pool


class _Lease:
    """The lease of a batch, as long as it has attempts that are not recorded."""

    def __init__(self, claims: Sequence[Claim], lease: timedelta, *, stopping: Event) -> None:
        self._attempts = {one.id: (one.id, one.attempt) for one in claims}
        self._lease = lease
        self._stopping = stopping
        self._renewed = monotonic()

    def lasts(self, claim: Claim) -> bool:
        """Whether a call may begin: it would end within the lease, if that is renewed in time."""
        age = monotonic() - self._renewed
        return claim.id in self._attempts and age < self._lease.total_seconds() / 2 and not self._stopping.is_set()

    def renew(self, database: Database, *, without: set[Future[Answered]]) -> None:
        """Renew it once a third of it is over; calls that have not begun by its loss do not begin."""
        for one in without:
            self._attempts.pop(one.result().claim.id, None)
        if not self._attempts or monotonic() - self._renewed < self._lease.total_seconds() / 3:
            return
        began = monotonic()
        with database.begin() as connection:
            ours = items.extend(connection, STATUSES, list(self._attempts.values()), lease=self._lease)
        self._attempts = {id_: attempt for id_, attempt in self._attempts.items() if id_ in ours}
        self._renewed = began


class StatusStage:
    """The stage ``statuses``: its loop, which claims nothing while no forge may be asked."""

    name = STATUSES

    def __init__(self, handler: Statuses, batch: BatchStage, database: Database, forges: Forges) -> None:
        self._handler = handler
        self._batch = batch
        self._database = database
        self._forges = forges

    def is_due(self) -> bool:
        """Whether anything is due that a forge may be asked for."""
        return bool(self._forges.by_name) and self._batch.is_due() and self._may_ask()

    def drain(self) -> Mapping[str, float]:
        if not self._forges.by_name or not self._may_ask():
            return {"claimed": 0}
        return self._batch.drain()

    def stop(self, *, at_most_seconds: float = 0.0) -> None:
        """Begin no more calls; what was not begun is released."""
        self._handler.stopping.set()
        self._batch.stop(at_most_seconds=at_most_seconds)

    def _may_ask(self) -> bool:
        """Whether any forge may be asked now."""
        with self._database.single() as connection:
            paused = self._forges.pauses(connection).forges
        return any(name not in paused for name in self._forges.by_name)
