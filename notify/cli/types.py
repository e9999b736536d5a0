"""``notify types``: list event types, change their defaults, and store those of other packages."""

from datetime import timedelta
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, BadParameter, Option, Typer

from notify import wiring
from notify.cli.connect import connect
from notify.cli.output import AsJson, Columns, console, print_json, print_records
from notify.domain.errors import NotifyError
from notify.domain.similar_names import instead_of
from notify.store.directory import event_types
from notify.store.directory.event_types import MAX_BUNDLE_SECONDS, MAX_EXPIRY_SECONDS, EventTypeChanges

BY_DEFAULT = "default"
COLUMNS: Columns = {
    "type": "code",
    "on by default": lambda one: "yes" if one.default_enabled else "no",
    "required": lambda one: "yes" if one.system_required else "no",
    "expires after": lambda one: timedelta(seconds=one.expires_after_seconds),
    "bundled for": lambda one: BY_DEFAULT if one.bundle_seconds is None else timedelta(seconds=one.bundle_seconds),
}

app = Typer(help="List event types, change their defaults, and store those of other packages.", no_args_is_help=True)


class NoSuchEventType(NotifyError):
    """There is no event type with this code."""


class NothingToChange(NotifyError):
    """Expected --default-enabled, --system-required, --expires-after-seconds or --bundle-seconds, or the opposite."""


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List all event types."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = event_types.every(connection)
    print_records(found, COLUMNS, as_json=as_json)


@app.command("set")
def set_(
    code: Annotated[str, Argument(metavar="TYPE", help="Such as cl.updated.")],
    *,
    default_enabled: Annotated[
        bool | None, Option(help="Whether it is on for people who have stored no preference.")
    ] = None,
    system_required: Annotated[bool | None, Option(help="Whether nobody can switch it off.")] = None,
    expires_after_seconds: Annotated[
        int | None, Option(min=1, max=MAX_EXPIRY_SECONDS, help="For how long its emails are still sent.")
    ] = None,
    bundle_seconds: Annotated[
        str | None,
        Option(metavar="SECONDS", help=f"For how long they are bundled; {BY_DEFAULT}: NOTIFY_BUNDLE_SECONDS."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change an event type. What is not given stays. Running workers go by it from their next batch on."""
    changes: EventTypeChanges = {}
    if default_enabled is not None:
        changes["default_enabled"] = default_enabled
    if system_required is not None:
        changes["system_required"] = system_required
    if expires_after_seconds is not None:
        changes["expires_after_seconds"] = expires_after_seconds
    if bundle_seconds is not None:
        changes["bundle_seconds"] = _window(bundle_seconds)
    if not changes:
        raise NothingToChange
    with connect() as deployment, deployment.database.begin() as connection:
        found = event_types.change(connection, code, changes)
        if found is None:
            raise _no_such(connection, code)
    if as_json:
        print_json(found)
    else:
        print_records([found], COLUMNS)


@app.command()
def sync(*, as_json: AsJson = False) -> None:
    """
    Store the event types of the packages that are installed here, as `notify migrate` does. Safe to repeat.

    What was set of one stays; its category and description become those of the package.
    """
    with connect() as deployment:
        stored = wiring.store_event_types(deployment.database)
    if as_json:
        print_json({"stored": stored})
    else:
        console.print(f"stored: {', '.join(stored)}" if stored else "nothing to store", markup=False)


def _window(given: str) -> int | None:
    if given == BY_DEFAULT:
        return None
    if not given.isascii() or not given.isdigit() or int(given) > MAX_BUNDLE_SECONDS:
        message = f"expected 0 to {MAX_BUNDLE_SECONDS} seconds, or {BY_DEFAULT}"
        raise BadParameter(message, param_hint="--bundle-seconds")
    return int(given)


def _no_such(connection: Connection, code: str) -> NoSuchEventType:
    known = [one.code for one in event_types.every(connection)]
    return NoSuchEventType(code=code, hint=instead_of(code, known))
