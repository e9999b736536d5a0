"""``notify emit``: events from a file or standard input, one JSON object a line."""

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated

from rich.console import Console
from rich.progress import Progress
from typer import Argument, Exit

from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, console, print_json
from notify.domain.errors import MalformedEvent, NotifyError
from notify.domain.stages import FAN_OUT
from notify.intake.receive import receive
from notify.intake.schema import EventIn, parse

AT_ONCE = 500
STANDARD_INPUT = Path("-")


class UnreadableFile(NotifyError):
    """The file of events cannot be read."""


@dataclass(slots=True)
class Report:
    """What became of the lines; ``refused`` holds line (from 1), field and reason of each that was not stored."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[dict[str, object]] = field(default_factory=list)


def emit(
    source: Annotated[Path, Argument(metavar="FILE", help="One JSON object a line; - reads standard input.")],
    *,
    as_json: AsJson = False,
) -> None:
    """
    Store events, one JSON object a line; safe to repeat with events that carry a key.

    A line that is refused is named with its number, field and reason, and the others are stored;
    the exit code is then 1.
    """
    report = Report()
    with (
        connect() as deployment,
        lines(source) as opened,
        Progress(console=Console(stderr=True), transient=True) as progress,
    ):
        task = progress.add_task("events", total=None)
        numbered = enumerate(opened, start=1)
        while chunk := list(islice(numbered, AT_ONCE)):
            _store(deployment, dict(_parsed(chunk, report)), report)
            progress.update(task, advance=len(chunk))
    _print(report, as_json=as_json)
    if report.refused:
        raise Exit(1)


def _store(deployment: Deployment, events: Mapping[int, EventIn], report: Report) -> None:
    with deployment.database.begin() as connection:
        receipts = receive(connection, list(events.values()))
    deployment.doorbell.ring(FAN_OUT)
    for number, receipt in zip(events, receipts, strict=True):
        if receipt.differs:
            reason = f"differs from the event that is stored with the key {receipt.key}"
            report.refused.append({"line": number, "field": receipt.differs[0], "reason": reason})
        elif receipt.duplicate:
            report.duplicates += 1
        else:
            report.accepted += 1


def _parsed(chunk: Iterable[tuple[int, bytes]], report: Report) -> Iterator[tuple[int, EventIn]]:
    for number, line in chunk:
        if not line.strip():
            continue
        try:
            yield number, parse(json.loads(line))
        except (ValueError, RecursionError):
            report.refused.append({"line": number, "field": "", "reason": "expected one JSON object in UTF-8"})
        except MalformedEvent as error:
            report.refused.append({"line": number, "field": error.field, "reason": error.reason})


@contextmanager
def lines(source: Path) -> Iterator[Iterable[bytes]]:
    """The lines of a file, or of standard input."""
    if source == STANDARD_INPUT:
        yield sys.stdin.buffer
        return
    try:
        with source.open("rb") as opened:
            yield opened
    except OSError as error:
        raise UnreadableFile(file=str(source), reason=error.strerror) from None


def _print(report: Report, *, as_json: bool) -> None:
    if as_json:
        print_json(report)
        return
    console.print(f"{report.accepted} accepted, {report.duplicates} duplicates, {len(report.refused)} refused")
    for one in report.refused:
        console.print(f"line {one['line']}: {one['field']}: {one['reason']}", markup=False)
