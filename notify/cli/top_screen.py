"""The screen of ``notify top``; everything is shown as plain text, never as markup."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from notify.cli.checks import Finding
from notify.cli.output import duration, relative
from notify.cli.relay_states import RelayState, in_words
from notify.domain.outcomes import LAPSE, OutcomeName
from notify.store.operations.gauges import Gauges
from notify.store.operations.overview import BusyWorker, FailureGroup, OutcomeRate

MAX_ROWS = 12
SHORT_ID = 8
STYLES: Mapping[str, str] = {
    OutcomeName.SENT: "green",
    OutcomeName.DEAD: "red",
    LAPSE: "red",
    OutcomeName.LEASE_LOST: "red",
    OutcomeName.DUPLICATE_SENT: "red",
}

Cell = Text | str | int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxState:
    """The outbox at one instant of the database's clock."""

    at: datetime
    stages: Mapping[str, Gauges]
    rates: Mapping[str, OutcomeRate]
    workers: Sequence[BusyWorker]
    relays: Sequence[RelayState]
    failures: Sequence[FailureGroup]


def screen(state: OutboxState | None, wrong: Sequence[Finding]) -> RenderableType:
    """The whole screen; *state* None: the database does not answer."""
    if state is None:
        return Group(Text("notify top", style="bold"), _problems(wrong))
    sections = (
        _queues(state.stages),
        _rates(state.rates),
        _workers(state.workers, state.at),
        _relays(state.relays),
        _failures(state.failures, state.at),
    )
    title = Text.assemble(("notify top", "bold"), f"  {state.at:%Y-%m-%d %H:%M:%S} UTC")
    return Group(title, _problems(wrong, state.relays), *(line for section in sections for line in (Text(), section)))


def _problems(wrong: Sequence[Finding], relays: Sequence[RelayState] = ()) -> RenderableType:
    """What is wrong, each with its fix. A relay that is not configured here may be what the workers send over."""
    open_ = [one.relay for one in relays if one.breaker.is_open]
    if not wrong and open_:
        return Text(f"emails for {', '.join(open_)} wait: its breaker is open", style="yellow")
    if not wrong:
        return Text("no problem found; notify doctor checks more", style="green")
    table = Table.grid(padding=(0, 1))
    for one in wrong:
        table.add_row(Text(one.about, style="bold red"), Text.assemble(one.found, (f"\nFix: {one.fix}", "dim")))
    return table


def _queues(stages: Mapping[str, Gauges]) -> RenderableType:
    rows = [
        (
            stage,
            one.due,
            duration(one.oldest_due_seconds),
            one.scheduled,
            one.in_flight,
            _bad(one.expired_leases),
            _bad(sum(one.dead_last_day.values())),
        )
        for stage, one in stages.items()
    ]
    return _table(["queue", ">due", ">oldest", ">scheduled", ">in flight", ">lapsed", ">dead, 24 h"], rows)


def _rates(rates: Mapping[str, OutcomeRate]) -> RenderableType:
    rows = [
        (Text(outcome, style=STYLES.get(outcome, "")), rate.last_minute, f"{rate.per_minute:,.1f}")
        for outcome, rate in rates.items()
    ]
    return _table(
        ["outcome", ">last minute", ">per minute, 5 min"], rows, empty="no email left or failed within five minutes"
    )


def _workers(workers: Sequence[BusyWorker], now: datetime) -> RenderableType:
    rows = [
        (str(one.worker)[:SHORT_ID], one.emails, one.events, _until(one.until, now), one.sent)
        for one in workers[:MAX_ROWS]
    ]
    columns = ["worker", ">emails leased", ">events leased", ">lease ends", ">sent, 5 min"]
    return _table(columns, rows, empty="no worker has claimed or sent anything within five minutes")


def _relays(relays: Sequence[RelayState]) -> RenderableType:
    rows = [
        (
            str(one.priority or ""),
            one.relay,
            Text(in_words(one.breaker), style="red" if one.breaker.is_open else "green"),
            one.limits,
            one.breaker.last_error or "",
        )
        for one in relays
    ]
    columns = [">prio", "relay", "breaker", "limits", "last error"]
    return _table(columns, rows, empty="no relay is configured: nothing is claimed")


def _failures(failures: Sequence[FailureGroup], now: datetime) -> RenderableType:
    rows = [
        (
            one.count,
            " ".join(str(part) for part in (one.code, one.enhanced_code) if part is not None),
            one.phase or "",
            one.outcome,
            relative(one.last_at, now=now),
            " ".join((one.text or "").split()),
        )
        for one in failures[:MAX_ROWS]
    ]
    columns = [">attempts", "code", "phase", "ended as", ">last", "newest answer"]
    return _table(columns, rows, empty="no attempt failed within the last hour")


def _table(columns: Sequence[str], rows: Sequence[Sequence[Cell]], *, empty: str = "") -> RenderableType:
    """Rows under headings, or *empty* if there are none; a heading that begins with > aligns its column right."""
    if not rows:
        return Text(empty, style="dim")
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, header_style="bold")
    for column in columns:
        table.add_column(column.lstrip(">"), justify="right" if column.startswith(">") else "left", overflow="fold")
    for row in rows:
        table.add_row(*(_cell(value) for value in row))
    return table


def _cell(value: Cell) -> Text:
    if isinstance(value, int):
        return Text(f"{value:,}", style="" if value else "dim")
    return value if isinstance(value, Text) else Text(value)


def _bad(number: int) -> Cell:
    return Text(f"{number:,}", style="red") if number else 0


def _until(ends: datetime | None, now: datetime) -> Text:
    return Text() if ends is None else Text(relative(ends, now=now), style="" if ends >= now else "red")
