"""The examples of the documentation, run as they are printed, do what the text around them says."""

import json
from pathlib import Path
from shutil import which
from typing import Any

import pytest

from tests.journeys.conftest import System
from tests.support.docs import Runner, introduce_people
from tests.support.documentation import PAGES, examples
from tests.support.wait import until

needs_curl = pytest.mark.skipif(which("curl") is None, reason="this machine has no curl to type")
OTHERS = [page for page in PAGES if page != "README.md" and examples(page)]


@pytest.fixture
def runner(system: System, tmp_path: Path) -> Runner:
    introduce_people(system.database)
    return Runner(system.settings, system.stack.state.urls["api"], tmp_path)


@needs_curl
def test_the_lines_of_the_readme_work_as_printed(system: System, runner: Runner) -> None:
    became: dict[str, Any] = {}
    answers = []
    for example in examples("README.md", "sh"):
        answers += [json.loads(line) for line in runner.run(example).splitlines()]
        if '"key": "readme-1"' in example.text:
            became = system.outcome("readme-1")

    assert all("status" not in answer or answer["status"] in {"pending", "working", "done"} for answer in answers)
    assert {"erin", "frank"} <= {answer.get("username") for answer in answers}
    accepted = next(answer for answer in answers if "duplicate" in answer)
    assert accepted["key"] == "readme-1"
    assert became == {"erin": ("sent", None), "frank": ("skipped", "is_actor")}
    assert [one for one in answers[-1]["preferences"] if one["overridden"]] == [
        {"event_type_code": "cl.comment.created", "enabled": False, "overridden": True}
    ]


def test_the_script_of_the_readme_emails_alice_now_and_carol_in_her_digest(system: System, runner: Runner) -> None:
    (script,) = examples("README.md", "python")
    runner.run(script)
    assert until(lambda: _became(system, "alice") == [("sent", None)])
    assert _became(system, "carol") == [("pending", "daily")]


@pytest.mark.parametrize("page", OTHERS)
def test_every_example_of_the_other_pages_runs_as_printed(page: str, runner: Runner) -> None:
    for example in examples(page):
        runner.run(example)


def _became(system: System, username: str) -> list[tuple[str, str | None]]:
    """Status of each of the person's emails, and what it waits for."""
    answer = system.program.get("/api/v1/jobs", params={"username": username}).raise_for_status()
    return [(one["status"], one["deferred_by"]) for one in answer.json()["jobs"]]
