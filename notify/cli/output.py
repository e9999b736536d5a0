"""How commands print: a table for people, JSON for programs."""

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from itertools import islice
from textwrap import wrap
from typing import Annotated, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text
from typer import Option

LABEL_WIDTH = 5
LONGEST_NAME = 40

Columns = Mapping[str, str | Callable[[Any], object]]
"""What a table shows of records: heading, and an attribute's name or a function of the record."""

AsJson = Annotated[bool, Option("--json", help="Print JSON instead of text.")]
DryRun = Annotated[bool, Option("--dry-run", help="Change nothing; only say what would be done.")]
Yes = Annotated[bool, Option("--yes", "-y", help="Do not ask for confirmation.")]

console = Console(highlight=False)


def progress_bar() -> Progress:
    """A progress bar on standard error."""
    return Progress(*Progress.get_default_columns(), MofNCompleteColumn(), console=Console(stderr=True))


def print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, default=_plain, ensure_ascii=False, indent=2) + "\n")


def print_wrapped(label: str, words: str) -> None:
    """A label, and beside it the words, wrapped at the terminal's width."""
    margin = " " * LABEL_WIDTH
    lines = wrap(words, console.width - LABEL_WIDTH, break_long_words=False, break_on_hyphens=False)
    console.print(f"{label:<{LABEL_WIDTH}}" + f"\n{margin}".join(lines), markup=False, soft_wrap=True)


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """
    Rows under headings; None is an empty cell. Values are shown as they are, never as markup.

    The first column is not broken unless it is very wide: it names the row, and people copy it.
    """
    table = Table(box=None, pad_edge=False, header_style="bold")
    cells = [[_cell(value) for value in row] for row in rows]
    is_short = all(len(row[0]) <= LONGEST_NAME for row in cells)
    for number, column in enumerate(columns):
        table.add_column(column, overflow="fold", no_wrap=number == 0 and is_short)
    for row in cells:
        table.add_row(*row)
    console.print(table)


def print_records(records: Sequence[object], columns: Columns, *, empty: str = "none", as_json: bool = False) -> None:
    """Records under headings, or *empty* where there are none; with *as_json* all their attributes."""
    if as_json:
        print_json(records)
    elif not records:
        console.print(empty)
    else:
        print_table(list(columns), [[_value(record, what) for what in columns.values()] for record in records])


def print_facts(facts: Mapping[str, object]) -> None:
    """Names and values, one a line; what is None is left out."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in facts.items():
        if value is not None:
            table.add_row(
                Text(name.replace("_", " ")), Text(at(value)) if isinstance(value, datetime) else _cell(value)
            )
    console.print(table)


def at(instant: datetime) -> str:
    """The instant, and how far away it is."""
    return f"{instant.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC ({relative(instant)})"


def relative(instant: datetime, *, now: datetime | None = None) -> str:
    """How far away an instant is: ``in 3 d``, ``5 min ago``."""
    seconds = (instant - (now or datetime.now(UTC))).total_seconds()
    return f"in {duration(seconds)}" if seconds > 0 else f"{duration(-seconds)} ago"


def when(due_at: datetime | None, finished_at: datetime | None) -> str:
    """When something leaves that waits, or since when it has ended; empty: it has neither."""
    if due_at is not None and due_at <= datetime.now(UTC):
        return "due now"
    instant = due_at or finished_at
    return relative(instant) if instant else ""


def duration(seconds: float) -> str:
    """The two largest units that matter."""
    return " ".join(islice(_units(round(seconds)), 2)) or "0 s"


def _units(seconds: int) -> Iterator[str]:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            yield f"{count} {unit}"


def _value(record: object, what: str | Callable[[Any], object]) -> object:
    return getattr(record, what) if isinstance(what, str) else what(record)


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, bool):
        return Text("yes" if value else "no")
    if isinstance(value, datetime):
        return Text(relative(value))
    if isinstance(value, frozenset | list | tuple):
        return Text(", ".join(sorted(map(str, value))))
    return Text(str(value))


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, frozenset):
        return sorted(value)
    return str(value)
