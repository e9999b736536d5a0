"""Statuses as an operator or a CI program sees and sets them."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from notify.domain.forge_answers import Refused, Unavailable
from notify.store.database import Database
from tests.cli.conftest import Notify
from tests.support.statuses import SHA, MemoryForge, StatusHarness, refuses, status_stage, wanted

DEAD = refuses(Refused(reason="forbidden", words="Resource [b]not[/b] accessible"), status=403)
TARGET = ("github", "acme/app", SHA, "ci/build")


@pytest.fixture
def forge() -> MemoryForge:
    return MemoryForge()


@pytest.fixture
def statuses(database: Database, forge: MemoryForge) -> Iterator[StatusHarness]:
    with status_stage(database, forge) as made:
        yield made


def test_what_a_command_publishes_is_shown_on_the_commit(
    notify: Notify, statuses: StatusHarness, forge: MemoryForge, tmp_path: Path
) -> None:
    file = tmp_path / "output.json"
    file.write_text(json.dumps({"title": "3 failed", "summary": "see below"}), encoding="utf-8")
    more = ("--kind", "check_run", "--description", "3 of 40", "--url", "https://ci.example/1", "--output", str(file))

    said = notify("statuses", "publish", *TARGET, "failure", *more, "--json")
    statuses.drain()

    assert said.json["version"] == 1
    (call,) = forge.calls
    assert call.status.output is not None
    assert (call.status.state, call.status.output.title) == ("failure", "3 failed")
    assert (call.status.description, call.status.target_url) == ("3 of 40", "https://ci.example/1")
    shown = notify("statuses", "show", str(said.json["id"]), "--json").json
    assert (shown["status"], shown["applied_state"], shown["output"]["title"]) == ("applied", "failure", "3 failed")
    assert "3 failed" in notify("statuses", "show", str(said.json["id"])).output


@pytest.mark.parametrize(
    ("build", "kind", "state", "described"),
    [
        ("started", "status", "pending", "by dana"),
        ("started", "check_run", "in_progress", "by dana"),
        ("success", "status", "success", "by dana"),
        ("failure", "check_run", "failure", "by dana"),
        ("timed-out", "check_run", "timed_out", "by dana"),
        ("timed-out", "status", "failure", "The build ran out of time. by dana"),
        ("skipped", "status", "success", "The build was skipped. by dana"),
        ("unexpected-error", "check_run", "failure", "The build ended with an unexpected error. by dana"),
    ],
)
def test_a_build_is_shown_as_the_state_that_comes_nearest(
    notify: Notify, statuses: StatusHarness, build: str, kind: str, state: str, described: str
) -> None:
    notify("statuses", "publish", *TARGET, "--build", build, "--kind", kind, "--description", "by dana")
    assert statuses.targets("kind", "state", "description") == [(kind, state, described)]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((*TARGET,), "STATE"),
        ((*TARGET, "success", "--build", "success"), "STATE"),
        ((*TARGET, "queued"), "expected a state that a status has"),
        (("github", "acme", *TARGET[2:], "success"), "repository"),
        (("github", "acme/app", "abc123", "ci", "success"), "sha"),
        ((*TARGET, "success", "--kind", "check_run", "--output", "nowhere.json"), "nowhere.json"),
    ],
)
def test_what_cannot_be_shown_is_refused_with_the_reason(
    notify: Notify, statuses: StatusHarness, arguments: tuple[str, ...], words: str
) -> None:
    said = notify("statuses", "publish", *arguments)
    assert said.code != 0
    assert words in f"{said.errors}{said.error}"
    assert statuses.targets("id") == []


def test_a_dead_status_is_found_with_the_forges_words_and_shown_once_it_is_retried(
    notify: Notify, statuses: StatusHarness, forge: MemoryForge, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    forge.before = [DEAD]
    (receipt,) = statuses.publish(wanted())
    statuses.drain()

    heading, row = notify("statuses", "list", "--status", "dead").output.splitlines()
    assert all(
        cell in row for cell in (str(receipt.id), "dead: forbidden", "acme/app", SHA[:10], "ci/build", "pending", "ago")
    )
    assert len(heading) <= 80
    assert "not[/b] accessible" in notify("statuses", "show", str(receipt.id)).output
    (attempt,) = notify("statuses", "show", str(receipt.id), "--json").json["failed_attempts"]
    assert (attempt["outcome"], attempt["code"]) == ("dead: forbidden", 403)

    assert notify("statuses", "retry", str(receipt.id)).code == 0
    statuses.drain()

    assert [one["status"] for one in notify("statuses", "list", "--json").json] == ["applied"]
    assert notify("statuses", "retry", str(receipt.id)).code == 1
    assert notify("statuses", "retry", "999").code == 1
    assert notify("statuses", "show", "999").code == 1


def test_filters_select_what_is_retried_or_cancelled_and_it_asks_first(
    notify: Notify, statuses: StatusHarness, forge: MemoryForge
) -> None:
    forge.before = [DEAD, DEAD, refuses(Unavailable(reason="timeout"))]
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(4)))
    statuses.drain()
    assert sorted(one["status"] for one in notify("statuses", "list", "--json").json) == [
        "applied",
        "dead",
        "dead",
        "pending",
    ]

    assert notify("statuses", "retry").code == 1
    assert notify("statuses", "retry", "--status", "dead", stdin="n\n").code == 1
    assert notify("statuses", "retry", "--status", "applied", "--json").json["retried"] == 0
    assert notify("statuses", "retry", "--reason", "forbidden", "--dry-run", "--json").json["allowed"] == 2
    assert len(notify("statuses", "list", "--status", "dead", "--json").json) == 2
    assert notify("statuses", "cancel", "--forge", "github", "--json").json["cancelled"] == 1
    assert notify("statuses", "retry", "--status", "dead", "--yes", "--json").json["retried"] == 2
    statuses.drain()

    assert sorted(one["status"] for one in notify("statuses", "list", "--json").json) == [
        "applied",
        "applied",
        "applied",
        "cancelled",
    ]
