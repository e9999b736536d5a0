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

from notify.store.records import after
from notify.store.tables.operations import smtp_relays

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


_BREAKER = tuple(smtp_relays.c[name] for name in BreakerState.__slots__)


def breaker(connection: Connection, relay: str) -> BreakerState:
    """The relay's breaker; a relay nobody has failed with is closed."""
    found = connection.execute(select(*_BREAKER).where(smtp_relays.c.relay == relay)).mappings().one_or_none()
    return BreakerState(**found) if found else BreakerState()


def breakers(connection: Connection) -> dict[str, BreakerState]:
    """Every breaker that was ever needed, by relay."""
    rows = connection.execute(select(smtp_relays.c.relay, *_BREAKER).order_by(smtp_relays.c.relay)).mappings()
    return {row["relay"]: BreakerState(**{name: row[name] for name in BreakerState.__slots__}) for row in rows}


def mute(connection: Connection, relay: str, *, because: str | None) -> None:
    """
    No email is claimed for the relay from now on, and nobody probes it, until it is unmuted.

    Muting it again changes why, not since when.
    """
    row = smtp_relays.c
    statement = insert(smtp_relays).values(relay=relay, muted_at=func.now(), muted_because=because)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=[row.relay],
            set_={"muted_at": func.coalesce(row.muted_at, func.now()), "muted_because": because},
        )
    )


def unmute(connection: Connection, relay: str) -> bool:
    """Let the breaker decide again; False if the relay was not muted."""
    row = smtp_relays.c
    statement = update(smtp_relays).where(row.relay == relay, row.muted_at.is_not(None))
    return connection.execute(statement.values(muted_at=None, muted_because=None)).rowcount > 0


def take_probe(connection: Connection, relay: str, *, within: timedelta) -> bool:
    """
    The right to probe an open relay, for one worker in the fleet; False if it is muted, not time or not ours.

    Failures are counted anew from here, so that the probe's own is told from those of emails
    that were on their way when the breaker opened.

    Args:
        within: How long the probe may take before somebody else may try.
    """
    row = smtp_relays.c
    statement = (
        update(smtp_relays)
        .where(row.relay == relay, row.state == OPEN, row.probe_at <= func.now(), row.muted_at.is_(None))
        .values(probe_at=func.now() + within, failures=0)
        .returning(row.relay)
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
    row = smtp_relays.c
    enough = (row.failures + 1 >= opens_after) | (row.openings > 0)
    opens = case((row.state == CLOSED, enough), else_=row.failures == 0)
    opened = after(
        func.least(longest.total_seconds(), first.total_seconds() * func.power(2, func.least(row.openings, 20)))
    )
    fresh = insert(smtp_relays).values(
        relay=relay,
        failures=1,
        reason=reason,
        last_error=error or None,
        state=OPEN if opens_after <= 1 else CLOSED,
        openings=1 if opens_after <= 1 else 0,
        probe_at=func.now() + first if opens_after <= 1 else None,
    )
    statement = fresh.on_conflict_do_update(
        index_elements=[row.relay],
        set_={
            "failures": row.failures + 1,
            "reason": reason,
            "last_error": error or None,
            "state": case((opens, OPEN), else_=row.state),
            "openings": row.openings + case((opens, 1), else_=0),
            "probe_at": case((opens, opened), else_=row.probe_at),
            "changed_at": case((opens & (row.state == CLOSED), func.now()), else_=row.changed_at),
        },
    ).returning(*_BREAKER)
    return BreakerState(**connection.execute(statement).mappings().one())


def note_suspect(connection: Connection, relay: str, *, recipient: str, most: int) -> int:
    """
    Remember that the relay refused this recipient for policy; how many different ones it has since it took an email.

    Args:
        recipient: A digest of the address.
        most: No more than so many are kept: they say enough.
    """
    row = smtp_relays.c
    known = func.array_position(row.suspects, recipient).is_not(None) | (func.cardinality(row.suspects) >= most)
    statement = insert(smtp_relays).values(relay=relay, suspects=[recipient])
    found = connection.scalar(
        statement.on_conflict_do_update(
            index_elements=[row.relay],
            set_={"suspects": case((known, row.suspects), else_=func.array_append(row.suspects, recipient))},
        ).returning(func.cardinality(row.suspects))
    )
    return int(found or 0)


def note_probe(connection: Connection, relay: str) -> bool:
    """
    The relay took a session: emails may flow again, and the wait stays long until one has arrived.

    False if its breaker was not open.
    """
    row = smtp_relays.c
    statement = update(smtp_relays).where(row.relay == relay, row.state == OPEN)
    closed = statement.values(state=CLOSED, failures=0, probe_at=None, changed_at=func.now())
    return connection.execute(closed).rowcount > 0


def note_success(connection: Connection, relay: str) -> None:
    """The relay took a email: forget what it did before. Writes nothing when there is nothing to forget."""
    row = smtp_relays.c
    connection.execute(
        update(smtp_relays)
        .where(
            row.relay == relay,
            (row.failures > 0)
            | (row.openings > 0)
            | (row.state == literal(OPEN))
            | (func.cardinality(row.suspects) > 0),
        )
        .values(
            state=CLOSED,
            failures=0,
            openings=0,
            suspects=[],
            probe_at=None,
            changed_at=case((row.state == OPEN, func.now()), else_=row.changed_at),
        )
    )
