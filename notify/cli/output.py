"""How commands print: a table for people, JSON for programs."""

import json
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, is_dataclass
from datetime import datetime
from textwrap import wrap
from typing import Annotated, Any

from rich.console import Console
from rich.progress import MofNCompleteColumn, Progress
from rich.table import Table
from rich.text import Text
from typer import Option

LABEL_WIDTH = 5

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
    """Rows under headings; None is an empty cell. Values are shown as they are, never as markup."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    console.print(table)


def print_records(records: Sequence[object], columns: Mapping[str, str], *, as_json: bool = False) -> None:
    """Records under headings, each of which names an attribute; all attributes with *as_json*."""
    if as_json:
        print_json(records)
        return
    print_table(list(columns), [[getattr(record, name) for name in columns.values()] for record in records])


def _cell(value: object) -> Text:
    if value is None:
        return Text("")
    if isinstance(value, datetime):
        return Text(f"{value:%Y-%m-%d %H:%M:%S}")
    if isinstance(value, frozenset):
        return Text(", ".join(sorted(map(str, value))))
    return Text(str(value))


def _plain(value: object) -> Any:  # noqa: ANN401 - whatever JSON can hold
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    return str(value)
