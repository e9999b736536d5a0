"""``notify forges deliveries``: list webhook deliveries; show or replay one."""

from typing import Annotated

from typer import Argument, Option, Typer

from notify.cli.connect import connect
from notify.cli.output import AsJson, Columns, console, print_facts, print_json, print_records, relative
from notify.domain.errors import NotifyError
from notify.domain.outcomes import DeliveryStatus
from notify.domain.stages import INBOX
from notify.store.forges import deliveries
from notify.store.forges.deliveries import DeliveryView

COLUMNS: Columns = {
    "id": "id",
    "forge": "forge",
    "event": "event",
    "repository": "repository",
    "status": lambda one: f"{one.status}: {one.outcome_reason}" if one.outcome_reason else one.status,
    "received": lambda one: relative(one.created_at),
}

app = Typer(help="List webhook deliveries; show or replay one.", no_args_is_help=True)

DeliveryId = Annotated[
    int, Argument(metavar="ID", min=1, max=2**63 - 1, help="As `notify forges deliveries list` shows it.")
]


class NoSuchDelivery(NotifyError):
    """No webhook delivery has this id."""


class BodyErased(NotifyError):
    """The body was erased, because it named a person who is erased."""


class DeliveryIsPending(NotifyError):
    """The delivery is already pending."""


@app.command("list")
def list_(
    *,
    forge: Annotated[str | None, Option(metavar="NAME", help="Only deliveries of this forge.")] = None,
    status: Annotated[
        DeliveryStatus | None,
        Option(metavar="STATUS", help=f"Only deliveries with this status: {', '.join(DeliveryStatus)}."),
    ] = None,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one, for the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=deliveries.MOST_LISTED, help="How many to list at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List webhook deliveries, newest first."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = list(deliveries.listed(connection, forge=forge, status=status, before=below, limit=limit))
    print_records(found, COLUMNS, empty="no delivery matches", as_json=as_json)


@app.command()
def show(
    id_: DeliveryId,
    *,
    body: Annotated[bool, Option("--body", help="Print the body as it came, and nothing else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show what became of a webhook delivery, or its body, which may hold what people wrote."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = deliveries.view(connection, id_)
        text = deliveries.body_of(connection, id_) if body else None
    if found is None:
        raise NoSuchDelivery(id=id_)
    if text is not None:
        console.print(text.decode(errors="replace"), markup=False, soft_wrap=True)
    elif as_json:
        print_json(found)
    else:
        print_facts({name: getattr(found, name) for name in DeliveryView.__slots__ if name != "event_keys"})
        for key in found.event_keys:
            console.print(f"became event {key}", markup=False, soft_wrap=True)


@app.command()
def replay(id_: DeliveryId) -> None:
    """Work off a webhook delivery again. Safe to repeat: an event that was told already is not told again."""
    with connect() as deployment:
        with deployment.database.begin() as connection:
            found = deliveries.view(connection, id_)
            if found is None:
                raise NoSuchDelivery(id=id_)
            if not found.bytes:
                raise BodyErased(id=id_)
            if not deliveries.replay(connection, id_):
                raise DeliveryIsPending(id=id_)
        deployment.doorbell.ring(INBOX)
    console.print(f"delivery {id_} is due")
