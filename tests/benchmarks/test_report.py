"""Goals, rows and their output: a table, bars, lines, a picture, an exit code."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image
from rich.console import Console

from tests.benchmarks import __main__ as command
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers
from tests.benchmarks.chart import MET, UNMET, draw
from tests.benchmarks.report import bars, reached, table
from tests.benchmarks.rows import Goal, Row, at_least, at_most
from tests.benchmarks.runner import measured
from tests.benchmarks.scale import QUICK

NOWHERE = Bench(BenchmarkServers("postgresql://nobody@nowhere/none", 0, "redis://nowhere", Path()), QUICK)
MET_ROW = Row(what="fast", unit="x/s", figure=300, beside="slow", other=100, goal=at_least(2))
UNMET_ROW = Row(what="big", unit="MB", figure=300, goal=at_most(150))
SKIPPED = Row(what="alone", figure=1, beside="a peer", goal=at_least(2), skipped="the peer is not installed")
FAILED = Row(what="broken", error="Boom: it broke")


@pytest.mark.parametrize(
    ("goal", "figure", "met", "part"),
    [
        (at_least(1.4), 2.8, True, 2.0),
        (at_least(1.4), 1.4, True, 1.0),
        (at_least(1.4), 0.7, False, 0.5),
        (at_most(150), 75, True, 2.0),
        (at_most(150), 300, False, 0.5),
        (at_most(58), 0, True, float("inf")),
    ],
)
def test_a_goal_is_reached_in_its_own_direction(goal: Goal, figure: float, met: bool, part: float) -> None:
    assert goal.met(figure) is met
    assert goal.part(figure) == part


def test_a_goal_applies_to_the_ratio_if_there_is_a_comparison() -> None:
    assert (MET_ROW.ratio, MET_ROW.met) == (3, True)
    assert (UNMET_ROW.ratio, UNMET_ROW.met) == (None, False)


def test_a_goal_is_not_met_without_its_comparison() -> None:
    assert SKIPPED.met is None
    assert FAILED.met is None
    assert reached(SKIPPED) is None


def test_the_table_and_the_bars_show_which_goals_were_met() -> None:
    console = Console(width=140)
    with console.capture() as said:
        console.print(table([MET_ROW, UNMET_ROW, SKIPPED, FAILED], title="here"))
        console.print(bars([MET_ROW, UNMET_ROW, SKIPPED, FAILED]))
    lines = said.get().splitlines()
    verdicts = {row.what: next(line for line in lines if row.what in line) for row in (MET_ROW, UNMET_ROW)}
    assert "≥ 2" in verdicts["fast"]
    assert "not met" in verdicts["big"]
    assert "not met" not in verdicts["fast"]
    assert any("Boom: it broke" in line for line in lines)
    assert any("1.50×" in line for line in lines)


def test_the_bars_show_each_goal_its_figure_and_the_best_imaginable() -> None:
    console = Console(width=140)
    wished = Row(what="wished", figure=1, beside="a peer", other=14, goal=at_most(1 / 10, best=1 / 14))
    with console.capture() as said:
        console.print(bars([MET_ROW, wished, SKIPPED]))
    lines = said.get().splitlines()
    assert next(line for line in lines if "wished" in line).split()[-4:] == ["0.071", "≤", "0.1", "0.071"]
    assert "≥ 2" in next(line for line in lines if SKIPPED.what in line)


def test_the_picture_has_a_bar_for_each_goal(tmp_path: Path) -> None:
    draw([MET_ROW, UNMET_ROW, SKIPPED, FAILED], tmp_path / "bars.png", title="here")
    with Image.open(tmp_path / "bars.png") as picture:
        colours = {colour for _, colour in picture.getcolors(1 << 16) or []}
    assert {rgb(MET), rgb(UNMET)} <= colours


def test_a_failed_measurement_is_a_row_after_the_rows_it_had() -> None:
    def failing(_: Bench) -> Iterator[Row]:
        yield MET_ROW
        raise ZeroDivisionError

    first, last = measured("name", failing, NOWHERE)
    assert first is MET_ROW
    assert last.what == "name"
    assert "ZeroDivisionError" in last.error


@pytest.mark.parametrize(("broken", "code"), [(False, 0), (True, 1)])
def test_every_row_is_a_line_and_an_error_is_an_exit_code(broken: bool, code: int, tmp_path: Path) -> None:
    rows = [MET_ROW, FAILED] if broken else [MET_ROW, UNMET_ROW]
    assert command.report(rows, out=tmp_path, title="here", console=Console(quiet=True)) == code
    assert (tmp_path / command.CHART).exists()
    line = json.loads(command.line("name", UNMET_ROW, {"machine": "this"}))
    assert (line["measure"], line["goal"], line["met"], line["machine"]) == ("name", "≤ 150", False, "this")
    assert line["figure"] == 300


def rgb(colour: str) -> tuple[int, ...]:
    return tuple(bytes.fromhex(colour[1:]))
