"""
notify's drain compared with its own at an earlier commit, with the same comments: for this round only.

When you delete this file, also delete its line in ``runner.py`` and the row in ``docs/performance.md``.
"""

import json
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from functools import partial
from operator import attrgetter
from os import environ
from pathlib import Path
from subprocess import CalledProcessError, Popen, TimeoutExpired, run
from time import perf_counter

import psutil

from notify.domain.errors import NotifyError
from tests.benchmarks import workload
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers
from tests.benchmarks.drained import Drained, Miscounted, drained
from tests.benchmarks.meter import family_seconds, metered
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.race import expect, go, ready
from tests.benchmarks.rows import Goal, Row, at_most
from tests.benchmarks.sink import Sink, sink
from tests.support.servers import empty_broker, new_database

COMMIT = "fcfbd36"
INSTALL_SECONDS = 600
# A step of that commit's own harness, with our events in place of its own.
STEP = """
import json, sys
from pathlib import Path
from tests.benchmarks import steps, workload
events = [json.loads(line) for line in Path(sys.argv.pop()).read_text(encoding="utf-8").splitlines()]
workload.events = lambda emails: events
sys.exit(steps.main())
"""


class NotBuilt(NotifyError):
    """The earlier commit could not be checked out, or its packages not be installed."""


def measure(bench: Bench) -> Iterator[Row]:
    """Emails a second and processor time per email, alternating between the two; the best of each counts."""
    servers, emails = bench.servers, bench.scale.emails
    try:
        with _built(servers.folder / "before") as tree, sink(servers.folder) as near:
            turns = [
                (drained(servers, near, emails=emails), _drained(tree, servers, near, emails=emails))
                for _ in range(bench.scale.repeats)
            ]
    except NotBuilt as missing:
        yield from _rows(bench.near.ours, None, skipped=str(missing))
    else:
        ours, theirs = (max(drains, key=attrgetter("rate")) for drains in zip(*turns, strict=True))
        yield from _rows(ours, theirs)


def _rows(ours: Drained, theirs: Drained | None, *, skipped: str = "") -> Iterator[Row]:
    of: Sequence[tuple[str, str, str, Goal | None]] = (
        ("drain", "rate", "emails/s", None),
        ("worker CPU per email", "cpu_microseconds", "µs CPU", None),
        ("PostgreSQL CPU per email", "server_microseconds", "µs CPU", at_most(0.5, best=0.4)),
    )
    for what, figure, unit, goal in of:
        yield Row(
            what=f"{what}, compared with {COMMIT}",
            unit=unit,
            figure=getattr(ours, figure),
            beside=f"notify at {COMMIT}",
            other=getattr(theirs, figure) if theirs else None,
            goal=goal,
            skipped=skipped,
        )


@contextmanager
def _built(tree: Path) -> Iterator[Path]:
    """
    The commit's files with an environment of their own, from its lock, for the length of the block.

    Raises:
        NotBuilt: Git, the commit or the packages are missing.
    """
    # An outer make would pass its variables down.
    surroundings = {name: value for name, value in environ.items() if not name.startswith("MAKE")}
    git = ["git", "-C", str(ROOT), "worktree"]
    try:
        _do([*git, "add", "--quiet", "--detach", str(tree), COMMIT], surroundings)
        _do(["make", "-C", str(tree), "install", f"PYTHON={sys.executable}"], surroundings)
        yield tree
    finally:
        with suppress(OSError):
            run([*git, "remove", "--force", str(tree)], check=False, capture_output=True)


def _do(command: Sequence[str], surroundings: Mapping[str, str]) -> None:
    try:
        run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS, env=surroundings)
    except CalledProcessError as error:
        raise NotBuilt(because=error.stderr.decode(errors="replace").strip()[-300:]) from None
    except (OSError, TimeoutExpired) as error:
        raise NotBuilt(because=str(error)) from None


def _drained(tree: Path, servers: BenchmarkServers, near: Sink, *, emails: int) -> Drained:
    """
    The same as ``drained``, by the commit's own code in its own processes.

    Raises:
        Miscounted: The sink has more or fewer.
        PeerFailed: A step ended before it was done.
    """
    before = near.emails()
    empty_broker(servers.broker)
    events = servers.folder / "events.jsonl"
    events.write_text("".join(json.dumps(event) + "\n" for event in workload.events(emails)), encoding="utf-8")
    with new_database(servers.database_server) as database:
        surroundings = {
            **environ,
            "PYTHONPATH": str(tree),
            "NOTIFY_DATABASE_URL": database,
            "NOTIFY_BROKER_URL": servers.broker,
            "NOTIFY_SMTP_URL": near.url,
        }
        step = partial(_step, tree, surroundings)
        with step("enqueue", str(emails), str(events)) as (enqueue,):
            go(enqueue)
            expect(enqueue, "done")
        with step("drain", str(events)) as (drain,):
            workers = [child.pid for child in psutil.Process(drain.pid).children(recursive=True)]
            with metered(workers) as meter:
                began, server = perf_counter(), family_seconds(servers.database_pid)
                go(drain)
                expect(drain, "done")
                seconds, server = perf_counter() - began, family_seconds(servers.database_pid) - server
        taken = near.wait_for(before + emails) - before
    if taken != emails:
        raise Miscounted(sent=emails, taken=taken, sink=near.kind)
    return Drained(
        emails=emails, seconds=seconds, cpu_seconds=meter.cpu_seconds, server_seconds=server, peak_bytes=None
    )


def _step(tree: Path, surroundings: Mapping[str, str], *words: str) -> AbstractContextManager[list[Popen[str]]]:
    python = str(tree / ".venv" / "bin" / "python")
    return ready([[python, "-c", STEP, *words]], folder=tree, environment=surroundings)
