"""Buckets: how much of a rate is used up, over all workers."""

from collections.abc import Collection, Mapping
from json import dumps

from sqlalchemy import ARRAY, Connection, Float, Text, bindparam, extract, func, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.domain.rates import Bucket
from notify.store.records import after, records
from notify.store.tables.operations import rate_buckets

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


def locked(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    """
    These buckets, from which nobody else can draw until the end of the transaction.

    One from which nobody has ever drawn is full.
    """
    found = _locked(connection, names)
    if len(found) < len(names):
        connection.execute(_CREATE, {"names": sorted(names)})
        found = _locked(connection, names)
    return found


def buckets(connection: Connection) -> dict[str, Bucket]:
    """Every bucket from which anybody has drawn, by name; others may draw meanwhile."""
    return {row.bucket: Bucket(owed=row.owed, queued=row.queued) for row in connection.execute(_READ)}


def keep(connection: Connection, buckets: Mapping[str, Bucket]) -> None:
    """Store these buckets, which must be locked."""
    rows = [{"bucket": name, "owed": one.owed, "queued": one.queued} for name, one in buckets.items()]
    connection.execute(_KEEP, {"changed": dumps(rows)})


def of_relay(name: str) -> str:
    """What the bucket of a relay is called."""
    return f"relay {name}"


def of_domain(name: str) -> str:
    """What the bucket of a domain, or of all that share a name, is called."""
    return f"domain {name}"


def _locked(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    rows = connection.execute(_LOCK, {"names": sorted(names)})
    return {row.bucket: Bucket(owed=row.owed, queued=row.queued) for row in rows}
