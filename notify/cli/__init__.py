"""The command ``notify``: parse, call one thing, print."""

import sys
from importlib import import_module
from typing import NoReturn

from sqlalchemy.exc import DBAPIError

from notify.cli.extras import what_to_install
from notify.domain.errors import NotifyError
from notify.store.database import refusal

USAGE = 2


def main() -> None:
    """Run the command line; what notify refuses, and a database that does, is said in words, without a trace."""
    try:
        import_module("notify.cli.commands").app()
    except NotifyError as error:
        _end(str(error))
    except DBAPIError as error:
        why = refusal(error)
        if why is None:
            raise
        _end(why)
    except ModuleNotFoundError as error:
        why = what_to_install(sys.argv[1:], error)
        if why is None:
            raise
        _end(why)


def _end(why: str) -> NoReturn:
    sys.stderr.write(f"notify: {why}\n")
    raise SystemExit(USAGE) from None
