"""``notify top``: the state of the outbox at a glance, refreshed until Ctrl-C."""

from dataclasses import asdict
from time import sleep
from typing import Annotated

from rich.live import Live
from typer import BadParameter, Exit, Option

from notify.cli import relays
from notify.cli.checks import Finding
from notify.cli.checks.database import database
from notify.cli.doctor import QUICK, examined
from notify.cli.output import AsJson, console, print_json
from notify.cli.place import Place, place
from notify.cli.top_screen import OutboxState, screen
from notify.store.database import AWAY
from notify.store.operations import gauges, overview, server
from notify.wiring import STAGE_NAMES

SHORTEST_SECONDS = 0.5


def top(
    *,
    once: Annotated[bool, Option("--once", help="Show it once and exit; 1 if something is wrong.")] = False,
    every: Annotated[float, Option(min=SHORTEST_SECONDS, help="Seconds between two refreshes.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """
    Watch the outbox: queues, outcomes a minute, workers with what they hold, breakers, refused attempts.

    What quick checks find wrong comes first, with what mends it; notify doctor looks deeper.
    """
    if as_json and not once:
        raise BadParameter("--json shows one moment: add --once")
    with place() as here:
        if once:
            _once(here, as_json=as_json)
        else:
            _watch(here, every)


def _once(here: Place, *, as_json: bool) -> None:
    state, wrong = _look(here)
    if as_json:
        print_json({**(asdict(state) if state else {}), "wrong": wrong})
    else:
        console.print(screen(state, wrong))
    if wrong:
        raise Exit(1)


def _watch(here: Place, every: float) -> None:
    """Refresh until Ctrl-C, also while the database is away."""
    with Live(console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                live.update(screen(*_look(here)), refresh=True)
                sleep(every)
        except KeyboardInterrupt:
            return


def _look(here: Place) -> tuple[OutboxState | None, list[Finding]]:
    """The state, None if the database does not answer; and what is wrong."""
    try:
        state, checks = _read(here), QUICK
    except AWAY:
        state, checks = None, (database, *QUICK)
    return state, [one for one in examined(here, checks) if not one.ok]


def _read(here: Place) -> OutboxState:
    known = relays.known(here)
    with here.database.begin() as connection:
        return OutboxState(
            at=server.clock(connection),
            stages=gauges.read(connection, STAGE_NAMES),
            rates=overview.rates(connection),
            workers=overview.at_work(connection),
            relays=[relays.as_facts(one) for one in known],
            troubles=overview.troubles(connection),
        )
