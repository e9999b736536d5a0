"""``notify relays``: list the relays; mute, unmute or probe one."""

import asyncio
from typing import Annotated

from typer import Argument, BadParameter, Exit, Option, Typer

from notify import wiring
from notify.channels.email.smtp.relay_check import check_relay
from notify.cli.connect import connect
from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.relay_states import close_breaker, in_words, relay_states
from notify.domain.errors import NotifyError
from notify.domain.outcomes import Released
from notify.domain.stages import DELIVER
from notify.store.operations import relays

LONGEST_REASON_BYTES = 1024

app = Typer(help="List relays with their circuit breakers; mute, unmute or probe one.", no_args_is_help=True)
RelayName = Annotated[str, Argument(metavar="RELAY", help="host:port, as `notify relays list` shows it.")]


class NoSuchRelay(NotifyError):
    """No relay has this name."""


class RelayNotMuted(NotifyError):
    """The relay is not muted."""


class RelayIsMuted(NotifyError):
    """The relay is muted, so it is not probed; `notify relays unmute` unmutes it."""


def _within_limit(reason: str | None) -> str | None:
    if reason is not None and len(reason.encode()) > LONGEST_REASON_BYTES:
        message = f"expected at most {LONGEST_REASON_BYTES} bytes"
        raise BadParameter(message)
    return reason


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List the configured relays by priority, then any other that has ever failed or been muted."""
    with connect() as deployment:
        found = relay_states(deployment)
    if as_json:
        print_json([one.as_json() for one in found])
        return
    print_table(
        ["prio", "relay", "breaker", "limits", "last error"],
        [(one.priority, one.relay, in_words(one.breaker), one.limits, one.breaker.last_error) for one in found],
    )


@app.command()
def mute(
    relay: RelayName,
    *,
    because: Annotated[
        str | None, Option(help="Who mutes it and why, for others to read.", callback=_within_limit)
    ] = None,
) -> None:
    """Stop sending over a relay until it is unmuted. Its emails wait, and none loses an attempt."""
    with connect() as deployment:
        names = [one.relay for one in relay_states(deployment)]
        if relay not in names:
            raise NoSuchRelay(relay=relay, known=", ".join(names) or "none")
        with deployment.database.begin() as connection:
            relays.mute(connection, relay, because=because)
            breaker = relays.breaker(connection, relay)
    console.print(f"{relay}: {in_words(breaker)}", markup=False)


@app.command()
def unmute(relay: RelayName) -> None:
    """Send over a relay again, unless its breaker is open."""
    with connect() as deployment:
        with deployment.database.begin() as connection:
            if not relays.unmute(connection, relay):
                raise RelayNotMuted(relay=relay)
            breaker = relays.breaker(connection, relay)
        deployment.doorbell.ring(DELIVER)
    console.print(f"{relay}: {in_words(breaker)}", markup=False)


@app.command()
def probe(relay: RelayName, *, as_json: AsJson = False) -> None:
    """
    Open a session with a relay now, and close its breaker if that works. No email is sent.

    Exit code 1 if the relay takes no session; its breaker then stays as it is.
    """
    with connect() as deployment:
        configured = {one.name: one for one in wiring.relays(deployment.settings)}
        if relay not in configured:
            raise NoSuchRelay(relay=relay, configured=", ".join(configured) or "none")
        with deployment.database.begin() as connection:
            before = relays.breaker(connection, relay)
        if before.is_muted:
            raise RelayIsMuted(relay=relay, breaker=in_words(before))
        refused = asyncio.run(check_relay(configured[relay])).refused
        closed = refused is None and close_breaker(deployment, relay)
        with deployment.database.begin() as connection:
            after = relays.breaker(connection, relay)
    if as_json:
        result = {"relay": relay, "takes_sessions": refused is None, "refused": refused, "closed": closed}
        print_json({**result, "was": in_words(before), "is_open": after.is_open, "in_words": in_words(after)})
    else:
        console.print(f"{relay}: {'takes sessions' if refused is None else refusal(refused)}", markup=False)
        console.print(f"breaker: {in_words(after)}" + (f"; it was {in_words(before)}" if closed else ""), markup=False)
    if refused is not None:
        raise Exit(1)


def refusal(refused: Released) -> str:
    """Why there was no session, with the relay's answer if it gave one."""
    answer = refused.answer
    return " ".join(str(one) for one in (refused.reason, *((answer.code, answer.text) if answer else ())) if one)
