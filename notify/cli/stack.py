"""``notify up``, ``demo`` and ``migrate``: the system as a whole."""

from importlib import import_module
from typing import Annotated

from typer import Option

from notify import logs, wiring
from notify.cli.connect import complete_settings
from notify.cli.output import AsJson, console, print_json
from notify.settings import load
from notify.store.operations import migrate as schema


def up() -> None:
    """Run the whole system on this machine until Ctrl-C. Data is kept in NOTIFY_DATA_DIR."""
    settings = load(completed_later=True)
    logs.configure(level=settings.log_level, style=settings.log_format)
    import_module("notify.embedded.stack").Stack(settings).run()


def demo(
    *,
    once: Annotated[bool, Option("--once", help="Show the emails, then exit.")] = False,
    as_json: AsJson = False,
) -> None:
    """
    Start the embedded stack, emit sample comments, and show who got an email, who did not, and why.

    With git, a pull request then breaks a branch that a queue validates, and a fix follows.
    """
    settings = load(completed_later=True)
    logs.configure(level="warning" if once else settings.log_level, style=settings.log_format)
    import_module("notify.cli.demo").run(settings, once=once, as_json=as_json)


def migrate(*, as_json: AsJson = False) -> None:
    """
    Migrate the database to this version's schema, and store the event types of the packages that are installed here.

    Safe to repeat, and to run on several machines at once.
    """
    with complete_settings() as settings:
        database = wiring.database(settings, pool_size=1)
        with database.begin() as connection:
            before = schema.current(connection)
        schema.upgrade(database.url)
        wiring.store_event_types(database)
        database.close()
    if as_json:
        print_json({"from": before, "to": schema.head()})
    else:
        console.print(f"schema notify: {before or 'nothing'} to {schema.head()}")
