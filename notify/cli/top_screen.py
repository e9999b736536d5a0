"""The screen of ``notify top``; everything is shown as plain text, never as markup."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from notify.cli.checks import Finding
from notify.domain.statuses import LAPSE, Verdict
from notify.store.operations.gauges import Gauges
from notify.store.operations.overview import AtWork, Rate, Trouble

MOST_ROWS = 12
GOOD = frozenset({Verdict.SENT})
BAD = frozenset({Verdict.DEAD, LAPSE, Verdict.LEASE_LOST, Verdict.DUPLICATE_SENT})


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """The outbox at one instant of the database's clock."""

    at: datetime
    stages: Mapping[str, Gauges]
    rates: Mapping[str, Rate]
    workers: Sequence[AtWork]
    relays: Sequence[Mapping[str, Any]]
    troubles: Sequence[Trouble]


def screen(state: OutboxState | None, wrong: Sequence[Finding]) -> RenderableType:
    """The whole screen; *state* None: the database does not answer."""
    if state is None:
        return Group(Text("notify top", style="bold"), _wrong(wrong))
    parts = (
        _queues(state.stages),
        _rates(state.rates),
        _workers(state.workers, state.at),
        _relays(state.relays),
        _troubles(state.troubles, state.at),
    )
    title = Text.assemble(("notify top", "bold"), f"  {state.at:%Y-%m-%d %H:%M:%S} UTC")
    return Group(title, _wrong(wrong), *(line for part in parts for line in (Text(), part)))


def _wrong(wrong: Sequence[Finding]) -> RenderableType:
    if not wrong:
        return Text("nothing wrong is known; notify doctor looks deeper", style="green")
    table = Table(box=None, show_header=False, padding=(0, 1, 0, 0))
    table.add_column(style="bold red", no_wrap=True)
    table.add_column(overflow="fold")
    for one in wrong:
        table.add_row(one.about, Text.assemble(one.found, ("\n" + one.mend, "dim")))
    return table


def _queues(stages: Mapping[str, Gauges]) -> Table:
    table = _table("queue", ">due", ">oldest", ">scheduled", ">in flight", ">lapsed", ">dead in a day")
    for stage, one in stages.items():
        table.add_row(
            Text(stage),
            _number(one.due),
            Text(_duration(one.oldest_due_seconds)),
            _number(one.scheduled),
            _number(one.in_flight),
            _number(one.expired_leases, style="red"),
            _number(sum(one.dead_last_day.values()), style="red"),
        )
    return table


def _rates(rates: Mapping[str, Rate]) -> Table:
    table = _table("outcome", ">last minute", ">a minute, over five")
    for outcome, rate in rates.items():
        style = "green" if outcome in GOOD else "red" if outcome in BAD else ""
        table.add_row(Text(outcome, style=style), _number(rate.last_minute), Text(f"{rate.per_minute:,.1f}"))
    return _or_nothing(table, "no email ended in the five minutes before this one")


def _workers(workers: Sequence[AtWork], now: datetime) -> Table:
    table = _table("worker", ">emails held", ">events held", ">lease ends", ">sent in five minutes")
    for one in workers[:MOST_ROWS]:
        ends = "" if one.until is None else _until(one.until, now)
        style = "red" if one.until is not None and one.until < now else ""
        table.add_row(
            Text(str(one.worker)), _number(one.letters), _number(one.events), Text(ends, style=style), _number(one.sent)
        )
    return _or_nothing(table, "no worker holds anything or has sent anything within five minutes")


def _relays(relays: Sequence[Mapping[str, Any]]) -> Table:
    table = _table(">priority", "relay", "breaker", "rate", ">failures", "its last words")
    for one in relays:
        table.add_row(
            Text(str(one["priority"] or "")),
            Text(one["relay"]),
            Text(one["in_words"], style="red" if one["is_open"] else "green"),
            Text(one["pace"]),
            _number(one["failures"]),
            Text(one["last_error"] or ""),
        )
    return _or_nothing(table, "no relay is configured: nothing is claimed")


def _troubles(troubles: Sequence[Trouble], now: datetime) -> Table:
    table = _table(">attempts", "code", "phase", "ended as", ">ago", "the newest words")
    for one in islice(troubles, MOST_ROWS):
        code = " ".join(str(part) for part in (one.code, one.enhanced_code) if part is not None)
        ago = _duration((now - one.last_at).total_seconds())
        table.add_row(
            _number(one.count), Text(code), Text(one.phase or ""), Text(one.verdict), Text(ago), _line(one.words)
        )
    return _or_nothing(table, "every attempt of the last hour ended in sent")


def _table(*columns: str) -> Table:
    """An empty table; a heading that begins with > is for numbers."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold", expand=False)
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    return table


def _or_nothing(table: Table, words: str) -> Table:
    if not table.row_count:
        table = Table(box=None, show_header=False, pad_edge=False)
        table.add_row(Text(words, style="dim"))
    return table


def _number(number: int, *, style: str = "") -> Text:
    return Text(f"{number:,}", style=style if number else "dim")


def _line(words: str | None) -> Text:
    return Text(" ".join((words or "").split()))


def _until(ends: datetime, now: datetime) -> str:
    left = (ends - now).total_seconds()
    return f"in {_duration(left)}" if left >= 0 else f"{_duration(-left)} ago"


def _duration(seconds: float) -> str:
    """The two largest units that matter."""
    return " ".join(islice(_units(round(seconds)), 2)) or "0 s"


def _units(seconds: int) -> Iterator[str]:
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, seconds = divmod(seconds, size)
        if count:
            yield f"{count} {unit}"
