"""The drain compared with bare senders: aiosmtplib with ready bytes, and Postfix's ``smtp-source``."""

from collections.abc import Iterator
from operator import attrgetter

from tests.benchmarks.bench import Bench
from tests.benchmarks.drained import Drained, drained
from tests.benchmarks.peers.postfix import MISSING, SOURCE
from tests.benchmarks.peers.senders import PROCESSES, SESSIONS, SOURCE_SESSIONS, raw_rate
from tests.benchmarks.rows import Goal, Row, at_least
from tests.benchmarks.sample_emails import ready_bytes
from tests.benchmarks.sink import sink

FAR_SECONDS = 0.005


def measure(bench: Bench) -> Iterator[Row]:
    """Emails a second with PIPELINING and without, near and far."""
    near = bench.near
    note = f"emails of {len(ready_bytes()):,} bytes"
    yield Row(what="worker CPU per email", unit="µs CPU", figure=near.ours.cpu_microseconds, note=note)
    yield Row(what="PostgreSQL CPU per email", unit="µs CPU", figure=near.ours.server_microseconds)
    yield _beside_aiosmtplib(near.ours, near.raw, goal=at_least(1, best=1.4), kind="PIPELINING", note=near.sink)
    yield Row(
        what=f"drain, compared with {SOURCE}",
        unit="emails/s",
        figure=near.ours.rate,
        beside=f"{SOURCE}, {SOURCE_SESSIONS} sessions",
        other=near.source,
        goal=at_least(0.4, best=0.55),
        note=near.sink,
        skipped="" if near.source else MISSING,
    )
    yield _plain(bench)
    yield _far(bench)


def _plain(bench: Bench) -> Row:
    """Alternating as well, with a round trip for each command."""
    servers, emails = bench.servers, bench.scale.emails
    with sink(servers.folder, pipelining=False) as plain:
        turns = [
            (drained(servers, plain, emails=emails), raw_rate(servers.folder, plain, emails=emails))
            for _ in range(bench.scale.repeats)
        ]
    drains, rates = zip(*turns, strict=True)
    ours = max(drains, key=attrgetter("rate"))
    goal = at_least(0.6, best=0.8)
    return _beside_aiosmtplib(ours, max(rates), goal=goal, kind="no PIPELINING", note=plain.kind)


def _beside_aiosmtplib(ours: Drained, rate: float, *, goal: Goal, kind: str, note: str) -> Row:
    return Row(
        what=f"drain, compared with aiosmtplib, {kind}",
        unit="emails/s",
        figure=ours.rate,
        beside=f"aiosmtplib with ready bytes, {PROCESSES} processes",
        other=rate,
        goal=goal,
        note=note,
    )


def _far(bench: Bench) -> Row:
    """The same engine against a distant relay: the value of one round trip per email."""
    rates = {}
    for pipelining in (True, False):
        with sink(bench.servers.folder, delay=FAR_SECONDS, pipelining=pipelining) as far:
            rates[pipelining] = drained(bench.servers, far, emails=bench.scale.far_emails).rate
    return Row(
        what=f"drain, relay {FAR_SECONDS * 1e3:g} ms away",
        unit="emails/s",
        figure=rates[True],
        beside="the same without PIPELINING",
        other=rates[False],
        goal=at_least(3.5, best=3.9),
        note=f"{PROCESSES} processes, {SESSIONS} sessions each, {far.kind}",
    )
