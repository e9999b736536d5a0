"""The peak memory of a prefork worker with two processes, and whether it grows with the outbox."""

from collections.abc import Iterator

from notify.domain.errors import NotifyError
from tests.benchmarks.bench import Bench
from tests.benchmarks.drained import Drained, drained
from tests.benchmarks.rows import Row, at_most
from tests.benchmarks.sink import sink

MEGABYTE = 1e6


class NoProportionalMemory(NotifyError):
    """The kernel does not report a process's proportional memory (/proc/PID/smaps_rollup)."""


def measure(bench: Bench) -> Iterator[Row]:
    """The peak of parent and children together, of a small drain and of a large one."""
    few, many = bench.scale.emails, bench.scale.many_emails
    small = megabytes(bench.near.ours)
    yield Row(
        what=f"peak memory of a worker, prefork 2, {few:,} emails", unit="MB", figure=small, goal=at_most(165, best=150)
    )
    with sink(bench.servers.folder) as near:
        large = megabytes(drained(bench.servers, near, emails=many, memory=True))
    yield Row(
        what=f"peak memory of a worker, prefork 2, {many:,} emails",
        unit="MB",
        figure=large,
        beside=f"at {few:,} emails",
        other=small,
        goal=at_most(1.05),
        note="proportional: a page that processes share is counted once",
    )


def megabytes(one: Drained) -> float:
    """
    The peak memory of its workers.

    Raises:
        NoProportionalMemory: On this system.
    """
    if one.peak_bytes is None:
        raise NoProportionalMemory
    return one.peak_bytes / MEGABYTE
