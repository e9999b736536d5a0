"""Notices that a forge cannot be read, and tells operators once until it has recovered."""

from collections.abc import Sequence
from datetime import timedelta
from time import monotonic

import structlog

from notify.domain.own_events import sync_failing
from notify.domain.ports import Doorbell
from notify.domain.stages import FAN_OUT
from notify.intake.own_events import emit_own
from notify.store.database import Database
from notify.store.forges import failing

LATE_INTERVALS = 3
LOOKS_AN_INTERVAL = 10

log = structlog.get_logger(__name__)


class FailureWatch:
    """
    Looks at the forges' last complete readings a few times an interval, also while no forge may be asked.

    A forge fails when its list of repositories, or any of them, has not been read completely for three intervals, and
    a fault has been known for two.

    Args:
        every: The interval of readings.
    """

    def __init__(self, database: Database, forges: Sequence[str], *, every: timedelta, doorbell: Doorbell) -> None:
        self._database = database
        self._forges = list(forges)
        self._every = every
        self._doorbell = doorbell
        self._next = monotonic()

    def look(self) -> None:
        """Emit ``source.sync.failing`` for each forge that has begun to fail; nothing before it is time again."""
        if monotonic() < self._next:
            return
        self._next = monotonic() + self._every.total_seconds() / LOOKS_AN_INTERVAL
        with self._database.begin() as connection:
            late, lasting = self._every * LATE_INTERVALS, self._every * (LATE_INTERVALS - 1)
            found = failing.begun_to_fail(connection, self._forges, late=late, lasting=lasting)
            events = [
                sync_failing(
                    one.name,
                    since=one.since,
                    repositories=one.repositories,
                    of=one.of,
                    listing=one.listing,
                    fault=one.fault,
                    words=one.words,
                )
                for one in found
            ]
            emit_own(connection, events)
        for one in found:
            log.error("forge.failing", forge=one.name, since=one.since.isoformat(), fault=one.fault)
        if found:
            self._doorbell.ring(FAN_OUT)
