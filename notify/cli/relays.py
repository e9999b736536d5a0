"""``notify relays``: where the breakers stand, holding one open by hand, and asking a relay now."""

import asyncio
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Annotated, Any

from typer import Argument, BadParameter, Exit, Option, Typer

from notify import wiring
from notify.channels.email.smtp.examine import examine
from notify.channels.email.smtp.relay import Relay
from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.place import Place, place
from notify.domain.errors import NotifyError
from notify.domain.outcomes import Released
from notify.domain.rates import Bucket, Rate
from notify.domain.stages import DELIVER
from notify.store.operations import rates, relays, shares
from notify.store.operations.relays import BreakerState

app = Typer(
    help="Where the breakers of the relays stand, holding one open by hand, and asking a relay now.",
    no_args_is_help=True,
)

LONGEST_WORDS_BYTES = 1024

RelayName = Annotated[str, Argument(metavar="RELAY", help="host:port, as `notify relays list` shows it.")]


class NoSuchRelay(NotifyError):
    """A relay of this name is neither configured nor was one ever in trouble."""


class NotMuted(NotifyError):
    """The relay is not muted."""


class Muted(NotifyError):
    """The relay is muted, and so it is not asked; `notify relays unmute` ends that."""


class NotConfigured(NotifyError):
    """No relay of this name is configured."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """
    A relay and where its breaker stands; ``priority`` from 1, None: it is not configured.

    ``per_second`` None: no rate is stated; ``room_in`` are the seconds until it leaves room for an email.
    ``fleet_sessions`` None: no cap is stated; ``sessions`` are those that workers may have now.
    """

    relay: str
    standing: BreakerState
    priority: int | None = None
    per_second: float | None = None
    room_in: float = 0.0
    fleet_sessions: int | None = None
    sessions: int = 0


def _short(words: str | None) -> str | None:
    if words is not None and len(words.encode()) > LONGEST_WORDS_BYTES:
        message = f"expected at most {LONGEST_WORDS_BYTES} bytes"
        raise BadParameter(message)
    return words


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """The configured relays by priority, and every other that was ever in trouble or muted."""
    with place() as here:
        found = known(here)
    if as_json:
        print_json([as_facts(one) for one in found])
        return
    print_table(
        ["priority", "relay", "breaker", "rate", "failures", "the relay's last words"],
        [
            (one.priority, one.relay, in_words(one.standing), pace(one), one.standing.failures, one.standing.last_error)
            for one in found
        ],
    )


@app.command()
def mute(
    relay: RelayName,
    *,
    because: Annotated[str | None, Option(help="Who mutes it and why, for whoever asks.", callback=_short)] = None,
) -> None:
    """Claim nothing for this relay until it is unmuted. Emails wait; none loses an attempt."""
    with place() as here:
        names = [one.relay for one in known(here)]
        if relay not in names:
            raise NoSuchRelay(relay=relay, known=", ".join(names) or "none")
        with here.database.begin() as connection:
            relays.mute(connection, relay, because=because)
            standing = relays.breaker(connection, relay)
    console.print(f"{relay}: {in_words(standing)}", markup=False)


@app.command()
def unmute(relay: RelayName) -> None:
    """Let the breaker of this relay decide again, from where it stands."""
    with place() as here:
        with here.database.begin() as connection:
            if not relays.unmute(connection, relay):
                raise NotMuted(relay=relay)
            standing = relays.breaker(connection, relay)
        here.doorbell.ring(DELIVER)
    console.print(f"{relay}: {in_words(standing)}", markup=False)


@app.command()
def probe(relay: RelayName, *, as_json: AsJson = False) -> None:
    """
    Ask this relay for a session now, and close its breaker if it takes one. No email is risked.

    Exit code 1 if it takes none; its breaker then stands as before.
    """
    with place() as here:
        where, before = _probable(here, relay)
        refused = asyncio.run(examine(where)).refused
        closed = refused is None and closes(here, relay)
        with here.database.begin() as connection:
            after = relays.breaker(connection, relay)
    if as_json:
        facts = {"relay": relay, "takes_sessions": refused is None, "refused": refused, "closed": closed}
        print_json({**facts, "was": in_words(before), "is_open": after.is_open, "in_words": in_words(after)})
    else:
        console.print(f"{relay}: {'takes sessions' if refused is None else refusal(refused)}", markup=False)
        console.print(f"breaker: {in_words(after)}" + (f"; it was {in_words(before)}" if closed else ""), markup=False)
    if refused is not None:
        raise Exit(1)


def closes(here: Place, relay: str) -> bool:
    """Close the breaker of a relay that has just taken a session, and call the workers; False if it was not open."""
    with here.database.begin() as connection:
        closed = relays.note_probe(connection, relay)
    if closed:
        here.doorbell.ring(DELIVER)
    return closed


def refusal(refused: Released) -> str:
    """Why there was no session, with the relay's words if it said any."""
    answer = refused.answer
    return " ".join(str(one) for one in (refused.reason, *((answer.code, answer.text) if answer else ())) if one)


def _probable(here: Place, name: str) -> tuple[Relay, BreakerState]:
    """A configured relay that may be asked, and where its breaker stands."""
    configured = {one.name: one for one in wiring.relays(here.settings)}
    if name not in configured:
        raise NotConfigured(relay=name, configured=", ".join(configured) or "none")
    with here.database.begin() as connection:
        standing = relays.breaker(connection, name)
    if standing.is_muted:
        raise Muted(relay=name, breaker=in_words(standing))
    return configured[name], standing


def as_facts(one: Known) -> dict[str, Any]:
    """Where a breaker stands, for programs and, ``in_words``, for people."""
    standing = one.standing
    facts = {"is_open": standing.is_open, "in_words": in_words(standing), "priority": one.priority}
    rate = {"per_second": one.per_second, "room_in_seconds": one.room_in, "pace": pace(one)}
    shared = {"fleet_sessions": one.fleet_sessions, "sessions": one.sessions}
    stored = {name: value for name, value in asdict(standing).items() if name != "suspects"}
    return {"relay": one.relay, **stored, "suspects": len(standing.suspects), **facts, **rate, **shared}


def pace(one: Known) -> str:
    """
    How fast emails may go to the relay, and when the next may if none may now; empty: as it takes them.

    And over how many sessions, where all workers together have a cap.
    """
    rate = "" if one.per_second is None else f"{one.per_second:g}/s"
    room = f"room in {one.room_in:.1f} s" if one.room_in else ""
    return ", ".join(filter(None, (rate, room, cap(one))))


def cap(one: Known) -> str:
    """How many sessions all workers have of those that they may have together; empty: each has its own."""
    return "" if one.fleet_sessions is None else f"{one.sessions} of {one.fleet_sessions} sessions"


def in_words(standing: BreakerState) -> str:
    if standing.muted_at is not None:
        because = f": {standing.muted_because}" if standing.muted_because else ""
        return f"muted since {standing.muted_at:%Y-%m-%d %H:%M:%S} UTC{because}"
    if standing.is_open:
        return f"open: {standing.reason}, next probe at {standing.probe_at:%Y-%m-%d %H:%M:%S} UTC"
    return standing.state


def known(here: Place) -> list[Known]:
    """The configured relays by priority, then the others."""
    with here.database.begin() as connection:
        found, buckets = relays.breakers(connection), rates.buckets(connection)
        shared = shares.sessions(connection)
    first = [
        Known(
            relay=one.name,
            standing=found.pop(one.name, BreakerState()),
            priority=place,
            per_second=one.per_second,
            room_in=_room_in(one, buckets),
            fleet_sessions=one.fleet_sessions,
            sessions=shared.get(one.name, 0),
        )
        for place, one in enumerate(wiring.relays(here.settings), start=1)
    ]
    return [*first, *(Known(relay=name, standing=standing) for name, standing in found.items())]


def _room_in(relay: Relay, buckets: Mapping[str, Bucket]) -> float:
    if relay.per_second is None:
        return 0.0
    return Rate.a_second(relay.per_second).wait(buckets.get(rates.of_relay(relay.name), Bucket()).owed)
