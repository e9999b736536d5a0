"""``notify emit``: events from a file or standard input, one JSON object per line."""

import json
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Annotated, BinaryIO

from typer import Argument, BadParameter, Exit

from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, console, print_json, progress_bar
from notify.domain.errors import MalformedEvent
from notify.domain.stages import FAN_OUT
from notify.intake.receive import receive
from notify.intake.schema import EventIn, check

BATCH = 500


@dataclass(slots=True)
class EmitReport:
    """What became of the lines; ``refused`` has the line (from 1), field and reason of everything that is wrong."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[dict[str, str | int]] = field(default_factory=list)

    def refuse(self, line: int, *, field: str, reason: str) -> None:
        self.refused.append({"line": line, "field": field, "reason": reason})


def emit(
    source: Annotated[Path, Argument(metavar="FILE", help="One JSON object per line; - reads standard input.")],
    *,
    as_json: AsJson = False,
) -> None:
    """
    Store events, one JSON object per line. Safe to repeat if the events have keys.

    Refused lines are listed with every wrong field; the other lines are stored. Exit code 1 if a line was refused.
    """
    report = EmitReport()
    with connect() as deployment, _opened(source) as lines, progress_bar() as progress:
        bar = progress.add_task("events", total=None)
        numbered = enumerate(lines, start=1)
        while batch := list(islice(numbered, BATCH)):
            _store(deployment, dict(_parsed(batch, report)), report)
            progress.update(bar, advance=len(batch))
    if as_json:
        print_json(report)
    else:
        refused = len({one["line"] for one in report.refused})
        console.print(f"{report.accepted:,} accepted, {report.duplicates:,} duplicates, {refused:,} refused")
        for one in report.refused:
            words = (f"line {one['line']}", one["field"], one["reason"])
            console.print(": ".join(str(word) for word in words if word), markup=False)
    if report.refused:
        raise Exit(1)


def _opened(source: Path) -> AbstractContextManager[BinaryIO]:
    if str(source) == "-":
        return nullcontext(sys.stdin.buffer)
    try:
        return source.open("rb")
    except OSError as error:
        message = f"{source}: {error.strerror}"
        raise BadParameter(message) from None


def _store(deployment: Deployment, events: dict[int, EventIn], report: EmitReport) -> None:
    """Store these events by line; those that lie in the future are refused."""
    try:
        with deployment.database.begin() as connection:
            receipts = receive(connection, list(events.values()))
    except MalformedEvent as error:
        line = list(events)[error.index or 0]
        report.refuse(line, field=error.field, reason=error.reason)
        _store(deployment, {number: event for number, event in events.items() if number != line}, report)
        return
    deployment.doorbell.ring(FAN_OUT)
    for line, receipt in zip(events, receipts, strict=True):
        for name in receipt.differs:
            report.refuse(line, field=name, reason=f"differs from the event stored with the key {receipt.key}")
        if receipt.differs:
            continue
        if receipt.duplicate:
            report.duplicates += 1
        else:
            report.accepted += 1


def _parsed(batch: Iterable[tuple[int, bytes]], report: EmitReport) -> Iterator[tuple[int, EventIn]]:
    for number, line in batch:
        if not line.strip():
            continue
        try:
            checked = check(json.loads(line))
        except (ValueError, RecursionError):
            report.refuse(number, field="", reason="expected one JSON object in UTF-8")
            continue
        if isinstance(checked, EventIn):
            yield number, checked
        else:
            for wrong in checked:
                report.refuse(number, field=wrong.field, reason=wrong.reason)
