"""``notify top``: the state of the outbox at a glance, refreshed until Ctrl-C."""

from contextlib import suppress
from dataclasses import asdict
from time import sleep
from typing import Annotated

from rich.live import Live
from typer import BadParameter, Exit, Option

from notify.cli.checks import Finding
from notify.cli.checks.database import database
from notify.cli.connect import Deployment, connect
from notify.cli.doctor import QUICK, run_checks
from notify.cli.output import AsJson, console, print_json
from notify.cli.relay_states import relay_states
from notify.cli.top_screen import OutboxState, screen
from notify.store.database import UNAVAILABLE
from notify.store.operations import gauges, overview, server
from notify.wiring import STAGE_NAMES


def top(
    *,
    once: Annotated[
        bool, Option("--once", help="Print once and exit; the exit code is 1 if something is wrong.")
    ] = False,
    every: Annotated[float, Option(min=0.5, help="Seconds between refreshes.")] = 2.0,
    as_json: AsJson = False,
) -> None:
    """
    Watch the outbox: queues, outcomes per minute, workers, breakers and failed attempts.

    Problems found by quick checks come first, each with its fix. `notify doctor` checks more.
    """
    if as_json and not once:
        raise BadParameter("--json shows one moment: add --once")
    with connect() as deployment:
        if not once:
            _watch(deployment, every)
            return
        state, wrong = _read_and_check(deployment)
    if as_json:
        facts = {**asdict(state), "relays": [one.as_json() for one in state.relays]} if state else {}
        print_json({**facts, "wrong": wrong})
    else:
        console.print(screen(state, wrong))
    if wrong:
        raise Exit(1)


def _watch(deployment: Deployment, every: float) -> None:
    """Refresh until Ctrl-C, also while the database is away."""
    with suppress(KeyboardInterrupt), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(screen(*_read_and_check(deployment)), refresh=True)
            sleep(every)


def _read_and_check(deployment: Deployment) -> tuple[OutboxState | None, list[Finding]]:
    """The state, None if the database does not answer; and what is wrong."""
    try:
        state, checks = _read_state(deployment), QUICK
    except UNAVAILABLE:
        state, checks = None, (database, *QUICK)
    return state, [one for one in run_checks(deployment, checks) if not one.ok]


def _read_state(deployment: Deployment) -> OutboxState:
    states = relay_states(deployment)
    with deployment.database.begin() as connection:
        return OutboxState(
            at=server.clock(connection),
            stages=gauges.read(connection, STAGE_NAMES),
            rates=overview.rates(connection),
            workers=overview.busy_workers(connection),
            relays=states,
            failures=overview.recent_failures(connection),
        )
