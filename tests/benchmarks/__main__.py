"""
The whole benchmark: ``make bench``, in three minutes with ``ARGS=--quick``.

Prints a table and a bar for each goal; writes the rows as JSON lines and the bars as a picture. Exit code 1 if a
measurement failed; an unmet goal is no error.
"""

import json
import os
import platform
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic

from rich.console import Console

from notify import logs
from notify.settings import PREFIX
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import benchmark_servers
from tests.benchmarks.chart import draw
from tests.benchmarks.meter import processor_seconds
from tests.benchmarks.peers import postfix
from tests.benchmarks.report import bars, table
from tests.benchmarks.rows import Row
from tests.benchmarks.runner import MEASURES, ON_REQUEST, measured
from tests.benchmarks.scale import FULL, QUICK

LINES, CHART = "bench.jsonl", "bench.png"
LEAST_WIDTH = 120


def main() -> int:
    """Take the measurements that the arguments select; the exit code."""
    asked = _arguments()
    logs.configure(level="error", style="auto")
    for name in [name for name in os.environ if name.startswith(PREFIX)]:
        del os.environ[name]
    asked.out.mkdir(parents=True, exist_ok=True)
    began, (done, ours) = monotonic(), processor_seconds()
    rows = _rows(asked)
    seconds, (done_since, ours_since) = monotonic() - began, processor_seconds()
    others = ((done_since - done) - (ours_since - ours)) / seconds / (os.cpu_count() or 1)
    title = (
        f"{machine()}, {datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {seconds:.0f} s, "
        f"other work took {max(others, 0):.0%} of the processors"
    )
    return report(rows, out=asked.out, title=title, console=Console(width=max(Console().width, LEAST_WIDTH)))


def report(rows: Sequence[Row], *, out: Path, title: str, console: Console) -> int:
    """Print the rows, draw the picture; the exit code."""
    console.print(table(rows, title=title))
    console.print(bars(rows))
    draw(rows, out / CHART, title=title)
    console.print(f"{out / LINES} has the rows, {out / CHART} the bars.", markup=False)
    return int(any(row.error for row in rows))


def line(name: str, row: Row, facts: Mapping[str, object]) -> str:
    """A row of this measurement as one line of JSON."""
    return json.dumps({"measure": name, **row.as_json(), **facts})


def machine() -> str:
    """The machine's processor, memory and versions."""
    return (
        f"{os.cpu_count()} cores, {platform.system()} {platform.release()} {platform.machine()}, "
        f"Python {platform.python_version()}, load {os.getloadavg()[0]:.1f}"
    )


def _arguments() -> Namespace:
    parser = ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes: whether it works, not how fast it is")
    usual = [name for name in MEASURES if name not in ON_REQUEST]
    parser.add_argument("--only", nargs="+", choices=MEASURES, default=usual, help="some of the measures")
    parser.add_argument("--out", type=Path, default=Path(".notify/bench"), help="folder for the rows and the picture")
    return parser.parse_args()


def _rows(asked: Namespace) -> list[Row]:
    """All rows; each is written as soon as it is known."""
    rows: list[Row] = []
    progress = Console(stderr=True)
    facts = {"machine": machine(), "at": datetime.now(UTC).isoformat(timespec="seconds"), "quick": asked.quick}
    with (
        TemporaryDirectory(prefix="notify-bench-") as folder,
        benchmark_servers(Path(folder)) as made,
        postfix.on_path(Path(folder)),
        (asked.out / LINES).open("w", encoding="utf-8") as lines,
    ):
        bench = Bench(made, QUICK if asked.quick else FULL)
        for name in asked.only:
            began = monotonic()
            for row in measured(name, MEASURES[name], bench):
                rows.append(row)
                lines.write(line(name, row, facts) + "\n")
                lines.flush()
            progress.print(f"{name}: {monotonic() - began:.0f} s", style="dim", markup=False)
    return rows


if __name__ == "__main__":
    sys.exit(main())
