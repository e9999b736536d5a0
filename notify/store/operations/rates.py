"""Token buckets of relays and domains, shared by all workers."""

from collections.abc import Collection, Mapping, Sequence
from json import dumps

from sqlalchemy import Connection

from notify.domain.rates import Bucket

_CREATE = "INSERT INTO notify.rate_buckets (bucket) SELECT unnest(%(names)s::text[]) ON CONFLICT DO NOTHING"
_READ = """
    SELECT bucket, greatest(extract(epoch FROM spent_until - now()), 0)::float8 AS owed,
        greatest(extract(epoch FROM queued_until - now()), 0)::float8 AS queued
    FROM notify.rate_buckets"""
_LOCK = f"{_READ} WHERE bucket = ANY (%(names)s::text[]) ORDER BY bucket FOR UPDATE"
_STORE = """
    UPDATE notify.rate_buckets AS known SET spent_until = now() + changed.owed * interval '1 second',
        queued_until = now() + changed.queued * interval '1 second'
    FROM jsonb_to_recordset(%(changed)s::jsonb) AS changed(bucket text, owed float8, queued float8)
    WHERE known.bucket = changed.bucket"""


def lock(connection: Connection, names: Collection[str]) -> dict[str, Bucket]:
    """These buckets, locked until the transaction ends. A missing one is created full."""
    given = {"names": sorted(names)}
    found = _buckets(connection, _LOCK, given)
    if len(found) < len(names):
        connection.exec_driver_sql(_CREATE, given)
        found = _buckets(connection, _LOCK, given)
    return found


def buckets(connection: Connection) -> dict[str, Bucket]:
    """Every bucket, by name, without a lock."""
    return _buckets(connection, _READ, {})


def store(connection: Connection, buckets: Mapping[str, Bucket]) -> None:
    """Store these buckets, which the caller has locked."""
    rows = [{"bucket": name, "owed": one.owed, "queued": one.queued} for name, one in buckets.items()]
    connection.exec_driver_sql(_STORE, {"changed": dumps(rows)})


def of_relay(name: str) -> str:
    """The name of a relay's bucket."""
    return f"relay {name}"


def of_domain(name: str) -> str:
    """The name of the bucket of a domain, or of a group of domains."""
    return f"domain {name}"


def _buckets(connection: Connection, statement: str, given: Mapping[str, Sequence[str]]) -> dict[str, Bucket]:
    rows = connection.exec_driver_sql(statement, dict(given))
    return {row.bucket: Bucket(owed=row.owed, queued=row.queued) for row in rows}
