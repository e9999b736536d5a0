"""``notify forges``: list mirrored repositories; webhook deliveries; ask for failed ones; rebuild a mirror."""

from typing import Annotated

from typer import Argument, Option, Typer, confirm

from notify import wiring
from notify.cli import deliveries
from notify.cli.connect import Deployment, connect
from notify.cli.output import AsJson, Columns, Yes, console, print_records, relative
from notify.domain.errors import NotifyError
from notify.domain.stages import RECONCILE
from notify.store.forges import repositories
from notify.store.forges.repositories import RepositoryView


def _last_read(one: RepositoryView) -> str:
    if one.gone:
        return "gone"
    return relative(one.swept_at) if one.swept_at else "never"


COLUMNS: Columns = {
    "repository": "full_name",
    "forge": "forge",
    "read": _last_read,
    "changes": "changes",
    "stale": "stale",
    "fault": lambda one: f"{one.fault}, since {relative(one.fault_at)}" if one.fault else None,
}

app = Typer(
    help="List mirrored repositories and webhook deliveries; ask for failed ones; rebuild a mirror.",
    no_args_is_help=True,
)
app.add_typer(deliveries.app, name="deliveries")

ForgeName = Annotated[str, Argument(metavar="NAME", help="Name of the forge in NOTIFY_FORGES_FILE.")]


class NoSuchForge(NotifyError):
    """There is no such forge."""


@app.command("list")
def list_(
    *,
    forge: Annotated[str | None, Option(metavar="NAME", help="Only repositories of this forge.")] = None,
    as_json: AsJson = False,
) -> None:
    """List mirrored repositories: when each was read last, why the last reading failed, and what is stale."""
    with connect() as deployment, deployment.database.begin() as connection:
        found = repositories.views(connection, forge)
    print_records(found, COLUMNS, empty="no repository is mirrored", as_json=as_json)


@app.command()
def redeliver(name: ForgeName) -> None:
    """
    Ask GitHub for the webhook deliveries of the last three days that did not arrive.

    beat does the same every hour. Safe to repeat: what has arrived is not asked for.
    """
    from notify.sources.redelivery import redeliver as ask  # noqa: PLC0415 - an HTTP client, for this command only

    with connect() as deployment:
        known = wiring.forges(deployment.settings, deployment.database)
        try:
            if name not in known.by_name:
                raise NoSuchForge(name=name, known=", ".join(known.by_name) or "none")
            asked = ask(known, known.by_name[name])
        finally:
            known.close()
    console.print(f"{name}: asked for {asked} deliveries again", markup=False)


@app.command()
def rebuild(name: ForgeName, *, yes: Yes = False) -> None:
    """
    Delete the mirror of a forge, to be built again by reading the forge.

    Emails, deliveries, identities and what our app did stay. As at the first reading, nothing that happened before is
    told.
    """
    with connect() as deployment:
        _check_known(deployment, name)
        if not yes:
            confirm(f"Delete the mirror of {name}, to be read again?", abort=True, err=True)
        with deployment.database.begin() as connection:
            known = repositories.forget(connection, name)
            repositories.list_now(connection, name)
        deployment.doorbell.ring(RECONCILE)
    console.print(f"{name}: the mirror of {known} repositories is deleted, and is read again", markup=False)


def _check_known(deployment: Deployment, name: str) -> None:
    """
    Raises:
        NoSuchForge: The file does not name it, and nothing of it is mirrored.
    """
    with deployment.database.begin() as connection:
        known = {
            *wiring.forge_settings(deployment.settings, deployment.database).forges,
            *repositories.names(connection),
        }
    if name not in known:
        raise NoSuchForge(name=name, known=", ".join(sorted(known)) or "none")
