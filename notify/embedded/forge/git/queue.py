"""The queue of the embedded forge, whose heads are green if all Python in them compiles."""

import sys
from collections.abc import Mapping
from json import dumps
from types import MappingProxyType

from notify.embedded.forge.git import check_python

QUEUE = "monorepo/main"
REPOSITORY = "example/monorepo"
README = f"""# monorepo

Each head of `main` is validated by the queue `{QUEUE}`: it is green if all Python in it compiles.
The branch `green` follows the last green head.
"""
RETRY = '''"""Uploads files."""


def delay(attempt: int, *, base: float, cap: float) -> float:
    """How long to wait before this attempt, in seconds."""
    return min(cap, base * 2**attempt)
'''
INDEX = '''"""Builds the index."""


def build(documents: list[str]) -> list[str]:
    """All words, sorted."""
    return sorted({word for document in documents for word in document.split()})
'''
WORDS = '''"""Splits texts into words."""


def words(text: str) -> list[str]:
    return text.split()
'''
FILES: Mapping[str, str] = MappingProxyType(
    {"README.md": README, "upload/retry.py": RETRY, "search/index.py": INDEX, "search/words.py": WORDS}
)


def queue_table(forge: str, url: str) -> str:
    """
    The queue in the form of the forges file.

    Args:
        url: Of the forge.
    """
    command = dumps([sys.executable, "-I", check_python.__file__])
    return f"""
[queues."{QUEUE}"]
forge = "{forge}"
repository = "{REPOSITORY}"
ref = "refs/heads/main"
remote = "{url}/{REPOSITORY}.git"
promotion_ref = "refs/heads/green"
runner = {{ kind = "command", command = {command}, output_url = "{url}/builds" }}
"""
