"""``notify relays``: where the breakers stand, and holding one open by hand."""

from dataclasses import asdict, dataclass
from typing import Annotated, Any

from typer import Argument, BadParameter, Option, Typer

from notify import wiring
from notify.cli.output import AsJson, console, print_json, print_table
from notify.cli.place import Place, place
from notify.domain.errors import NotifyError
from notify.domain.jobs import Stage
from notify.store import relays
from notify.store.relays import Standing

app = Typer(help="Where the breakers of the relays stand, and holding one open by hand.", no_args_is_help=True)

LONGEST_WORDS_BYTES = 1024

RelayName = Annotated[str, Argument(metavar="RELAY", help="host:port, as `notify relays list` shows it.")]


class NoSuchRelay(NotifyError):
    """A relay of this name is neither configured nor was one ever in trouble."""


class NotMuted(NotifyError):
    """The relay is not muted."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """A relay and where its breaker stands; ``priority`` from 1, None: it is not configured."""

    relay: str
    standing: Standing
    priority: int | None = None


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
        ["priority", "relay", "breaker", "failures", "the relay's last words"],
        [
            (one.priority, one.relay, in_words(one.standing), one.standing.failures, one.standing.last_error)
            for one in found
        ],
    )


@app.command()
def mute(
    relay: RelayName,
    *,
    because: Annotated[str | None, Option(help="Who mutes it and why, for whoever asks.", callback=_short)] = None,
) -> None:
    """Claim no letter for this relay until it is unmuted. Letters wait; none loses an attempt."""
    with place() as here:
        names = [one.relay for one in known(here)]
        if relay not in names:
            raise NoSuchRelay(relay=relay, known=", ".join(names) or "none")
        with here.database.begin() as connection:
            relays.mute(connection, relay, because=because)
            standing = relays.standing(connection, relay)
    console.print(f"{relay}: {in_words(standing)}", markup=False)


@app.command()
def unmute(relay: RelayName) -> None:
    """Let the breaker of this relay decide again, from where it stands."""
    with place() as here:
        with here.database.begin() as connection:
            if not relays.unmute(connection, relay):
                raise NotMuted(relay=relay)
            standing = relays.standing(connection, relay)
        here.doorbell.ring(Stage.DELIVER)
    console.print(f"{relay}: {in_words(standing)}", markup=False)


def as_facts(one: Known) -> dict[str, Any]:
    """Where a breaker stands, for programs and, ``in_words``, for people."""
    standing = one.standing
    facts = {"is_open": standing.is_open, "in_words": in_words(standing), "priority": one.priority}
    return {"relay": one.relay, **asdict(standing), **facts}


def in_words(standing: Standing) -> str:
    """Where a breaker stands, and since when or until when."""
    if standing.muted_at is not None:
        because = f": {standing.muted_because}" if standing.muted_because else ""
        return f"muted since {standing.muted_at:%Y-%m-%d %H:%M:%S} UTC{because}"
    if standing.is_open:
        return f"open: {standing.reason}, next probe at {standing.probe_at:%Y-%m-%d %H:%M:%S} UTC"
    return standing.state


def known(here: Place) -> list[Known]:
    """The configured relays by priority, then the others."""
    configured = wiring.relay_names(here.settings)
    with here.database.begin() as connection:
        found = relays.standings(connection)
    first = [
        Known(relay=name, standing=found.pop(name, Standing()), priority=place)
        for place, name in enumerate(configured, start=1)
    ]
    return [*first, *(Known(relay=name, standing=standing) for name, standing in found.items())]
