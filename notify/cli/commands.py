"""The commands. One whose extra is not installed is still listed, and names the extra when it is run."""

from collections.abc import Callable
from functools import cache
from importlib import import_module
from inspect import cleandoc
from typing import Any, NoReturn

from typer import Typer

from notify.cli import CLI, EXTRA_OF

COMMANDS = {
    "up": "stack.up",
    "demo": "stack.demo",
    "migrate": "stack.migrate",
    "prune": "prune.prune",
    "emit": "emit.emit",
    "explain": "explain.explain",
    "events": "events.app",
    "types": "types.app",
    "jobs": "jobs.app",
    "people": "people.app",
    "cls": "cls.app",
    "relays": "relays.app",
    "forges": "forges.app",
    "identities": "identities.app",
    "statuses": "statuses.app",
    "queues": "queues.app",
    "webhooks": "webhooks.app",
    "preview": "preview.preview",
    "send-test": "preview.send_test",
    "token": "token.app",
    "doctor": "doctor.doctor",
    "top": "top.top",
    "grpc": "grpc.grpc",
}
"""Module and attribute of each command, in the order of the help."""


@cache
def command_line(only: str | None = None) -> Typer:
    """
    Args:
        only: The one command that is wanted, whose modules alone are imported; None, or no command's name: all.
    """
    app = Typer(
        name="notify",
        help="A durable notification outbox for code review.",
        no_args_is_help=True,
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(_do_nothing)
    for name in [only] if only in COMMANDS else COMMANDS:
        _add(app, name)
    return app


def _do_nothing() -> None:
    """Typer takes a line of one command for that command itself, unless it has a callback."""


def _add(app: Typer, name: str) -> None:
    module, _, attribute = COMMANDS[name].partition(".")
    try:
        found = getattr(import_module(f"notify.cli.{module}"), attribute)
    except ModuleNotFoundError as missing:
        app.command(
            name,
            help=f"Needs the extra {EXTRA_OF.get(name, CLI)!r}, which is not installed.",
            add_help_option=False,
            context_settings={"ignore_unknown_options": True, "allow_extra_args": True},
        )(_failing(missing))
        return
    if isinstance(found, Typer):
        _write_help(found)
        app.add_typer(found, name=name)
    else:
        app.command(name, help=_prose(found.__doc__))(found)


def _write_help(group: Typer) -> None:
    for command in group.registered_commands:
        command.help = _prose(command.help or command.callback.__doc__)
    for inner in group.registered_groups:
        if inner.typer_instance is not None:
            _write_help(inner.typer_instance)


def _prose(docstring: str | None) -> str:
    """A docstring with one line for each paragraph, which the terminal then wraps at its own width."""
    paragraphs = cleandoc(docstring or "").split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _failing(missing: ModuleNotFoundError) -> Callable[[], Any]:
    def fail() -> NoReturn:
        raise missing

    return fail
