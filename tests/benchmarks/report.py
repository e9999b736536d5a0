"""The results for people: a table, and a bar for each goal."""

from collections.abc import Iterable, Sequence
from typing import assert_never

from rich.bar import Bar
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from tests.benchmarks.rows import Row

BAR_WIDTH = 48
MOST_GOALS = 2.0
"""A bar ends here, however far beyond its goal the figure is."""

LARGE, SMALL, TINY = 100, 10, 0.1


def table(rows: Iterable[Row], *, title: str) -> Table:
    """Every row, with its goal and whether it is met."""
    made = Table(title=title, title_justify="left")
    made.add_column("measure")
    made.add_column("notify", justify="right")
    made.add_column("compared with", overflow="fold")
    made.add_column("ratio", justify="right")
    made.add_column("goal", justify="right")
    made.add_column("")
    for row in rows:
        made.add_row(_what(row), _ours(row), _beside(row), number(row.ratio), str(row.goal or ""), verdict(row))
    return made


def bars(rows: Sequence[Row]) -> RenderableType:
    """How far each figure reached its goal, which the mark shows. A failed measurement has no bar."""
    made = Table(
        title=f"share of the goal (│ is the goal, a bar ends at {MOST_GOALS:g}×)", title_justify="left", box=None
    )
    made.add_column(justify="right")
    made.add_column()
    for heading in ("", "measured", "goal", "best imaginable"):
        made.add_column(heading, justify="right")
    for row in rows:
        if row.goal is not None:
            part = reached(row)
            bar, words = ("", "") if part is None else (_bar(part, met=bool(row.met)), f"{part:.2f}×")
            made.add_row(row.what, bar, words, number(row.judged), str(row.goal), number(row.goal.best))
    return Group(made)


def reached(row: Row) -> float | None:
    """The reached part of the row's goal; null if there is none or the measurement failed."""
    return None if row.goal is None or row.judged is None else row.goal.part(row.judged)


def verdict(row: Row) -> Text:
    """Whether the goal is met, in one word."""
    if row.error:
        return Text("failed", style="bold red")
    match row.met:
        case True:
            return Text("met", style="green")
        case False:
            return Text("not met", style="yellow")
        case None:
            return Text("skipped" if row.skipped else "", style="dim")
        case _:
            assert_never(row.met)


def number(value: float | None) -> str:
    """A figure with its significant digits."""
    if value is None:
        return ""
    size = abs(value)
    places = 0 if size >= LARGE else 1 if size >= SMALL else 3 if 0 < size < TINY else 2
    return f"{value:,.{places}f}"


def _what(row: Row) -> Text:
    text = Text(row.what)
    for words, style in ((row.note, "dim"), (row.skipped, "dim"), (row.error, "red")):
        if words:
            text.append(f"\n{words}", style=style)
    return text


def _ours(row: Row) -> str:
    return f"{number(row.figure)} {row.unit}".strip() if row.figure is not None else ""


def _beside(row: Row) -> str:
    return f"{number(row.other)} {row.unit}  {row.beside}" if row.other is not None else row.beside


def _bar(part: float, *, met: bool) -> RenderableType:
    half = BAR_WIDTH // 2
    grid = Table.grid()
    grid.add_column(width=half)
    grid.add_column(width=1)
    grid.add_column(width=half)
    colour = "green" if met else "yellow"
    before = Bar(1.0, 0.0, min(part, 1.0), width=half, color=colour)
    beyond = Bar(1.0, 0.0, min(max(part - 1.0, 0.0), MOST_GOALS - 1.0), width=half, color=colour)
    grid.add_row(before, "│", beyond)
    return grid
