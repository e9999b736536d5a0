"""
Circuit breakers, one for each relay, shared by all workers: while one is open or muted, no email is claimed.

Decided: muting is a mark beside the state, not a state. What workers learn meanwhile from emails
    that were on their way is recorded as ever, and unmuting finds the breaker as the relay left it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.store.tables.operations import endpoints

CLOSED = "closed"
OPEN = "open"
MUTED = "muted"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """
    The breaker of one relay.

    ``probe_at`` None means closed; ``reason`` None means that it never opened. ``muted_at`` is when
    somebody muted the relay, None if it is not muted; ``muted_because`` is why, in their words.
    ``suspects`` are digests of the recipients that it refused for policy since it took an email last.
    """

    state: str = CLOSED
    failures: int = 0
    openings: int = 0
    probe_at: datetime | None = None
    reason: str | None = None
    last_error: str | None = None
    muted_at: datetime | None = None
    muted_because: str | None = None
    suspects: Sequence[str] = ()

    @property
    def is_muted(self) -> bool:
        """Whether emails must wait until somebody unmutes the relay, whatever it answers."""
        return self.muted_at is not None

    @property
    def is_open(self) -> bool:
        """Whether emails must wait."""
        return bool(self.held_open_by)

    @property
    def held_open_by(self) -> frozenset[str]:
        """What makes emails wait: whom failures were held against, ``muted``, both, or nothing."""
        blamed = {(self.reason or "").partition(":")[0]} if self.state == OPEN else set()
        return frozenset(blamed | ({MUTED} if self.is_muted else set()))


_row = endpoints.c
_BREAKER = tuple(_row[name] for name in BreakerState.__slots__)


def breaker(connection: Connection, relay: str) -> BreakerState:
    """The relay's breaker; a relay nobody has failed with is closed."""
    found = connection.execute(select(*_BREAKER).where(_row.endpoint == relay)).mappings().one_or_none()
    return BreakerState(**found) if found else BreakerState()


def breakers(connection: Connection) -> dict[str, BreakerState]:
    """Every breaker that was ever needed, by relay."""
    rows = connection.execute(select(_row.endpoint, *_BREAKER).order_by(_row.endpoint)).mappings()
    return {row["endpoint"]: BreakerState(**{name: row[name] for name in BreakerState.__slots__}) for row in rows}


def mute(connection: Connection, relay: str, *, because: str | None) -> None:
    """
    No email is claimed for the relay from now on, and nobody probes it, until it is unmuted.

    Muting it again changes why, not since when.
    """
    _add(connection, relay)
    muted = update(endpoints).where(_row.endpoint == relay)
    connection.execute(muted.values(muted_at=func.coalesce(_row.muted_at, func.now()), muted_because=because))


def unmute(connection: Connection, relay: str) -> bool:
    """Let the breaker decide again; False if the relay was not muted."""
    statement = update(endpoints).where(_row.endpoint == relay, _row.muted_at.is_not(None))
    return connection.execute(statement.values(muted_at=None, muted_because=None)).rowcount > 0


def take_probe(connection: Connection, relay: str, *, within: timedelta) -> bool:
    """
    The right to probe an open relay, for one worker in the fleet; False if it is muted, not time or not ours.

    Failures are counted anew from here, so that the probe's own is told from those of emails
    that were on their way when the breaker opened.

    Args:
        within: How long the probe may take before somebody else may try.
    """
    statement = (
        update(endpoints)
        .where(_row.endpoint == relay, _row.state == OPEN, _row.probe_at <= func.now(), _row.muted_at.is_(None))
        .values(probe_at=func.now() + within, failures=0)
        .returning(_row.endpoint)
    )
    return connection.scalar(statement) is not None


def note_failure(
    connection: Connection,
    relay: str,
    *,
    reason: str,
    error: str,
    opens_after: int,
    longest: timedelta,
    first: timedelta,
) -> BreakerState:
    """
    Count a failure of the relay; the one that makes *opens_after* in a row opens the breaker.

    After a probe a single failure opens it again: no email has arrived yet. Each opening in a
    row waits twice as long, from *first* to at most *longest*. The failures of emails that were
    on their way when it opened are counted and prolong nothing.
    """
    _add(connection, relay)
    enough = (_row.failures + 1 >= opens_after) | (_row.openings > 0)
    opens = case((_row.state == CLOSED, enough), else_=_row.failures == 0)
    wait = func.least(longest, first * func.power(2, func.least(_row.openings, 20)))
    statement = update(endpoints).where(_row.endpoint == relay)
    failed = statement.values(
        failures=_row.failures + 1,
        reason=reason,
        last_error=error or None,
        state=case((opens, OPEN), else_=_row.state),
        openings=_row.openings + case((opens, 1), else_=0),
        probe_at=case((opens, func.now() + wait), else_=_row.probe_at),
        changed_at=case((opens & (_row.state == CLOSED), func.now()), else_=_row.changed_at),
    )
    return BreakerState(**connection.execute(failed.returning(*_BREAKER)).mappings().one())


def note_suspect(connection: Connection, relay: str, *, recipient: str, most: int) -> int:
    """
    Remember that the relay refused this recipient for policy; how many different ones it has since it took an email.

    Args:
        recipient: A digest of the address.
        most: No more than so many are kept: they say enough.
    """
    _add(connection, relay)
    known = func.array_position(_row.suspects, recipient).is_not(None) | (func.cardinality(_row.suspects) >= most)
    suspects = case((known, _row.suspects), else_=func.array_append(_row.suspects, recipient))
    statement = update(endpoints).where(_row.endpoint == relay).values(suspects=suspects)
    refused: int = connection.execute(statement.returning(func.cardinality(_row.suspects))).scalar_one()
    return refused


def note_probe(connection: Connection, relay: str) -> bool:
    """
    The relay took a session: emails may flow again, and the wait stays long until one has arrived.

    False if its breaker was not open.
    """
    statement = update(endpoints).where(_row.endpoint == relay, _row.state == OPEN)
    closed = statement.values(state=CLOSED, failures=0, probe_at=None, changed_at=func.now())
    return connection.execute(closed).rowcount > 0


def note_success(connection: Connection, relay: str) -> None:
    """The relay took an email: forget what it did before. Writes nothing when there is nothing to forget."""
    connection.execute(
        update(endpoints)
        .where(
            _row.endpoint == relay,
            (_row.failures > 0)
            | (_row.openings > 0)
            | (_row.state == literal(OPEN))
            | (func.cardinality(_row.suspects) > 0),
        )
        .values(
            state=CLOSED,
            failures=0,
            openings=0,
            suspects=[],
            probe_at=None,
            changed_at=case((_row.state == OPEN, func.now()), else_=_row.changed_at),
        )
    )


def _add(connection: Connection, relay: str) -> None:
    """A closed breaker, unless there is one."""
    connection.execute(insert(endpoints).values(endpoint=relay).on_conflict_do_nothing())
