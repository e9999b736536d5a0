"""Stages, which turn due work items of one kind into outcomes, and the loop of those that work in batches."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from time import monotonic
from typing import Protocol
from uuid import UUID

import structlog
from sqlalchemy import Connection

from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.claims import Claim, Lane
from notify.domain.outcomes import INTERNAL_ERROR
from notify.store.database import UNAVAILABLE, Database
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome

MOST_BURIED = 100

log = structlog.get_logger(__name__)


class Stage(Protocol):
    """
    Turns due work items of one kind into outcomes. Thread-safe; create it after a fork.

    ``name``, with a prefix, is its Celery queue and task.
    """

    @property
    def name(self) -> str: ...

    def is_due(self) -> bool:
        """Whether anything is due that the stage can work on."""

    def drain(self) -> Mapping[str, float]:
        """Work until nothing is due, or until the time is up and then ring; returns counts, for people to read."""

    def stop(self, *, at_most_seconds: float) -> None:
        """Claim nothing more; finish what was claimed, or leave it to its lease. Safe to repeat."""


class Handler(Protocol):
    """
    Works on a stage's batches of claims.

    ``ordered``: its items have order keys; ``counts``: the names of what it reports, in order.
    """

    @property
    def name(self) -> str: ...

    @property
    def ordered(self) -> bool: ...

    @property
    def counts(self) -> Sequence[str]: ...

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """
        Work on these and settle each, in its own transactions; returns counts by ``counts``.

        Must not raise once any is settled: after an error the loop works on each by itself.
        """

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Mark these items as dead in the stage's own table."""


class BatchStage:
    """
    A stage that claims batches for its handler while they come back full.

    Args:
        ring: Wakes idle workers of this stage.
        worker: The id of this process.
        at_most: For how long one drain may claim.
    """

    def __init__(
        self,
        handler: Handler,
        database: Database,
        *,
        ring: Callable[[], None],
        worker: UUID,
        lease: timedelta,
        batch: int,
        at_most: timedelta,
        rng: Random,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self.name = handler.name
        self._handler = handler
        self._database = database
        self._ring = ring
        self._worker = worker
        self._lease = lease
        self._batch = batch
        self._at_most = at_most.total_seconds()
        self._rng = rng
        self._checkpoint = checkpoint
        self._stopping = False
        self._unconfirmed: list[Claim] = []

    def is_due(self) -> bool:
        """Whether anything is due."""
        with self._database.single() as connection:
            return items.is_due(connection, self.name)

    def drain(self) -> dict[str, float]:
        """
        Work until nothing is due, the time is up or ``stop`` is called; ring if the time is up first.

        Counts ``claimed``, ``retried``, ``dead`` and ``released``, and what the handler counts.
        """
        began = monotonic()
        done: Counter[str] = Counter()
        self._undo_claims()
        # One batch first: a caller may have just rung, while lapsed items have waited long anyway.
        more = self._work_on_batch(done)
        more = self._work_on_lapsed(done) or more
        while more and not self._stopping:
            if monotonic() > began + self._at_most:
                self._ring()
                break
            more = self._work_on_batch(done)
        names = ("claimed", *self._handler.counts, "retried", "dead", "released")
        return {**{name: done[name] for name in names}, "seconds": round(monotonic() - began, 3)}

    def stop(self, *, at_most_seconds: float = 0.0) -> None:  # noqa: ARG002 - a batch ends quickly
        """Claim nothing more; the current batch is finished."""
        self._stopping = True

    def _work_on_batch(self, done: Counter[str]) -> bool:
        """Claim and work on one batch; whether it was full, so that more may be due."""

        def claim(connection: Connection) -> list[Claim]:
            return items.claim(
                connection,
                self.name,
                limit=self._batch,
                lease=self._lease,
                worker=self._worker,
                ordered=self._handler.ordered,
            )

        claims = self._claimed(claim)
        return self._take_up(claims, done) and len(claims) == self._batch

    def _work_on_lapsed(self, done: Counter[str]) -> bool:
        """
        Work on lapsed items one at a time: one of them may have killed its worker.

        Returns whether there was any; items that wait for it by order key may be free then.
        """

        def claim(connection: Connection) -> list[Claim]:
            one = items.claim_lapsed(connection, self.name, lease=self._lease, worker=self._worker)
            return [one] if one else []

        with self._database.single() as connection:
            if not items.due_items(connection, self.name).lapsed:
                return False
        with self._database.begin() as connection:
            buried = items.bury_poison(connection, self.name, limit=MOST_BURIED)
            self._handler.bury(connection, [id_ for id_, _ in buried])
        done["dead"] += len(buried)
        found = False
        while not self._stopping and (claims := self._claimed(claim)):
            found = self._take_up(claims, done) or found
        return found or bool(buried)

    def _take_up(self, claims: Sequence[Claim], done: Counter[str]) -> bool:
        """Work on these claims, except those out of turn; whether any was worked on."""
        if not claims:
            return False
        done["claimed"] += len(claims)
        self._checkpoint(f"{self.name}.claimed")
        waiting = out_of_turn(claims)
        if waiting:
            self._release([one for one in claims if one.id in waiting], done)
        ready = [one for one in claims if one.id not in waiting]
        if ready:
            self._work(ready, done)
        return bool(ready)

    def _work(self, claims: Sequence[Claim], done: Counter[str]) -> None:
        """Work on all at once; if that fails, on each by itself, so that a bad item stops no other."""
        try:
            done.update(self._handler.work(claims))
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("stage.failed", stage=self.name, items=[one.id for one in claims])
            if len(claims) == 1:
                self._retry_later(claims[0], error, done)
                return
            for one in claims:
                self._work([one], done)

    def _retry_later(self, claim: Claim, error: Exception, done: Counter[str]) -> None:
        outcome = items.later(claim, f"{INTERNAL_ERROR}: {type(error).__name__}", rng=self._rng)
        with self._database.begin() as connection:
            done.update(settle_failed(connection, self._handler, outcome))

    def _release(self, claims: Sequence[Claim], done: Counter[str]) -> None:
        """Release these with their old due times; they are claimed after the items before them."""
        with self._database.begin() as connection:
            done["released"] += len(items.settle(connection, self.name, [items.released(one) for one in claims]))

    def _claimed(self, claim: Callable[[Connection], list[Claim]]) -> list[Claim]:
        """Claim; remembers claims whose commit was not confirmed, so that they are undone."""
        claims: list[Claim] = []
        try:
            with self._database.begin() as connection:
                claims = claim(connection)
        except UNAVAILABLE:
            self._unconfirmed += claims
            raise
        return claims

    def _undo_claims(self) -> None:
        """Undo unconfirmed claims, so that they do not count as lapses."""
        unconfirmed = list(self._unconfirmed)
        if unconfirmed:
            with self._database.begin() as connection:
                items.undo_claims(connection, self.name, unconfirmed, worker=self._worker)
            del self._unconfirmed[: len(unconfirmed)]


def settle_failed(connection: Connection, handler: Handler, outcome: ItemOutcome) -> Counter[str]:
    """Record an attempt that failed, and bury what is dead of it; what it counts, if its lease was still ours."""
    ours = items.settle(connection, handler.name, [outcome])
    if ours and outcome.lane is Lane.DEAD:
        handler.bury(connection, [outcome.id])
    return counted([outcome]) if ours else Counter()


def counted(outcomes: Sequence[ItemOutcome]) -> Counter[str]:
    """How many of these are ``retried`` or ``dead``."""
    return Counter("dead" if one.lane is Lane.DEAD else "retried" for one in outcomes if one.lane is not None)


def out_of_turn(claims: Sequence[Claim]) -> set[int]:
    """
    The ids of claims that must wait: another worker has an earlier item with their order key.

    A topic's items are worked on in order.
    """
    waiting: set[int] = set()
    ids = {one.id for one in claims}
    for one in sorted(claims, key=lambda one: one.id):
        if one.predecessor is not None and (one.predecessor not in ids or one.predecessor in waiting):
            waiting.add(one.id)
    return waiting
