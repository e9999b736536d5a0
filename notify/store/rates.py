"""Buckets: how much of a rate is used up, over all workers. Letters that are beyond it are put off."""

from collections.abc import Collection, Mapping
from datetime import timedelta
from json import dumps

from sqlalchemy import ARRAY, BigInteger, Connection, Float, Integer, Text, bindparam, extract, func, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.domain.rates import Bucket
from notify.store import groups
from notify.store.leases import PENDING, SENDING, after
from notify.store.records import records
from notify.store.tables import email_jobs, rate_buckets

Try = tuple[int, int]

_row = rate_buckets.c
_NAMES = bindparam("names", type_=ARRAY(Text))
_CREATE = (
    insert(rate_buckets)
    .from_select([_row.bucket], select(func.unnest(_NAMES).label("bucket")))
    .on_conflict_do_nothing()
)
_READ = select(
    _row.bucket,
    func.greatest(extract("epoch", _row.spent_until - func.now()), 0).cast(Float).label("owed"),
    func.greatest(extract("epoch", _row.queued_until - func.now()), 0).cast(Float).label("queued"),
)
_LOCK = _READ.where(_row.bucket == func.any(_NAMES)).order_by(_row.bucket).with_for_update()
_changed = records("changed", bucket=Text, owed=Float, queued=Float)
_KEEP = (
    update(rate_buckets)
    .where(_row.bucket == _changed.c.bucket)
    .values(spent_until=after(_changed.c.owed), queued_until=after(_changed.c.queued))
)
_delays = records("delays", id=BigInteger, attempt=Integer, delay=Float)
# Too old by its turn: it wakes at its end, to be recorded as expired.
_PUT_OFF = (
    update(email_jobs)
    .where(email_jobs.c.id == _delays.c.id, email_jobs.c.attempt == _delays.c.attempt, email_jobs.c.status == SENDING)
    .values(
        status=PENDING,
        due_at=func.least(after(_delays.c.delay), func.greatest(email_jobs.c.expires_at, func.now())),
    )
    .returning(email_jobs.c.id)
)


def locked(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    """
    How these buckets stand, which nobody else can draw from until the end of the transaction.

    One from which nobody has ever drawn is full.
    """
    found = _locked(connection, names)
    if len(found) < len(names):
        connection.execute(_CREATE, {"names": sorted(names)})
        found = _locked(connection, names)
    return found


def standings(connection: Connection) -> dict[str, Bucket]:
    """How every bucket stands from which anybody has drawn, by name; others may draw meanwhile."""
    return {row.bucket: Bucket(owed=row.owed, queued=row.queued) for row in connection.execute(_READ)}


def keep(connection: Connection, buckets: Mapping[str, Bucket]) -> None:
    """How these buckets, which are locked, stand from now on."""
    rows = [{"bucket": name, "owed": one.owed, "queued": one.queued} for name, one in buckets.items()]
    connection.execute(_KEEP, {"changed": dumps(rows)})


def of_relay(name: str) -> str:
    """What the bucket of a relay is called."""
    return f"relay {name}"


def of_domain(name: str) -> str:
    """What the bucket of a domain, or of all that share a name, is called."""
    return f"domain {name}"


def put_off(connection: Connection, delays: Mapping[Try, timedelta]) -> None:
    """Claimed letters wait for their turns, by ids and attempts: no failure counted, nothing noted as a try."""
    if not delays:
        return
    rows = [{"id": id_, "attempt": attempt, "delay": delay.total_seconds()} for (id_, attempt), delay in delays.items()]
    groups.give_back(connection, set(connection.scalars(_PUT_OFF, {"delays": dumps(rows)})))


def _locked(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    rows = connection.execute(_LOCK, {"names": sorted(names)})
    return {row.bucket: Bucket(owed=row.owed, queued=row.queued) for row in rows}
