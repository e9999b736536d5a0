"""
One sweep of one repository: corrects the mirror, and makes the events that no webhook brought.

Decided: the first sweep of a repository makes no events, nor does anything that happened before it.
"""

from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from itertools import chain
from threading import Event
from time import monotonic

import structlog
from sqlalchemy import Connection

from notify.checkpoints import RECONCILE_READ, RECONCILE_WRITTEN, Checkpoint
from notify.domain.claims import Claim
from notify.domain.errors import MalformedEvent, NotifyError
from notify.domain.events import CREATED
from notify.domain.forge import ChangeReading, ChangeState, ForgeEvent
from notify.domain.forge_events import ChangeEvents
from notify.domain.forge_ports import ForgeReader
from notify.domain.stages import RECONCILE
from notify.sources.mirror import Mirror, Written, mirror_of
from notify.store.database import Database
from notify.store.forges import mirror as rows
from notify.store.forges import repositories
from notify.store.forges.repositories import KnownRepository
from notify.store.outbox import items
from notify.work.forges import Forge

# A listing may miss changes made while it is read, and forges state instants in whole seconds.
OVERLAP = timedelta(minutes=2)
# The first sweep reads every open change, and the others that were updated since then.
LOOKED_BACK = timedelta(days=30)

log = structlog.get_logger(__name__)


class SweepStopped(NotifyError):
    """The process is stopping, or it has lost its lease on the repository."""


class SweepLease:
    """
    The lease of one sweep, which ends the sweep once it is lost.

    Args:
        lasts: For how long a renewal holds.
        stopping: Set when the process is to stop.
    """

    def __init__(self, database: Database, claim: Claim, *, lasts: timedelta, stopping: Event) -> None:
        self._database = database
        self._attempt = (claim.id, claim.attempt)
        self._lasts = lasts
        self._stopping = stopping
        self._renewed = monotonic()

    def go_on(self) -> None:
        """
        Renew the lease if that is due. Call it before each call to the forge.

        Raises:
            SweepStopped: The process is to end, or the lease is lost.
        """
        if self._stopping.is_set():
            raise SweepStopped
        if monotonic() - self._renewed > self._lasts.total_seconds() / 3:
            with self._database.begin() as connection:
                self.confirm(connection)

    def confirm(self, connection: Connection) -> None:
        """
        Renew the lease as a transaction's last statement, so that nothing old is written after a rebuild.

        Raises:
            SweepStopped: The lease is lost.
        """
        if not items.extend(connection, RECONCILE, [self._attempt], lease=self._lasts):
            raise SweepStopped
        self._renewed = monotonic()


class Sweep:
    """
    One sweep of one repository.

    Args:
        entries_known: This process has read the entries; later it reads them only after a push.

    Attributes:
        unchanged: Whether nothing has changed on the forge since the last sweep.
        told: How many events were handed in.
        has_read_entries: Whether this sweep read the entries of the forge.
    """

    def __init__(
        self,
        database: Database,
        forge: Forge,
        known: KnownRepository,
        *,
        lease: SweepLease,
        entries_known: bool,
        checkpoint: Checkpoint,
    ) -> None:
        self.unchanged = False
        self.has_read_entries = False
        self.told = 0
        self._database = database
        self._forge = forge
        self._known = known
        self._lease = lease
        self._entries_known = entries_known
        self._checkpoint = checkpoint
        self._since = None if known.swept_at is None else known.swept_at - OVERLAP

    def run(self, reader: ForgeReader) -> None:
        """
        Raises:
            ForgeFault: Something could not be read; what was read before is kept.
            NameTaken: Its links are those of a repository on another forge.
            SweepStopped: The sweep must end.
        """
        known = self._known
        mirror = mirror_of(self._forge)
        with self._database.begin() as connection:
            mirror.check_name(connection, known.id)
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
        if known.may_have_commits:
            self._read_branches(reader)
        if self._has_entries and (known.may_have_commits or not self._entries_known):
            self._read_entries(reader)
        self._checkpoint(RECONCILE_READ)
        with self._database.begin() as connection:
            etag = known.etag if listing.unchanged else listing.etag
            repositories.swept(connection, known, etag=etag)
            self._lease.confirm(connection)

    def _read(self, reader: ForgeReader, mirror: Mirror, number: int) -> None:
        """Read one change and its events, then write them in one transaction."""
        self._lease.go_on()
        asked_at = self._now()
        reading = reader.read_change(self._known.full_name, number)
        self._write(mirror, reading, list(self._history(reader, reading)), asked_at)

    def _history(self, reader: ForgeReader, reading: ChangeReading) -> Iterator[ForgeEvent]:
        """The events on a change since the previous sweep, but none from before the first one."""
        first = self._known.first_swept_at
        if first is None or self._since is None:
            return
        change = reading.change
        if change.created_at > first:
            opened = self._events_of(reading).opened()
            if isinstance(opened, ForgeEvent):
                yield opened
        yield from reader.history(reading.repository, change, since=max(first, self._since))

    def _write(self, mirror: Mirror, reading: ChangeReading, history: Sequence[ForgeEvent], asked_at: datetime) -> None:
        with self._database.begin() as connection:
            written = mirror.write(connection, reading, asked_at=asked_at)
            if self._known.first_swept_at is None or self._is_old(written):
                mirror.hush(connection, written)
            if self._known.first_swept_at is not None:
                self._tell(connection, mirror, written, reading=reading, history=history)
            self._lease.confirm(connection)
        self._checkpoint(RECONCILE_WRITTEN)

    def _tell(
        self,
        connection: Connection,
        mirror: Mirror,
        written: Written,
        *,
        reading: ChangeReading,
        history: Sequence[ForgeEvent],
    ) -> None:
        requests = [] if self._is_old(written) else mirror.requests_of(written, reading.repository)
        created = [one for one in history if one.type == CREATED]
        rest = [one for one in history if one.type != CREATED]
        events: dict[str, ForgeEvent] = {}
        for event in [*created, *requests, *self._pushes(written, reading), *rest]:
            events.setdefault(event.key, event)
        for event in events.values():
            try:
                self.told += mirror.tell(connection, event, written) is not None
            except MalformedEvent as error:
                log.warning("sweep.malformed", forge=self._forge.name, field=error.field)

    def _is_old(self, written: Written) -> bool:
        """Whether the change is older than the first sweep and new to us, so that its requests may be old as well."""
        first = self._known.first_swept_at
        return first is not None and written.known is None and written.change.created_at <= first

    def _pushes(self, written: Written, reading: ChangeReading) -> list[ForgeEvent]:
        """An event for new commits, if no webhook brought one."""
        change, known = reading.change, written.known
        if known is None or change.head is None or known.head_sha in (None, change.head.sha):
            return []
        if change.state is not ChangeState.OPEN or not written.is_newest:
            return []
        updated = self._events_of(reading).updated(change.head.sha)
        return [updated] if isinstance(updated, ForgeEvent) else []

    def _events_of(self, reading: ChangeReading) -> ChangeEvents:
        change = reading.change
        return ChangeEvents(self._forge.name, reading.repository, change, change.opener)

    def _read_branches(self, reader: ForgeReader) -> None:
        self._lease.go_on()
        at = self._now()
        seen = list(reader.branches(self._known.full_name))
        with self._database.begin() as connection:
            rows.put_branches(connection, self._known.id, seen, at)
            rows.delete_unseen_branches(connection, self._known.id, at)

    @property
    def _has_entries(self) -> bool:
        entries = self._forge.settings.entries
        return entries is not None and entries.repository.lower() == self._known.full_name.lower()

    def _read_entries(self, reader: ForgeReader) -> None:
        entries = self._forge.settings.entries
        if entries is None:
            return
        from notify.sources.entries import read_entries  # noqa: PLC0415 - YAML is for deployments with entries only

        self._lease.go_on()
        at = self._now()
        with self._database.begin() as connection:
            known = rows.entry_files(connection, self._forge.name)
        files = list(reader.files(entries.repository, entries.folder, known=known))
        read = read_entries(files)
        with self._database.begin() as connection:
            rows.put_entries(connection, self._forge.name, read, seen=[one.path for one in files], at=at)
        self.has_read_entries = True

    def _now(self) -> datetime:
        with self._database.single() as connection:
            now: datetime = connection.exec_driver_sql("SELECT now()").scalar_one()
            return now
