"""
The reconciler: reads every repository at intervals, corrects the mirror, and makes the events that no webhook brought.

Each repository has a work item that is due again after each sweep, so that no two processes sweep it at once, a sweep
that failed concerns that repository alone, and a process that was away finds everything due.

Rejected: an advisory lock for each repository. It would have to last through a hundred calls to the forge, and behind
    a pooler a session does not stay with one client.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import timedelta
from random import Random
from threading import Event

import structlog
from sqlalchemy import Connection

from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.claims import Claim, Lane
from notify.domain.forge import Repository
from notify.domain.forge_answers import ForgeFault, RateLimited
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, RECONCILE
from notify.sources.failing import FailureWatch
from notify.sources.mirror import NameTaken
from notify.sources.sweep import Sweep, SweepLease, SweepStopped
from notify.store.database import UNAVAILABLE, Database
from notify.store.forges import pauses, repositories
from notify.store.forges.repositories import KnownRepository
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.work.forges import Forge, ForgeNotAsked, Forges
from notify.work.stage import BatchStage

PAGE = 100

log = structlog.get_logger(__name__)


class Sweeps:
    """
    Sweeps the repositories that are due, one after the other.

    Args:
        every: The interval between two sweeps of a repository.
        lease: Renewed while a repository is being swept.
    """

    name = RECONCILE
    ordered = False
    counts = ("swept", "unchanged", "failed", "told")

    def __init__(
        self,
        database: Database,
        forges: Forges,
        *,
        doorbell: Doorbell,
        every: timedelta,
        lease: timedelta,
        rng: Random,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._database = database
        self._forges = forges
        self._doorbell = doorbell
        self._every = every
        self._lease = lease
        self._rng = rng
        self._checkpoint = checkpoint
        self._entries_known: set[str] = set()
        self.stopping = Event()

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Sweep these repositories. A fault is stored with its repository and does not stop the others."""
        with self._database.begin() as connection:
            known = repositories.load(connection, [one.id for one in claims])
        done: Counter[str] = Counter()
        for claim in claims:
            if self.stopping.is_set():
                self._settle(items.released(claim))
            elif claim.id not in known or known[claim.id].gone or known[claim.id].forge not in self._forges.by_name:
                self._settle(items.done(claim))
            else:
                done.update(self._sweep(claim, known[claim.id]))
        if done["told"]:
            self._doorbell.ring(FAN_OUT)
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Record that three workers died while sweeping these repositories."""
        for id_ in ids:
            repositories.failed(connection, id_, "poison")

    def _sweep(self, claim: Claim, known: KnownRepository) -> Mapping[str, int]:
        forge = self._forges.by_name[known.forge]
        lease = SweepLease(self._database, claim, lasts=self._lease, stopping=self.stopping)
        sweep = Sweep(
            self._database,
            forge,
            known,
            lease=lease,
            entries_known=forge.name in self._entries_known,
            checkpoint=self._checkpoint,
        )
        try:
            with self._forges.asking(forge, known.full_name) as reader:
                sweep.run(reader)
        except SweepStopped:
            self._settle(items.released(claim))
            return {}
        except ForgeNotAsked as fault:
            self._settle(self._again(claim, after=self._pause(forge, fault.installation)))
            return {}
        except UNAVAILABLE:
            raise
        except ForgeFault as fault:
            paused = isinstance(fault.meaning, RateLimited)
            after = self._pause(forge, fault.installation) if paused else self._every
            return self._failed(claim, known, type(fault.meaning).__name__, after=after)
        except NameTaken as taken:
            return self._failed(claim, known, str(taken), after=self._every)
        except Exception as error:
            log.exception("sweep.failed", forge=known.forge, repository=known.id)
            return self._failed(claim, known, f"internal_error: {type(error).__name__}", after=self._every)
        if sweep.has_read_entries:
            self._entries_known.add(forge.name)
        with self._database.begin() as connection:
            if items.settle(connection, RECONCILE, [self._again(claim, after=self._every)]):
                repositories.clear_failures(connection, known.id)
        return {"swept": 1, "unchanged": int(sweep.unchanged), "told": sweep.told}

    def _failed(self, claim: Claim, known: KnownRepository, fault: str, *, after: timedelta) -> Mapping[str, int]:
        with self._database.begin() as connection:
            repositories.failed(connection, known.id, fault)
            items.settle(connection, RECONCILE, [self._again(claim, after=after)])
        log.warning("sweep.failed", forge=known.forge, repository=known.id, fault=fault)
        return {"failed": 1}

    def _pause(self, forge: Forge, installation: int | None) -> timedelta:
        """How long to wait with a repository of this forge that cannot be swept now."""
        with self._database.begin() as connection:
            left = pauses.paused_for(connection, forge.name, installation)
        return self._every if left is None else left

    def _again(self, claim: Claim, *, after: timedelta) -> ItemOutcome:
        """Due again, a little jittered, so that repositories spread over the interval."""
        seconds = after.total_seconds() * self._rng.uniform(0.95, 1.05)
        return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=Lane.BULK, due_in=seconds)

    def _settle(self, outcome: ItemOutcome) -> None:
        with self._database.begin() as connection:
            items.settle(connection, RECONCILE, [outcome])


class Reconciler:
    """
    The stage: lists the repositories of each forge when it is time, and sweeps those that are due.

    Listings and sweeps share the interval.
    """

    name = RECONCILE

    def __init__(
        self,
        sweeps: Sweeps,
        batch: BatchStage,
        database: Database,
        forges: Forges,
        *,
        watch: FailureWatch,
        every: timedelta,
    ) -> None:
        self._sweeps = sweeps
        self._batch = batch
        self._database = database
        self._forges = forges
        self._watch = watch
        self._every = every

    def is_due(self) -> bool:
        """Whether a listing or a sweep is due; never if no forge is configured."""
        if not self._forges.by_name:
            return False
        self._watch.look()
        with self._database.single() as connection:
            if repositories.is_listing_due(connection, list(self._forges.by_name)):
                return True
        return self._batch.is_due()

    def drain(self) -> Mapping[str, float]:
        for forge in self._forges.by_name.values():
            self._list(forge)
        return self._batch.drain()

    def stop(self, *, at_most_seconds: float = 0.0) -> None:
        self._sweeps.stopping.set()
        self._batch.stop(at_most_seconds=at_most_seconds)

    def _list(self, forge: Forge) -> None:
        """Store the repositories of a forge. After a complete listing, the others are marked as gone."""
        with self._database.begin() as connection:
            if not repositories.take_listing(connection, forge.name, every=self._every):
                return
        seen: list[int] = []
        with self._noting(forge), self._forges.asking(forge) as reader:
            page: list[Repository] = []
            for one in reader.repositories():
                if self._sweeps.stopping.is_set():
                    raise SweepStopped
                page.append(one)
                seen.append(one.id)
                if len(page) == PAGE:
                    self._put(forge, page)
            self._put(forge, page)
            with self._database.begin() as connection:
                repositories.mark_gone(connection, forge.name, seen=seen)

    def _put(self, forge: Forge, page: list[Repository]) -> None:
        with self._database.begin() as connection:
            repositories.put(connection, forge.name, page)
        page.clear()

    @contextmanager
    def _noting(self, forge: Forge) -> Iterator[None]:
        """Store how the listing went. A forge that cannot be listed does not stop the others."""
        fault = None
        try:
            yield
        except (ForgeNotAsked, SweepStopped):
            return
        except UNAVAILABLE:
            raise
        except ForgeFault as raised:
            fault = type(raised.meaning).__name__
            log.warning("listing.failed", forge=forge.name, fault=fault)
        except Exception as error:
            fault = f"internal_error: {type(error).__name__}"
            log.exception("listing.failed", forge=forge.name)
        with self._database.begin() as connection:
            repositories.listed(connection, forge.name, fault=fault)
