"""Commands in files of a deployment, against the code that they start."""

import re
from collections.abc import Sequence
from typing import Any

import typer

from notify.cli.commands import command_line
from notify.embedded.commands import CATCHER, COMMANDS, Command
from notify.settings import Settings

EMBEDDED = {command.name: command for command in (*COMMANDS, CATCHER)}
USUAL = {name: field.get_default() for name, field in Settings.model_fields.items()}
PLACEHOLDER = re.compile(r"\{(\w+)\}")
DIFFERS = re.compile(r"host|port|name|schedule|emails")
"""What a container or unit names otherwise: addresses, itself, and where it may write."""


def runs_what_the_embedded_stack_runs(command: Command, words: Sequence[str]) -> None:
    expected = command.line.split()
    assert len(words) == len(expected), f"{command.name}: {words} is not {expected}"
    for theirs, ours in zip(expected, words, strict=True):
        found = PLACEHOLDER.search(theirs)
        if found is not None and DIFFERS.search(found[1]):
            before, _, after = map(re.escape, theirs.partition(found[0]))
            assert re.fullmatch(rf"{before}\S+{after}", ours), command.name
        else:
            assert ours == theirs.format(**USUAL), command.name


def is_a_command_of_notify(words: Sequence[str]) -> None:
    """Fail if ``notify`` has no such command, or the command does not take these options."""
    command: Any = typer.main.get_command(command_line())
    rest = list(words)
    while hasattr(command, "commands"):
        assert rest[0] in command.commands, f"notify has no command {rest[0]}"
        command = command.commands[rest.pop(0)]
    command.make_context(command.name, rest)
