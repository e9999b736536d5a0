"""How fast events become rows, beside a raw bulk insert of the same rows."""

from collections.abc import Iterator
from time import perf_counter

from sqlalchemy import delete, insert, select

from notify.store.database import Database
from notify.store.tables import email_jobs, work_items
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.place import Place, settings
from tests.benchmarks.rows import Row, at_least
from tests.benchmarks.workload import AUDIENCE

# What the fan-out states of a row; the rest are the table's defaults.
WRITTEN = [
    email_jobs.c[name]
    for name in (
        "event_id", "event_type", "cl_link", "username", "reason", "to_email", "message_id",
        "status", "finished_at", "outcome_reason", "expires_at",
    )
]  # fmt: skip

DUE = [work_items.c[name] for name in ("stage", "id", "lane", "due_at", "max_failures")]


def measure(bench: Bench) -> Iterator[Row]:
    """Rows a second: decided and written from waiting events, and merely written; the best of the rounds."""
    ours = theirs = 0.0
    for _ in range(bench.scale.repeats):
        with bench.place.database() as database:
            ours = max(ours, _fanned_out(bench.place, database, bench.scale.events))
            theirs = max(theirs, _inserted(database))
    yield Row(
        what=f"fan-out of {bench.scale.events:,} events to {AUDIENCE} people each",
        unit="rows/s",
        figure=ours,
        beside="Core insert of the same rows, two lists",
        other=theirs,
        goal=at_least(0.4),
    )


def _fanned_out(place: Place, database: Database, events: int) -> float:
    workload.fill_directory(database)
    workload.emit(database, letters=events * AUDIENCE)
    began = perf_counter()
    written = workload.fan_out(settings(place.environment(database)), database)
    return written / (perf_counter() - began)


def _inserted(database: Database) -> float:
    """Take the rows out and put them back, as a list, in one transaction."""
    with database.begin() as connection:
        rows = [dict(row) for row in connection.execute(select(*WRITTEN)).mappings()]
        due = [dict(row) for row in connection.execute(select(*DUE)).mappings()]
        connection.execute(delete(email_jobs))
        connection.execute(delete(work_items))
    began = perf_counter()
    with database.begin() as connection:
        connection.execute(insert(email_jobs), rows)
        connection.execute(insert(work_items), due)
    return len(rows) / (perf_counter() - began)
