"""Stages: what turns due work items of one kind into outcomes, and the one loop of those that work in batches."""

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
    What turns due work items of one kind into outcomes. Thread-safe; made after a fork, never before.

    ``name`` is its Celery queue and its task, each with a prefix.
    """

    @property
    def name(self) -> str: ...

    def is_due(self) -> bool:
        """Whether there is anything to do, and the stage is able to do it."""

    def drain(self) -> Mapping[str, float]:
        """Work until nothing is due or the time is up, then ring for more; what was done, for people to read."""

    def stop(self, *, at_most_seconds: float) -> None:
        """Claim nothing more; finish what is under way, or leave it to its lease. Safe to repeat."""


class Handler(Protocol):
    """
    What a stage does with a batch of claims.

    ``ordered`` says that its items have order keys; ``counts`` names what it reports, in order.
    """

    @property
    def name(self) -> str: ...

    @property
    def ordered(self) -> bool: ...

    @property
    def counts(self) -> Sequence[str]: ...

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """
        Work these off and settle each of them, in transactions of its own; what was done, by ``counts``.

        Whatever it raises, nothing was settled of these. Each is then tried by itself.
        """

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """These items have died without having been worked off: write so in the stage's own table."""


class BatchStage:
    """
    A stage that claims a batch, hands it to its handler, and again while batches come back full.

    Args:
        ring: Calls idle workers of this stage.
        worker: The name of this process, for people.
        at_most: How long one drain may claim.
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
        self._unheard: list[Claim] = []

    def is_due(self) -> bool:
        """Whether there is anything to do."""
        with self._database.read() as connection:
            return items.is_due(connection, self.name)

    def drain(self) -> dict[str, float]:
        """
        Work until nothing is due, the time is up or ``stop`` is called. When the time is up first, rings for itself.

        Counts what was ``claimed``, ``retried``, ``dead`` and ``released``, and what the handler counts.
        """
        began = monotonic()
        done: Counter[str] = Counter()
        self._take_back()
        # One batch first: whoever has just rung waits for it, and what has lapsed has waited for longer than a moment.
        more = self._work_on_batch(done)
        more = self._work_on_lapsed(done) or more
        while more and not self._stopping:
            if monotonic() > began + self._at_most:
                self._ring()
                break
            more = self._work_on_batch(done)
        names = ("claimed", *self._handler.counts, "retried", "dead", "released")
        return {**{name: done[name] for name in names}, "seconds": round(monotonic() - began, 3)}

    def stop(self, *, at_most_seconds: float = 0.0) -> None:  # noqa: ARG002 - the batch at hand is finished in no time
        """Claim nothing more; the batch at hand is finished."""
        self._stopping = True

    def _work_on_batch(self, done: Counter[str]) -> bool:
        """Work on one claim; whether it was full and of use, so that there may be more to do."""

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
        Items whose worker vanished are worked on one at a time: one of them may be the reason.

        Whether there was any of them, so that what had to wait for it may be free now.
        """

        def claim(connection: Connection) -> list[Claim]:
            one = items.claim_lapsed(connection, self.name, lease=self._lease, worker=self._worker)
            return [one] if one else []

        with self._database.read() as connection:
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
        """Work on what was claimed, but for what has to wait for its turn; whether there was anything."""
        if not claims:
            return False
        done["claimed"] += len(claims)
        self._checkpoint(f"{self.name}.claimed")
        early = too_early(claims)
        if early:
            self._give_back([one for one in claims if one.id in early], done)
        ready = [one for one in claims if one.id not in early]
        if ready:
            self._work(ready, done)
        return bool(ready)

    def _work(self, claims: Sequence[Claim], done: Counter[str]) -> None:
        """Work on all at once; if that fails, on each by itself, so that one bad item stops no other."""
        try:
            done.update(self._handler.work(claims))
        except UNAVAILABLE:
            raise
        except Exception as error:
            log.exception("stage.failed", stage=self.name, items=[one.id for one in claims])
            if len(claims) == 1:
                self._put_off(claims[0], error, done)
                return
            for one in claims:
                self._work([one], done)

    def _put_off(self, claim: Claim, error: Exception, done: Counter[str]) -> None:
        outcome = items.later(claim, f"{INTERNAL_ERROR}: {type(error).__name__}", rng=self._rng)
        with self._database.begin() as connection:
            ours = items.settle(connection, self.name, [outcome])
            if ours and outcome.lane is Lane.DEAD:
                self._handler.bury(connection, [claim.id])
        done.update(counted([outcome]) if ours else {})

    def _give_back(self, claims: Sequence[Claim], done: Counter[str]) -> None:
        """Whoever works on what comes before them takes them next; until then they keep their due times."""
        with self._database.begin() as connection:
            done["released"] += len(items.settle(connection, self.name, [items.released(one) for one in claims]))

    def _claimed(self, claim: Callable[[Connection], list[Claim]]) -> list[Claim]:
        """What a claim takes; if its commit is never answered, that is remembered, to be taken back."""
        claims: list[Claim] = []
        try:
            with self._database.begin() as connection:
                claims = claim(connection)
        except UNAVAILABLE:
            self._unheard += claims
            raise
        return claims

    def _take_back(self) -> None:
        """A lost answer is no lapse: what was claimed unheard is due again as if it had never been claimed."""
        unheard = list(self._unheard)
        if unheard:
            with self._database.begin() as connection:
                items.undo_claims(connection, self.name, unheard, worker=self._worker)
            del self._unheard[: len(unheard)]


def counted(outcomes: Sequence[ItemOutcome]) -> Counter[str]:
    """How many of these attempts ended as ``retried`` or as ``dead``."""
    return Counter("dead" if one.lane is Lane.DEAD else "retried" for one in outcomes if one.lane is not None)


def too_early(claims: Sequence[Claim]) -> set[int]:
    """
    The ids of those whose turn has not come: another worker has the item before them with their order key.

    What happens on a topic is worked on in order, whoever is quicker.
    """
    early: set[int] = set()
    ids = {one.id for one in claims}
    for one in sorted(claims, key=lambda one: one.id):
        if one.predecessor is not None and (one.predecessor not in ids or one.predecessor in early):
            early.add(one.id)
    return early
