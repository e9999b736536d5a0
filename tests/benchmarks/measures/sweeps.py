"""What a sweep of many repositories costs in which nothing has changed: requests, memory and time."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from json import loads
from signal import SIGTERM
from subprocess import PIPE, Popen

from notify.domain.errors import NotifyError
from notify.embedded.forge.server import EmbeddedForge, forging
from notify.embedded.processes import stop
from notify.store.database import Database
from tests.benchmarks.bench import Bench
from tests.benchmarks.forge_at_rest import fill, mirror
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.rows import Row, at_most

CHANGES = 20
STOP_SECONDS = 10
LISTINGS = "/api/v3/repos/"
NOT_MODIFIED = 304


class NotUnchanged(NotifyError):
    """A sweep found something changed, or left a repository out, though nothing has changed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Swept:
    """One sweep of all repositories; ``calls`` are the forge's, by path and status."""

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    calls: list[tuple[str, int]]


def measure(bench: Bench) -> Iterator[Row]:
    """The first sweep notes each listing's ETag; those after it are measured."""
    repositories = bench.scale.repositories
    folder = bench.servers.folder / "sweeps"
    with bench.servers.database() as database, forging(folder, webhook_url=None) as forge:
        fill(forge.state, repositories=repositories, changes=CHANGES)
        mirror(database, forge.state, changes=CHANGES)
        with _sweeper(bench, database, forge) as process:
            _sweep(process, forge, repositories)
            sweeps = [_unchanged(process, forge, repositories) for _ in range(bench.scale.sweeps)]
    first, last = sweeps[0], sweeps[-1]
    fastest = min(sweeps, key=lambda one: one.seconds)
    conditional = [path for path, _ in last.calls if path.startswith(LISTINGS)]
    yield Row(
        what=f"unchanged sweep of {repositories:,} repositories with {repositories * CHANGES:,} open changes",
        unit="requests",
        figure=len(conditional),
        beside="one for each repository",
        other=repositories,
        goal=at_most(1),
        note=f"all answered 304; {len(last.calls) - len(conditional)} more list the repositories",
    )
    yield Row(
        what="the same, for 1,000 repositories",
        unit="s",
        figure=fastest.seconds * 1_000 / repositories,
        note=f"the fastest of {len(sweeps)}; {fastest.cpu_seconds * 1_000 / repositories:.1f} s of it notify's CPU",
    )
    yield Row(
        what=f"peak memory after {len(sweeps)} of them",
        unit="MB",
        figure=last.peak_bytes / 1e6,
        beside="after the first",
        other=first.peak_bytes / 1e6,
        goal=at_most(1.05),
        note="one process, resident",
    )


@contextmanager
def _sweeper(bench: Bench, database: Database, forge: EmbeddedForge) -> Iterator["Popen[bytes]"]:
    """A process that sweeps when it is told to."""
    environment = {
        **bench.servers.environment(database, forges_file=str(forge.configuration)),
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
    }
    command = (sys.executable, "-m", "tests.benchmarks.sweeper")
    process = Popen(command, env=environment, cwd=ROOT, stdin=PIPE, stdout=PIPE)
    try:
        _line(process)
        yield process
    finally:
        stop(process, (SIGTERM, STOP_SECONDS))
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def _unchanged(process: "Popen[bytes]", forge: EmbeddedForge, repositories: int) -> Swept:
    """
    One more sweep.

    Raises:
        NotUnchanged: A repository was not asked for exactly once, or answered something else than 304.
    """
    swept = _sweep(process, forge, repositories)
    asked = [(path, status) for path, status in swept.calls if path.startswith(LISTINGS)]
    if len({path for path, _ in asked}) != len(asked) or {status for _, status in asked} != {NOT_MODIFIED}:
        raise NotUnchanged(asked=len(asked), repositories=repositories)
    return swept


def _sweep(process: "Popen[bytes]", forge: EmbeddedForge, repositories: int) -> Swept:
    forge.rest.calls.clear()
    assert process.stdin is not None
    process.stdin.write(b"\n")
    process.stdin.flush()
    done = loads(_line(process))
    if done["swept"] != repositories:
        raise NotUnchanged(swept=done["swept"], repositories=repositories)
    calls = [(path, status) for _, path, status in forge.rest.calls]
    return Swept(
        seconds=done["seconds"],
        cpu_seconds=done["cpu_seconds"],
        peak_bytes=done["peak_kilobytes"] * 1024,
        calls=calls,
    )


def _line(process: "Popen[bytes]") -> bytes:
    assert process.stdout is not None
    return process.stdout.readline()
