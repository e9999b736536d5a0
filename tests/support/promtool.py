"""Prometheus's own checker, for tests that ask it where it is installed."""

from pathlib import Path
from shutil import which
from subprocess import run

import pytest

PROMTOOL = which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def promtool(*words: str, folder: Path | None = None, given: str = "") -> str:
    """What promtool has to say; empty where it has nothing to find fault with."""
    done = run([str(PROMTOOL), *words], cwd=folder, input=given, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and not done.stderr else done.stdout + done.stderr
