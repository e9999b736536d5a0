"""
The reconciler: reads every repository at intervals, mends the mirror, and tells what no webhook has told.

Each repository has a work item that is due again after each sweep, so that no two processes sweep it at once, a sweep
that failed concerns that repository alone, and a process that was away finds everything due.

Decided: the first sweep of a repository is silent. What happened before it is never told.
Rejected: an advisory lock for each repository. It would have to outlast a hundred calls to the forge, and a session
    behind a pooler is nobody's.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from itertools import chain
from random import Random
from threading import Event
from time import monotonic

import structlog
from sqlalchemy import Connection

from notify.checkpoints import RECONCILE_READ, RECONCILE_WRITTEN, Checkpoint, no_checkpoint
from notify.domain.claims import Claim, Lane
from notify.domain.errors import MalformedEvent, NotifyError
from notify.domain.events import CREATED, UPDATED
from notify.domain.forge import ChangeReading, ForgeEvent, Repository
from notify.domain.forge_answers import ForgeFault, RateLimited
from notify.domain.forge_ports import ForgeReader
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT, RECONCILE
from notify.sources.mirror import Mirror, Written, mirror_of
from notify.store.database import UNAVAILABLE, Database
from notify.store.forges import mirror as rows
from notify.store.forges import repositories
from notify.store.forges.repositories import KnownRepository
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.work.forges import Forge, ForgeNotAsked, Forges
from notify.work.stage import BatchStage

# A listing may miss what is written while it is read, and forges tell instants to the second.
OVERLAP = timedelta(minutes=2)
# The first sweep reads every open change, and the others that were updated since then.
LOOKED_BACK = timedelta(days=30)
PAGE = 100

log = structlog.get_logger(__name__)


class SweepStopped(NotifyError):
    """The process is to end, or its lease on the repository ran out."""


class Sweeps:
    """
    Sweeps the repositories that are due, one after the other.

    Args:
        every: How long after a sweep the next is due.
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
        self.stopping = Event()

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Sweep these repositories; a fault of one is noted on its row and ends no other's sweep."""
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
        """Three workers died of these repositories."""
        for id_ in ids:
            repositories.failed(connection, id_, "poison")

    def _sweep(self, claim: Claim, known: KnownRepository) -> Mapping[str, int]:
        forge = self._forges.by_name[known.forge]
        sweep = Sweep(self._database, forge, known, go_on=self._keeping(claim), checkpoint=self._checkpoint)
        try:
            with self._forges.asking(forge) as reader:
                sweep.run(reader)
        except SweepStopped:
            self._settle(items.released(claim))
            return {}
        except ForgeNotAsked:
            self._settle(self._again(claim, after=self._pause(forge)))
            return {}
        except UNAVAILABLE:
            raise
        except ForgeFault as fault:
            after = self._pause(forge) if isinstance(fault.meaning, RateLimited) else self._every
            return self._failed(claim, known, type(fault.meaning).__name__, after=after)
        except Exception as error:
            log.exception("sweep.failed", forge=known.forge, repository=known.id)
            return self._failed(claim, known, f"internal_error: {type(error).__name__}", after=self._every)
        self._settle(self._again(claim, after=self._every))
        return {"swept": 1, "unchanged": int(sweep.unchanged), "told": sweep.told}

    def _keeping(self, claim: Claim) -> Callable[[], None]:
        """Called before each question to the forge: renews the lease in time, and ends a sweep that is to stop."""
        renewed = monotonic()

        def go_on() -> None:
            nonlocal renewed
            if self.stopping.is_set():
                raise SweepStopped
            if monotonic() - renewed > self._lease.total_seconds() / 3:
                renewed = monotonic()
                with self._database.begin() as connection:
                    if not items.extend(connection, RECONCILE, [(claim.id, claim.attempt)], lease=self._lease):
                        raise SweepStopped

        return go_on

    def _failed(self, claim: Claim, known: KnownRepository, fault: str, *, after: timedelta) -> Mapping[str, int]:
        with self._database.begin() as connection:
            repositories.failed(connection, known.id, fault)
            items.settle(connection, RECONCILE, [self._again(claim, after=after)])
        log.warning("sweep.failed", forge=known.forge, repository=known.id, fault=fault)
        return {"failed": 1}

    def _pause(self, forge: Forge) -> timedelta:
        """How long a repository of this forge waits that cannot be swept now."""
        with self._database.begin() as connection:
            left = repositories.paused_for(connection, forge.name)
        return self._every if left is None else left

    def _again(self, claim: Claim, *, after: timedelta) -> ItemOutcome:
        """Due again, a little jittered, so that repositories spread over the interval."""
        seconds = after.total_seconds() * self._rng.uniform(0.95, 1.05)
        return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=Lane.BULK, due_in=seconds)

    def _settle(self, outcome: ItemOutcome) -> None:
        with self._database.begin() as connection:
            items.settle(connection, RECONCILE, [outcome])


class Sweep:
    """
    One sweep of one repository.

    Attributes:
        unchanged: Nothing has changed on the forge since the last sweep.
        told: How many events were handed in.
    """

    def __init__(
        self,
        database: Database,
        forge: Forge,
        known: KnownRepository,
        *,
        go_on: Callable[[], None],
        checkpoint: Checkpoint,
    ) -> None:
        self.unchanged = False
        self.told = 0
        self._database = database
        self._forge = forge
        self._known = known
        self._go_on = go_on
        self._checkpoint = checkpoint
        self._since = None if known.swept_at is None else known.swept_at - OVERLAP

    def run(self, reader: ForgeReader) -> None:
        """
        Raises:
            ForgeFault: Something could not be read; what was read before is kept.
            SweepStopped: It is to end here.
        """
        known = self._known
        mirror = mirror_of(self._forge)
        since = self._since or known.now - LOOKED_BACK
        listing = reader.changes(known.full_name, since=since, etag=known.etag)
        read: set[int] = set()
        if listing.unchanged:
            self.unchanged = True
        else:
            every_open = reader.changes(known.full_name) if self._since is None else ()
            for change in chain(listing, every_open):
                if change.number not in read:
                    read.add(change.number)
                    self._read(reader, mirror, change.number)
        with self._database.begin() as connection:
            stale = rows.stale(connection, known.id)
        for number in stale:
            if number not in read:
                self._read(reader, mirror, number)
        branches_read_at = self._read_branches(reader)
        self._read_entries(reader, pushed=branches_read_at is not None)
        self._checkpoint(RECONCILE_READ)
        with self._database.begin() as connection:
            etag = known.etag if listing.unchanged else listing.etag
            repositories.swept(connection, known, etag=etag, branches_read_at=branches_read_at)

    def _read(self, reader: ForgeReader, mirror: Mirror, number: int) -> None:
        """Write one change, and what happened on it; in a transaction that is not open while the forge is asked."""
        self._go_on()
        asked_at = self._now()
        reading = reader.read_change(self._known.full_name, number)
        self._write(mirror, reading, list(self._history(reader, reading)), asked_at)

    def _history(self, reader: ForgeReader, reading: ChangeReading) -> Iterator[ForgeEvent]:
        """What happened on a change since the sweep before; nothing of what was before the first one."""
        first = self._known.first_swept_at
        if first is None or self._since is None:
            return
        since = max(first, self._since)
        change = reading.change
        key = f"{self._forge.name}:{reading.repository.id}"
        if change.created_at > first and not change.draft:
            yield ForgeEvent(
                type=CREATED,
                key=f"{key}:created:{change.number}",
                repository=reading.repository,
                change=change,
                actor=change.opener,
                occurred_at=change.created_at,
            )
        yield from reader.history(reading.repository, change, since=since)

    def _write(self, mirror: Mirror, reading: ChangeReading, history: Sequence[ForgeEvent], asked_at: datetime) -> None:
        with self._database.begin() as connection:
            written = mirror.write(connection, reading, asked_at=asked_at)
            if self._known.first_swept_at is None:
                mirror.hush(connection, written)
                return
            requests = [] if reading.change.draft else mirror.requests_of(written, reading.repository)
            created = [one for one in history if one.type == CREATED]
            rest = [one for one in history if one.type != CREATED]
            for event in [*created, *requests, *self._pushes(written, reading), *rest]:
                try:
                    self.told += mirror.tell(connection, event, written) is not None
                except MalformedEvent as error:
                    log.warning("sweep.malformed", forge=self._forge.name, field=error.field)
        self._checkpoint(RECONCILE_WRITTEN)

    def _pushes(self, written: Written, reading: ChangeReading) -> list[ForgeEvent]:
        """New commits of which no webhook has told."""
        change, known = reading.change, written.known
        if known is None or change.head is None or known.head_sha in (None, change.head.sha) or change.draft:
            return []
        if change.state != "open" or not written.is_newest:
            return []
        key = f"{self._forge.name}:{reading.repository.id}:updated:{change.number}:{change.head.sha}"
        return [
            ForgeEvent(
                type=UPDATED,
                key=key,
                repository=reading.repository,
                change=change,
                actor=change.opener,
                occurred_at=change.updated_at,
            )
        ]

    def _read_branches(self, reader: ForgeReader) -> datetime | None:
        """List the branches if anything was pushed since they were listed last; when it was pushed."""
        known = self._known
        if known.pushed_at is not None and known.pushed_at == known.branches_read_at:
            return None
        self._go_on()
        at = self._now()
        seen = list(reader.branches(known.full_name))
        with self._database.begin() as connection:
            rows.put_branches(connection, known.id, seen, at)
            rows.delete_unseen_branches(connection, known.id, at)
        return known.pushed_at

    def _read_entries(self, reader: ForgeReader, *, pushed: bool) -> None:
        entries = self._forge.settings.entries
        if entries is None or entries.repository.lower() != self._known.full_name.lower() or not pushed:
            return
        from notify.sources.entries import read_entries  # noqa: PLC0415 - YAML is for deployments with entries only

        at = self._now()
        with self._database.begin() as connection:
            known = rows.entry_files(connection, self._forge.name)
        files = list(reader.files(entries.repository, entries.folder, known=known))
        read = read_entries(files)
        with self._database.begin() as connection:
            rows.put_entries(connection, self._forge.name, read, seen=[one.path for one in files], at=at)

    def _now(self) -> datetime:
        with self._database.single() as connection:
            now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
            return now


class Reconciler:
    """
    The stage: lists the repositories of each forge when it is time, and sweeps those that are due.

    Listings and sweeps share the interval.
    """

    name = RECONCILE

    def __init__(
        self, sweeps: Sweeps, batch: BatchStage, database: Database, forges: Forges, *, every: timedelta
    ) -> None:
        self._sweeps = sweeps
        self._batch = batch
        self._database = database
        self._forges = forges
        self._every = every

    def is_due(self) -> bool:
        """Whether a forge is to be listed or a repository to be swept; never without a forge."""
        if not self._forges.by_name:
            return False
        with self._database.begin() as connection:
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
        """Note the repositories of a forge; those that a complete listing does not have are gone."""
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
        """Note how the listing went; a forge that cannot be listed stops no other."""
        fault = None
        try:
            yield
        except (ForgeNotAsked, SweepStopped):
            return
        except ForgeFault as raised:
            fault = type(raised.meaning).__name__
            log.warning("listing.failed", forge=forge.name, fault=fault)
        with self._database.begin() as connection:
            repositories.listed(connection, forge.name, fault=fault)
