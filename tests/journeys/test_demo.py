"""``notify demo`` shows what notify does: at once, bundled, in a digest, not at all, and about a branch that breaks."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.remotes import needs_git
from tests.support.supervisor import random_ports

NOTIFY = Path(sys.executable).with_name("notify")


def demo(tmp_path: Path, *options: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(NOTIFY), "demo", "--once", *options],
        env={**os.environ, **random_ports(), "NOTIFY_DATA_DIR": str(tmp_path / "data"), **environment},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=180,
        check=True,
    )


def shows_change_lists(result: dict[str, Any]) -> None:
    told = {(one["to"].partition(" ")[0], len(one["about"])) for one in result["emails"]}
    assert told == {("Alice", 1), ("Alice", 2), ("Carol", 5), ("Dana", 1)}
    assert ["cl.comment.created by carol"] in [one["about"] for one in result["emails"]], "the forge tells by webhook"
    assert {"username": "bob", "actor": "alice", "why": "muted_all"} in result["skipped"]
    assert {"username": "bob", "actor": "dana", "why": "muted_all"} in result["skipped"]


@needs_git
def test_the_demo_shows_emails_who_is_not_notified_and_a_branch_that_breaks_and_recovers(tmp_path: Path) -> None:
    done = demo(tmp_path, "--json")
    result = json.loads(done.stdout)
    shows_change_lists(result)
    broken, mended = result["heads"]
    assert (broken["state"], mended["state"]) == ("failed", "succeeded")
    assert (broken["statuses"][-1], mended["statuses"][-1]) == ("failure", "success")
    assert broken["output"].startswith(f"{result['urls']['forge']}/builds/")
    assert "search/index.py" in broken["check"][0]
    assert mended["check"] == ["3 of 3 files compile."]
    told = [(one["to"], one["about"]) for head in (broken, mended) for one in head["emails"]]
    alice = "Alice Meyer <alice@example.com>"
    assert told == [(alice, ["queue.head.broken by notify"]), (alice, ["queue.head.recovered by notify"])]
    assert mended["green"] == mended["sha"]
    assert mended["green_before"] not in (None, broken["sha"])
    assert "worker@notify ready" in Path(result["log"]).read_text()
    assert "worker@" not in done.stderr


@pytest.mark.slow
@needs_git
def test_the_demo_is_told_in_words_and_can_be_repeated(tmp_path: Path) -> None:
    for number in (1, 2):
        words = demo(tmp_path).stdout
        for shown in (f"Bob merges example/monorepo#{number}.", "queue.head.recovered", "refs/heads/green moved from"):
            assert shown in words


@pytest.mark.slow
def test_without_git_the_demo_says_what_it_does_not_show(tmp_path: Path) -> None:
    folders = reversed(os.environ["PATH"].split(os.pathsep))
    programs = {one.name: one for folder in folders for one in Path(folder).glob("*") if one.name != "git"}
    (tmp_path / "bin").mkdir()
    for name, program in programs.items():
        (tmp_path / "bin" / name).symlink_to(program)
    result = json.loads(demo(tmp_path, "--json", PATH=str(tmp_path / "bin")).stdout)
    shows_change_lists(result)
    assert result["heads"] == []
    assert "needs git" in demo(tmp_path, PATH=str(tmp_path / "bin")).stdout
