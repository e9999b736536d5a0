"""A queue on a git repository, whose heads a command validates as the titles of their commits say."""

import sys
from pathlib import Path

from tests.support import build_command
from tests.support.forge import REPOSITORY
from tests.support.remotes import GitRemote

QUEUE = "app/main"
MAIN, GREEN_REF = "refs/heads/main", "refs/heads/green"


def command_queue(remote: GitRemote, gate: Path) -> str:
    """
    The queue in the forges file.

    Args:
        gate: Slow builds wait for this file.
    """
    command = [sys.executable, str(Path(build_command.__file__)), str(gate)]
    return f"""
[queues."{QUEUE}"]
forge = "github"
repository = "{REPOSITORY}"
ref = "{MAIN}"
remote = "{remote.folder}"
promotion_ref = "{GREEN_REF}"
runner = {{ kind = "command", command = {command!r} }}
"""


def push(remote: GitRemote, title: str, *, by: str, onto: str | None = None) -> str:
    """
    Commit on the queue's ref; the commit.

    Args:
        onto: The parent, where history is rewritten; None: the newest commit, if there is one.
    """
    parent = onto or remote.ref(MAIN)
    sha = remote.commit(title, *([parent] if parent else []), author=by, email=f"{by}@example.com")
    remote.point(MAIN, sha)
    return sha
