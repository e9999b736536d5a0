"""
Circuit breakers, one for each relay, shared by all workers: while one is open or muted, no email is claimed.

Decided: muting is a flag beside the state, not a state. Results of emails in flight are still recorded, so that
    unmuting finds the breaker as the relay left it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Connection, bindparam, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.store.tables.operations import endpoints
from notify.store.webhooks.calls import BREAKER

CLOSED = "closed"
OPEN = "open"
MUTED = "muted"


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakerState:
    """
    The breaker of one relay.

    ``probe_at`` None: closed; ``reason`` None: it never failed; ``muted_at`` None: not muted.
    ``suspects`` are hashes of the recipients refused for policy since the last success.
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
        """Whether an operator has muted the relay."""
        return self.muted_at is not None

    @property
    def is_open(self) -> bool:
        """Whether emails must wait: the breaker is open or the relay is muted."""
        return bool(self.blocked_by)

    @property
    def blocked_by(self) -> frozenset[str]:
        """Why emails must wait: who is blamed for the failures, ``muted``, both, or nothing."""
        blamed = {(self.reason or "").partition(":")[0]} if self.state == OPEN else set()
        return frozenset(blamed | ({MUTED} if self.is_muted else set()))


_row = endpoints.c
_BREAKER = tuple(_row[name] for name in BreakerState.__slots__)
# Built once: every group of statuses and emails sends it.
_SUCCEEDED = (
    update(endpoints)
    .where(
        _row.endpoint == bindparam("relay"),
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


def breaker(connection: Connection, relay: str) -> BreakerState:
    """The relay's breaker; closed if there is no row."""
    found = connection.execute(select(*_BREAKER).where(_row.endpoint == relay)).mappings().one_or_none()
    return BreakerState(**found) if found else BreakerState()


def breakers(connection: Connection) -> dict[str, BreakerState]:
    """Every stored breaker of relays and forges, by name."""
    ours = select(_row.endpoint, *_BREAKER).where(~_row.endpoint.startswith(BREAKER)).order_by(_row.endpoint)
    rows = connection.execute(ours).mappings()
    return {row["endpoint"]: BreakerState(**{name: row[name] for name in BreakerState.__slots__}) for row in rows}


def mute(connection: Connection, relay: str, *, because: str | None) -> None:
    """
    Claim no email for the relay and do not probe it until it is unmuted.

    Muting it again changes the reason, not the time.
    """
    _add(connection, relay)
    muted = update(endpoints).where(_row.endpoint == relay)
    connection.execute(muted.values(muted_at=func.coalesce(_row.muted_at, func.now()), muted_because=because))


def unmute(connection: Connection, relay: str) -> bool:
    """Let the breaker decide again; False: the relay was not muted."""
    statement = update(endpoints).where(_row.endpoint == relay, _row.muted_at.is_not(None))
    return connection.execute(statement.values(muted_at=None, muted_because=None)).rowcount > 0


def take_probe(connection: Connection, relay: str, *, within: timedelta) -> bool:
    """
    Reserve the probe of an open relay for this worker; False: muted, too early, or another worker has it.

    Resets the failure count, so that the probe's failure is distinguished from those of emails still in flight
    when the breaker opened.

    Args:
        within: How long the probe may take before another worker may probe.
    """
    statement = (
        update(endpoints)
        .where(_row.endpoint == relay, _row.state == OPEN, _row.probe_at <= func.now(), _row.muted_at.is_(None))
        .values(probe_at=func.now() + within, failures=0)
        .returning(_row.endpoint)
    )
    return connection.scalar(statement) is not None


def record_failure(
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
    Count a failure of the relay; *opens_after* in a row open the breaker.

    Between a probe and the first success one failure opens it again. Each opening in a row lasts twice as long,
    from *first* to *longest*. Failures of emails in flight while it is open are counted but do not prolong it.
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


def record_suspect(connection: Connection, relay: str, *, recipient: str, most: int) -> int:
    """
    Store that the relay refused this recipient for policy; returns how many different ones since the last success.

    Args:
        recipient: A hash of the address.
        most: Store at most this many.
    """
    _add(connection, relay)
    known = func.array_position(_row.suspects, recipient).is_not(None) | (func.cardinality(_row.suspects) >= most)
    suspects = case((known, _row.suspects), else_=func.array_append(_row.suspects, recipient))
    statement = update(endpoints).where(_row.endpoint == relay).values(suspects=suspects)
    refused: int = connection.execute(statement.returning(func.cardinality(_row.suspects))).scalar_one()
    return refused


def record_probe(connection: Connection, relay: str) -> bool:
    """
    Close the breaker after a successful probe; the next opening still lasts longer until an email was accepted.

    False: the breaker was not open.
    """
    statement = update(endpoints).where(_row.endpoint == relay, _row.state == OPEN)
    closed = statement.values(state=CLOSED, failures=0, probe_at=None, changed_at=func.now())
    return connection.execute(closed).rowcount > 0


def record_success(connection: Connection, relay: str) -> None:
    """Reset the breaker after an accepted email; writes nothing if there is nothing to reset."""
    connection.execute(_SUCCEEDED, {"relay": relay})


def _add(connection: Connection, relay: str) -> None:
    """Insert a closed breaker unless there is a row."""
    connection.execute(insert(endpoints).values(endpoint=relay).on_conflict_do_nothing())
