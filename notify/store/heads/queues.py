"""Queues: their newest request, their last green head, and who has a slot."""

from sqlalchemy import Connection

from notify.domain.head_ports import VersionMismatch
from notify.domain.heads import Queue
from notify.store.database import Database

_GET = """
    SELECT name, last_green_uri, last_green_request_id, in_flight, latest_request_id, version
    FROM notify.queues WHERE name = %(name)s"""
_CREATE = """
    INSERT INTO notify.queues (
        name, last_green_uri, last_green_request_id, in_flight, in_flight_count, latest_request_id, version
    ) VALUES (
        %(name)s, %(last_green_uri)s, %(last_green_request_id)s, %(in_flight)s::bigint[],
        cardinality(%(in_flight)s::bigint[]), %(latest_request_id)s, %(new_version)s
    ) ON CONFLICT (name) DO NOTHING"""
_UPDATE = """
    UPDATE notify.queues SET last_green_uri = %(last_green_uri)s, last_green_request_id = %(last_green_request_id)s,
        in_flight = %(in_flight)s::bigint[], in_flight_count = cardinality(%(in_flight)s::bigint[]),
        latest_request_id = %(latest_request_id)s, version = %(new_version)s
    WHERE name = %(name)s AND version = %(old_version)s"""
_LOCK = "SELECT FROM notify.queues WHERE name = %(name)s FOR NO KEY UPDATE"


class Queues:
    """A ``QueueStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> Queue:
        with self._database.single() as connection:
            row = connection.exec_driver_sql(_GET, {"name": name}).first()
        if row is None:
            return Queue(name=name)
        return Queue(
            name=name,
            last_green_uri=row.last_green_uri,
            last_green_request_id=row.last_green_request_id,
            in_flight=frozenset(row.in_flight),
            latest_request_id=row.latest_request_id,
            version=row.version,
        )

    def update(self, queue: Queue, *, old_version: int, new_version: int) -> None:
        values = {
            "name": queue.name,
            "last_green_uri": queue.last_green_uri,
            "last_green_request_id": queue.last_green_request_id,
            "in_flight": sorted(queue.in_flight),
            "latest_request_id": queue.latest_request_id,
            "old_version": old_version,
            "new_version": new_version,
        }
        with self._database.single() as connection:
            written = connection.exec_driver_sql(_UPDATE if old_version else _CREATE, values).rowcount
        if not written:
            raise VersionMismatch(queue=queue.name, version=old_version)


def lock(connection: Connection, name: str) -> None:
    """Until commit, nobody else tells of the queue or changes its row."""
    connection.exec_driver_sql(_LOCK, {"name": name})
