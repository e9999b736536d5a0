"""Processes whose wall clock is wrong."""

from collections.abc import Mapping
from datetime import timedelta
from os import pathsep
from pathlib import Path

FOLDER = Path(__file__).parent / "skewed"


def skewed(environment: Mapping[str, str], by: timedelta) -> dict[str, str]:
    """The environment of a process whose clock is ahead by this much."""
    path = pathsep.join(filter(None, (str(FOLDER), environment.get("PYTHONPATH"))))
    return {**environment, "PYTHONPATH": path, "SKEW_SECONDS": str(by.total_seconds())}
