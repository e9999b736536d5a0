"""The examples of the documentation, run as they are printed, do what the text around them says."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from signal import SIGTERM
from typing import Any

import pytest

from tests.journeys.system.conftest import System
from tests.support.bare_install import BareInstalls
from tests.support.docs import ExampleFailed, Runner, introduce_people
from tests.support.documentation import PAGES, examples
from tests.support.forked_commands import forking_environment
from tests.support.remotes import needs_git
from tests.support.wait import until

needs_curl = pytest.mark.skipif(which("curl") is None, reason="this machine has no curl to type")
PROGRAMS = {"curl": needs_curl, "git": needs_git}
RECIPES = "docs/recipes/"
OTHERS = [
    pytest.param(page, marks=[mark for program, mark in PROGRAMS.items() if f"{program} " in text])
    for page in PAGES
    if page != "README.md" and not page.startswith(RECIPES) and (text := "".join(one.text for one in examples(page)))
]
SENT = {"alice": ("sent", None)}


@pytest.fixture(scope="module")
def environment_of_readers() -> Iterator[Path]:
    with forking_environment() as folder:
        yield folder


@pytest.fixture
def runner(system: System, tmp_path: Path, environment_of_readers: Path) -> Iterator[Runner]:
    introduce_people(system.database)
    yield Runner(system.settings, system.stack.state.urls["api"], tmp_path, environment_of_readers)
    for file in tmp_path.glob("*.pid"):
        os.kill(int(file.read_text()), SIGTERM)


@pytest.fixture
def follow(runner: Runner, bare_installs: BareInstalls) -> Callable[[str], list[str]]:
    """Runs a recipe with the packages that it says to install, and no others; what each example prints."""

    def followed(name: str) -> list[str]:
        printed = []
        for example in examples(f"{RECIPES}{name}.md"):
            runner.use(bare_installs.programs(*example.packages()).parent)
            printed.append(runner.run(example))
        return printed

    return followed


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


@pytest.mark.parametrize(
    ("name", "key"), [("django", "created-CL-8"), ("fastapi", "comment-1"), ("flask", "created-CL-10")]
)
def test_the_recipe_for_a_framework_emits_what_it_prints(
    name: str, key: str, system: System, follow: Callable[[str], list[str]]
) -> None:
    (printed,) = follow(name)
    assert key in printed
    assert system.outcome(key) == SENT


def test_the_recipe_for_psycopg_emits_what_is_committed(system: System, follow: Callable[[str], list[str]]) -> None:
    follow("psycopg")
    assert system.outcome("comment-11") == system.outcome("comment-14") == SENT
    assert system.program.get("/api/v1/events/comment-12").status_code == 404
    assert system.program.get("/api/v1/events/comment-13").json()["status"] == "withdrawn"


def test_the_recipe_for_celery_runs_tasks_of_its_own_beside_ours(
    system: System, follow: Callable[[str], list[str]], tmp_path: Path
) -> None:
    _, printed, _ = follow("celery")
    assert printed.split()[-1] == "comment-15"
    assert system.outcome("comment-15") == system.outcome("created-CL-16") == SENT
    assert until(lambda: not list(tmp_path.glob("*.pid")))
    assert "unregistered" not in (tmp_path / "reviews.log").read_text(encoding="utf-8")


@needs_curl
def test_the_recipe_for_curl_gets_the_answers_that_it_explains(follow: Callable[[str], list[str]]) -> None:
    answers = [json.loads(line) for printed in follow("curl") for line in printed.splitlines()]
    stored, repeated, wrong, taken, became, withdrawn = answers
    assert (stored["duplicate"], repeated["duplicate"]) == (False, True)
    assert [(one["status"], one["errors"][0]["field"]) for one in (wrong, taken)] == [(422, "type"), (409, "actor")]
    assert became["key"] == withdrawn["key"] == "created-CL-17"
    assert "people" in withdrawn


def test_the_recipe_for_testing_passes(follow: Callable[[str], list[str]]) -> None:
    _, events, _, emails = follow("testing")
    assert "3 passed" in events
    assert "1 passed" in emails


def test_a_suite_that_asks_for_emails_without_the_extra_is_told_its_name(
    runner: Runner, bare_installs: BareInstalls
) -> None:
    *files, run = examples(f"{RECIPES}testing.md")
    runner.use(bare_installs.programs("notify-outbox", "pytest").parent)
    for example in (one for one in files if one.language == "python"):
        runner.run(example)
    with pytest.raises(ExampleFailed, match=r"delivered needs \w+, .* pip install 'notify-outbox\[embedded\]'"):
        runner.run(run)


def test_a_recipe_that_needs_a_package_it_does_not_name_fails(runner: Runner, bare_installs: BareInstalls) -> None:
    (recipe,) = examples(f"{RECIPES}flask.md")
    runner.use(bare_installs.programs("notify-outbox").parent)
    with pytest.raises(ExampleFailed, match="No module named 'flask'"):
        runner.run(recipe)


def _became(system: System, username: str) -> list[tuple[str, str | None]]:
    """Status of each of the person's emails, and what it waits for."""
    answer = system.program.get("/api/v1/jobs", params={"username": username}).raise_for_status()
    return [(one["status"], one["deferred_by"]) for one in answer.json()["jobs"]]
