"""What README.md tells its readers to type."""

import re
import shlex
from pathlib import Path

README = Path(__file__).parents[2] / "README.md"
JOURNEY = re.compile(r"<!-- journey -->\n```sh\n(.*?)```", re.DOTALL)
API = "http://127.0.0.1:8000"


def shell_lines(*, api: str = API) -> list[str]:
    """
    The commands of the journey, for one shell in the project's folder: later ones use variables of earlier ones.

    Args:
        api: Where the API is, in place of the demo's usual address.
    """
    blocks = JOURNEY.findall(README.read_text(encoding="utf-8"))
    return [command.replace(API, api) for block in blocks for command in _commands(block)]


def _commands(block: str) -> list[str]:
    """Each command whole, however many lines it takes."""
    commands, begun = [], ""
    for line in block.splitlines():
        begun += line
        if _is_whole(begun):
            commands.append(begun)
            begun = ""
        else:
            begun += "\n"
    return [command for command in commands if command.strip()]


def _is_whole(command: str) -> bool:
    if command.endswith("\\"):
        return False
    try:
        shlex.split(command)
    except ValueError:
        return False
    return True
