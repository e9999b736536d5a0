"""The command ``notify``: parse, call one thing, print."""

import gc
import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NoReturn

from sqlalchemy.exc import DBAPIError

from notify.domain.errors import NotifyError
from notify.store.database import unusable_because

USAGE = 2
CLI = "cli"
EXTRA_OF = {
    "up": "embedded",
    "demo": "embedded",
    "explain": "worker",
    "jobs": "worker",
    "relays": "worker",
    "forges": "worker",
    "preview": "worker",
    "send-test": "worker",
    "token": "api",
    "doctor": "worker",
    "grpc": "grpc",
    "top": "worker",
}
"""The extra that a command needs, if it needs more than CLI."""


def main(arguments: Sequence[str] | None = None, *, name: str = "notify") -> None:
    """
    Run the command line; an error of notify or of the database is one sentence, without a trace.

    Args:
        arguments: None: those of this process.
        name: What the help calls the program.
    """
    words = sys.argv[1:] if arguments is None else arguments
    try:
        command_line = import_module("notify.cli.commands").command_line(words[0] if words else None)
        command_line(list(words), prog_name=name)
    except NotifyError as error:
        _end(str(error))
    except DBAPIError as error:
        why = unusable_because(error)
        if why is None:
            raise
        _end(why)
    except ModuleNotFoundError as error:
        why = what_to_install(words, error)
        if why is None:
            raise
        _end(why)
    finally:
        if arguments is None:
            gc.freeze()  # Else the last collection goes through all that was imported: a third of a second.


def what_to_install(arguments: Sequence[str], missing: ModuleNotFoundError) -> str | None:
    """What to install for the command that needs this module; None: the module is one of ours."""
    module = (missing.name or "notify").partition(".")[0]
    if module == "notify":
        return None
    command = next((word for word in arguments if not word.startswith("-")), "")
    extra = EXTRA_OF.get(command, CLI)
    return (
        f"{command or 'the command line'} needs {module}, which is not installed: pip install 'notify-outbox[{extra}]'"
    )


def _end(why: str) -> NoReturn:
    sys.stderr.write(f"notify: {why}\n")
    raise SystemExit(USAGE) from None
