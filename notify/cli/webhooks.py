"""``notify webhooks``: the endpoints that are told of outcomes, and the calls to them."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import timedelta
from time import monotonic, sleep
from typing import Annotated, cast

from sqlalchemy import Connection
from typer import Argument, Exit, Option, Typer, confirm

from notify.cli import webhook_calls
from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, Columns, Yes, console, print_facts, print_json, print_records
from notify.cli.webhook_calls import NoSuchWebhookCall, NoSuchWebhookEndpoint, state_of_call
from notify.domain.errors import NotifyError
from notify.domain.similar_names import instead_of
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import INCLUDABLE, TYPES, CallStatus
from notify.store.webhooks import by_hand, endpoints, listing
from notify.store.webhooks.endpoints import EndpointChanges, WebhookEndpoint
from notify.store.webhooks.listing import CallView
from notify.webhooks import actions
from notify.webhooks.schema import EndpointChangesIn, EndpointIn, parse

LOOK_SECONDS = 0.2


def _state(one: WebhookEndpoint) -> str:
    if one.disabled_because is not None:
        return f"disabled: {one.disabled_because}"
    if one.failing is not None:
        return f"failing: {one.failing}"
    return "enabled" if one.paused_until is None else "paused"


COLUMNS: Columns = {"name": "name", "state": _state, "told of": "types", "includes": "include", "url": "url"}

app = Typer(
    help="Tell applications of outcomes: add, change and remove webhook endpoints; list, retry and replay calls.",
    no_args_is_help=True,
)
app.command("calls")(webhook_calls.list_)
app.command()(webhook_calls.retry)
app.command()(webhook_calls.replay)

Name = Annotated[str, Argument(metavar="NAME", help="As `notify webhooks list` shows it.")]
OfTypes = Annotated[list[str] | None, Option("--type", metavar="TYPE", help=f"Repeat for more: {', '.join(TYPES)}.")]
Included = Annotated[
    list[str] | None,
    Option("--include", metavar="WHAT", help=f"Besides ids; repeat for more: {', '.join(INCLUDABLE)}."),
]


class WebhookEndpointExists(NotifyError):
    """There is a webhook endpoint with this name."""


class NothingToChange(NotifyError):
    """Expected --url, --type, --include, --ids-only, --enable or --disable."""


@app.command("list")
def list_(*, as_json: AsJson = False) -> None:
    """List webhook endpoints, without their secrets."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = endpoints.listed(connection)
    print_records(found, COLUMNS, empty="no webhook endpoint has been added", as_json=as_json)


@app.command()
def add(
    name: Annotated[str, Argument(metavar="NAME", help="What you call it.")],
    url: Annotated[str, Argument(metavar="URL", help="Where it is called.")],
    *,
    types: OfTypes = None,
    include: Included = None,
    as_json: AsJson = False,
) -> None:
    """
    Add a webhook endpoint and print its secret, which is shown only once.

    It is told of outcomes from now on: of every type, unless some are given.
    """
    given = parse(EndpointIn, {"name": name, "url": url, "types": list(types or TYPES), "include": list(include or ())})
    with connect() as deployment, deployment.database.begin() as connection:
        secret = actions.add(connection, given, keys=deployment.settings.signing_keys)
        if secret is None:
            raise WebhookEndpointExists(name=name)
        added = _known(connection, name)
    _print_secret(added, secret, as_json=as_json)


@app.command()
def show(name: Name, *, as_json: AsJson = False) -> None:
    """Show a webhook endpoint."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = _known(connection, name)
    if as_json:
        print_json(found)
    else:
        print_facts(asdict(found))


@app.command()
def change(
    name: Name,
    *,
    url: Annotated[str | None, Option(metavar="URL", help="Where it is called.")] = None,
    types: OfTypes = None,
    include: Included = None,
    ids_only: Annotated[bool, Option("--ids-only", help="Include nothing besides ids.")] = False,
    enabled: Annotated[
        bool | None, Option("--enable/--disable", help="Whether it is told of anything; disabled, calls that wait end.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Change, disable or enable a webhook endpoint. What is not given stays."""
    given = {
        "url": url,
        "types": list(types) if types else None,
        "include": [] if ids_only else list(include) if include else None,
        "enabled": enabled,
    }
    stated = {key: value for key, value in given.items() if value is not None}
    if not stated:
        raise NothingToChange
    changes = parse(EndpointChangesIn, stated).model_dump(exclude_unset=True)
    with connect() as deployment:
        with deployment.database.begin() as connection:
            endpoints.change(connection, name, cast("EndpointChanges", changes))
            found = _known(connection, name)
        deployment.doorbell.ring(WEBHOOKS)
    if as_json:
        print_json(found)
    else:
        print_records([found], COLUMNS)


@app.command()
def rotate(
    name: Name,
    *,
    keep_seconds: Annotated[
        int,
        Option(min=0, max=actions.MOST_KEPT_SECONDS, help="For how long calls are signed with the former secret too."),
    ] = actions.KEPT_SECONDS,
    as_json: AsJson = False,
) -> None:
    """Give a webhook endpoint a new secret and print it. It is shown only once."""
    with connect() as deployment, deployment.database.begin() as connection:
        _known(connection, name)
        keep = timedelta(seconds=keep_seconds)
        secret = actions.rotate(connection, name, keys=deployment.settings.signing_keys, keep=keep) or ""
        rotated = _known(connection, name)
    _print_secret(rotated, secret, as_json=as_json)


@app.command()
def remove(name: Name, *, yes: Yes = False) -> None:
    """Remove a webhook endpoint. Calls that wait are not made."""
    with connect() as deployment, deployment.database.begin() as connection:
        _known(connection, name)
        if not yes:
            confirm(f"Remove {name} and its secret?", abort=True, err=True)
        endpoints.remove(connection, name)
    console.print(f"{name} is removed", markup=False)


@app.command("test")
def call(
    name: Name,
    *,
    wait: Annotated[float, Option(metavar="SECONDS", min=0, help="How long to wait for the answer; 0: not.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Have a worker call a webhook endpoint with the type endpoint.test. Exit code 1 if it does not accept the call."""
    with connect() as deployment:
        with deployment.database.begin() as connection:
            _known(connection, name)
            id_ = by_hand.test(connection, name) or 0
        deployment.doorbell.ring(WEBHOOKS)
        found = _answered(deployment, id_, seconds=wait)
    if as_json:
        print_json(found)
    else:
        console.print(f"call {found.id}: {state_of_call(found)}", markup=False)
    if wait and found.status != CallStatus.DELIVERED:
        raise Exit(1)


def _answered(deployment: Deployment, id_: int, *, seconds: float) -> CallView:
    """The call, once its first attempt is recorded or the time is up."""
    until = monotonic() + seconds
    while True:
        with deployment.database.begin() as connection:
            call = listing.view(connection, id_)
        if call is None:
            raise NoSuchWebhookCall(id=id_)
        if call.status != CallStatus.PENDING or call.outcome_reason is not None or monotonic() >= until:
            return call
        sleep(LOOK_SECONDS)


def _known(connection: Connection, name: str) -> WebhookEndpoint:
    found = endpoints.find(connection, name)
    if found is None:
        known: Sequence[str] = [one.name for one in endpoints.listed(connection)]
        raise NoSuchWebhookEndpoint(name=name, hint=instead_of(name, known) if known else "there is none")
    return found


def _print_secret(endpoint: WebhookEndpoint, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({**asdict(endpoint), "secret": secret})
    else:
        print(secret)  # noqa: T201 - a secret must not be wrapped at the terminal's width
