"""The drain beside what merely sends: aiosmtplib with ready bytes, and Postfix's ``smtp-source``."""

import sys
from collections.abc import Iterator
from shutil import which
from subprocess import run
from time import perf_counter

from tests.benchmarks.bench import Bench
from tests.benchmarks.crew import ROOT
from tests.benchmarks.drained import Drained, Miscounted, best
from tests.benchmarks.measures.builder import letter_to
from tests.benchmarks.peers.race import race
from tests.benchmarks.place import Place
from tests.benchmarks.rows import Goal, Row, at_least
from tests.benchmarks.shapes import TYPICAL
from tests.benchmarks.sink import Sink, sink
from tests.support.letters import NOON, composer

SESSIONS = 8
PROCESSES = 2
FAR_SECONDS = 0.005
SOURCE = "smtp-source"
SOURCE_SESSIONS = 10
SENDER, RECIPIENT = "notify@example.com", "person@example.com"


def measure(bench: Bench) -> Iterator[Row]:
    """Letters a second with PIPELINING and without, near and far."""
    place, scale = bench.place, bench.scale
    ready_bytes = composer().compose(letter_to(TYPICAL, 1), date=NOON).content
    (place.folder / "letter").write_bytes(ready_bytes)
    note = f"letters of {len(ready_bytes):,} bytes"
    yield Row(what="worker CPU a letter", unit="µs CPU", figure=bench.near.cpu_microseconds, note=note)
    yield Row(what="PostgreSQL's CPU a letter", unit="µs CPU", figure=bench.near.server_microseconds)
    with sink(place.folder) as near:
        yield _beside_aiosmtplib(bench, near, bench.near, goal=at_least(1.4), kind="PIPELINING")
        yield _beside_smtp_source(bench, near, size=len(ready_bytes))
    with sink(place.folder, pipelining=False) as plain:
        ours = best(place, plain, letters=scale.letters, repeats=scale.repeats)
        yield _beside_aiosmtplib(bench, plain, ours, goal=at_least(0.6), kind="no PIPELINING")
    yield _far(bench)


def _beside_aiosmtplib(bench: Bench, near: Sink, ours: Drained, *, goal: Goal, kind: str) -> Row:
    scale = bench.scale
    return Row(
        what=f"drain beside aiosmtplib, {kind}",
        unit="letters/s",
        figure=ours.rate,
        beside=f"aiosmtplib with ready bytes, {PROCESSES} processes",
        other=max(raw_rate(bench.place, near, letters=scale.letters) for _ in range(scale.repeats)),
        goal=goal,
        note=near.kind,
    )


def _beside_smtp_source(bench: Bench, near: Sink, *, size: int) -> Row:
    installed, scale = which(SOURCE) is not None, bench.scale
    return Row(
        what=f"drain beside {SOURCE}",
        unit="letters/s",
        figure=bench.near.rate,
        beside=f"{SOURCE}, {SOURCE_SESSIONS} sessions",
        other=max(source_rate(near, scale.letters, size) for _ in range(scale.repeats)) if installed else None,
        goal=at_least(0.55),
        note=near.kind,
        skipped="" if installed else f"{SOURCE} is not installed (Debian: postfix)",
    )


def _far(bench: Bench) -> Row:
    """The same engine against a distant relay: what a round trip a letter is worth."""
    rates = {}
    for pipelining in (True, False):
        with sink(bench.place.folder, delay=FAR_SECONDS, pipelining=pipelining) as far:
            rates[pipelining] = best(bench.place, far, letters=bench.scale.far_letters, repeats=1).rate
    return Row(
        what=f"drain, relay {FAR_SECONDS * 1e3:g} ms away",
        unit="letters/s",
        figure=rates[True],
        beside="the same without PIPELINING",
        other=rates[False],
        goal=at_least(3.5),
        note=f"{PROCESSES} processes, {SESSIONS} sessions each, {far.kind}",
    )


def raw_rate(place: Place, near: Sink, *, letters: int) -> float:
    """
    Letters a second of aiosmtplib in two processes, with bytes that are ready.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    script = ROOT / "tests" / "benchmarks" / "peers" / "raw_aiosmtplib.py"
    each = letters // PROCESSES
    command = [sys.executable, str(script), str(near.port), str(each), str(SESSIONS), str(place.folder / "letter")]
    before = near.letters()
    finish = race([command] * PROCESSES)
    _counted(near, before, each * PROCESSES)
    return each * PROCESSES / finish.seconds


def source_rate(near: Sink, letters: int, size: int) -> float:
    """
    Letters a second of ``smtp-source``, sessions kept.

    Raises:
        Miscounted: The sink has more or fewer.
    """
    before = near.letters()
    options = {"-s": SOURCE_SESSIONS, "-m": letters, "-l": size, "-f": SENDER, "-t": RECIPIENT}
    words = [str(part) for pair in options.items() for part in pair]
    began = perf_counter()
    run([SOURCE, "-d", *words, f"127.0.0.1:{near.port}"], check=True, capture_output=True)
    seconds = perf_counter() - began
    _counted(near, before, letters)
    return letters / seconds


def _counted(near: Sink, before: int, sent: int) -> None:
    taken = near.wait_for(before + sent) - before
    if taken != sent:
        raise Miscounted(sent=sent, taken=taken, sink=near.kind)
