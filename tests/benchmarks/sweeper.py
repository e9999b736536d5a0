"""
Sweeps every repository each time a line comes in: ``python -m tests.benchmarks.sweeper``, a process of its own.

It has the stage ``reconcile`` as a worker makes it. Prints a line of JSON for each sweep.
"""

import sys
from json import dumps
from os import environ
from resource import RUSAGE_SELF, getrusage
from time import monotonic, process_time
from uuid import uuid4

from notify import logs, wiring
from notify.doorbell import NoDoorbell
from notify.sources.reconciler import Reconciler
from notify.store.database import Database
from tests.benchmarks.benchmark_servers import settings

NOW = (
    "UPDATE notify.forges SET listed_from = now(), paused_until = NULL",
    "UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'",
)


def main() -> None:
    """Serve until standard input ends."""
    logs.configure(level="error", style="auto")
    given = settings({name: value for name, value in environ.items() if name.startswith("NOTIFY_")})
    database = wiring.database(given)
    stage = wiring.reconciler(given, database, doorbell=NoDoorbell(), worker=uuid4())
    _say("ready")
    for _ in sys.stdin:
        _say(dumps(_sweep(stage, database)))


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def _sweep(stage: Reconciler, database: Database) -> dict[str, float]:
    with database.begin() as connection:
        for statement in NOW:
            connection.exec_driver_sql(statement)
    began, busy = monotonic(), process_time()
    swept = unchanged = 0.0
    while stage.is_due():
        done = stage.drain()
        swept, unchanged = swept + done["swept"], unchanged + done["unchanged"]
    return {
        "swept": swept,
        "unchanged": unchanged,
        "seconds": monotonic() - began,
        "cpu_seconds": process_time() - busy,
        "peak_kilobytes": getrusage(RUSAGE_SELF).ru_maxrss,
    }


if __name__ == "__main__":
    main()
