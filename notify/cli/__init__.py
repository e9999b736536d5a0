"""The command ``notify``: parse, call one thing, print."""

import sys
from typing import NoReturn

from sqlalchemy.exc import DBAPIError
from typer import Typer

from notify.cli import doctor, emit, explain, jobs, people, preview, prune, relays, stack, token, top
from notify.domain.errors import NotifyError
from notify.store.database import refusal

USAGE = 2

app = Typer(
    name="notify",
    help="A durable notification outbox for code review.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command()(stack.up)
app.command()(stack.demo)
app.command()(stack.migrate)
app.command()(prune.prune)
app.command()(emit.emit)
app.command()(explain.explain)
app.add_typer(jobs.app, name="jobs")
app.add_typer(people.app, name="people")
app.add_typer(relays.app, name="relays")
app.command()(preview.preview)
app.command("send-test")(preview.send_test)
app.add_typer(token.app, name="token")
app.command()(doctor.doctor)
app.command()(top.top)


def main() -> None:
    """Run the command line; what notify refuses, and a database that does, is said in words, without a trace."""
    try:
        app()
    except NotifyError as error:
        _end(str(error))
    except DBAPIError as error:
        why = refusal(error)
        if why is None:
            raise
        _end(why)


def _end(why: str) -> NoReturn:
    sys.stderr.write(f"notify: {why}\n")
    raise SystemExit(USAGE) from None
