"""The README's own lines, typed into a shell as they stand, do what it says they do."""

import json
import re
import subprocess
import sys
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.journeys.conftest import System
from tests.support.readme import shell_lines

NOTIFY = ".venv/bin/notify"
IS_VARIABLE = re.compile(r"[A-Z]+=").match
SHELL = ("bash", "-euo", "pipefail", "-c")


@pytest.mark.skipif(which("curl") is None, reason="this machine has no curl to type")
def test_the_lines_of_the_readme_work_as_printed(system: System) -> None:
    lines = shell_lines(api=system.stack.state.urls["api"])
    first_of_erin = next(at for at, line in enumerate(lines) if line.startswith("ERIN="))
    answers = _type(system, lines[:first_of_erin])
    became = system.outcome("readme-1")
    answers += _type(system, [*filter(IS_VARIABLE, lines[:first_of_erin]), *lines[first_of_erin:]])

    assert all("status" not in answer or answer["status"] in {"pending", "working", "done"} for answer in answers)
    assert {"erin", "frank"} <= {answer.get("username") for answer in answers}
    accepted = next(answer for answer in answers if "duplicate" in answer)
    assert accepted["key"] == "readme-1"
    assert became == {"erin": ("sent", None), "frank": ("skipped", "is_actor")}
    assert [one for one in answers[-1]["preferences"] if one["overridden"]] == [
        {"event_type_code": "cl.comment.created", "enabled": False, "overridden": True}
    ]


def _type(system: System, lines: list[str]) -> list[Any]:
    """What the lines print, each answer as JSON."""
    script = "\n".join(lines).replace(NOTIFY, str(Path(sys.executable).with_name("notify")))
    environment = {"PATH": "/usr/local/bin:/usr/bin:/bin", "NOTIFY_DATA_DIR": str(system.settings.data_dir)}
    done = subprocess.run((*SHELL, script), env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines() if line]
