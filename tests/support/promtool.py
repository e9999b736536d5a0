"""Prometheus's own checker, for tests that run where it is installed."""

from pathlib import Path
from shutil import which
from subprocess import run

import pytest

PROMTOOL = which("promtool")

needs_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool is not installed (Debian: prometheus)")


def promtool(*words: str, folder: Path | None = None, given: str = "") -> str:
    """Promtool's complaints; empty if there are none."""
    done = run([str(PROMTOOL), *words], cwd=folder, input=given, capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 and not done.stderr else done.stdout + done.stderr
