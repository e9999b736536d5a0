"""The embedded forge keeps real commits where git is installed: people clone and push, and a queue validates them."""

import json
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from gzip import compress
from pathlib import Path

import httpx
import pytest

from notify import forges_file
from notify.embedded.forge.git import check_python
from notify.embedded.forge.git.queue import FILES, QUEUE, REPOSITORY
from notify.embedded.forge.git.smart_http import MOST_BYTES
from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.workflows import FOLDER
from notify.heads.runners.command_job import OUTPUT
from notify.vcs.commands import Answer, Git
from notify.vcs.git import GitSourceControl
from tests.embedded.forge.test_pages import Badges, page
from tests.support.forge_calls import client, running_forge
from tests.support.github import faults
from tests.support.html_tree import Tree
from tests.support.remotes import needs_git

UPLOAD = "git-upload-pack"
SECONDS = 20


@dataclass
class Hosted:
    """A forge with its queue, a clone of the queue's repository, and a person's calls about it."""

    forge: EmbeddedForge
    folder: Path
    clone: Path
    calls: httpx.Client

    @property
    def url(self) -> str:
        return f"{self.forge.url}/{REPOSITORY}"

    def git(self, *arguments: str) -> str:
        return git_in(self.clone, *arguments)

    def commit(self, title: str, *, name: str = "change.py") -> str:
        """A commit in the clone that changes this file."""
        (self.clone / name).write_text(f'"""{title}"""\n')
        self.git("add", "--all")
        self.git("commit", "--quiet", f"--message={title}")
        return self.git("rev-parse", "HEAD")

    def push(self, *refspecs: str) -> Answer:
        return Git(self.clone, SECONDS).ask("push", "--quiet", "origin", *refspecs)

    def open_pull(self, head: str, *, base: str = "main") -> httpx.Response:
        return self.calls.post("/pulls", json={"title": f"Change: {head}", "head": head, "base": base})

    def branches(self) -> dict[str, str]:
        return dict(self.forge.state.repository(REPOSITORY).branches)

    def told(self) -> list[tuple[str, str]]:
        """The pushes that the forge told of: whose, and of what."""
        bodies = [json.loads(one.body) for one in self.forge.hooks.deliveries if one.event == "push"]
        return [(one["sender"]["login"], one["ref"]) for one in bodies]


def git_in(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=Dana Reyes", "-c", "user.email=dana@example.com")
    return Git(folder, SECONDS).run(*identity, *arguments).output.strip()


@pytest.fixture
def hosted(tmp_path: Path) -> Iterator[Hosted]:
    folder, clone = tmp_path / "forge", tmp_path / "clone"
    with running_forge(folder, builds=tmp_path / "builds") as forge, client(forge, "person_alice") as calls:
        calls.base_url = calls.base_url.join(f"/api/v3/repos/{REPOSITORY}")
        git_in(tmp_path, "clone", "--quiet", f"{forge.url}/{REPOSITORY}.git", str(clone))
        yield Hosted(forge, folder, clone, calls)


@needs_git
def test_what_people_push_is_on_the_forge_and_told_by_webhook(hosted: Hosted) -> None:
    assert hosted.git("ls-files").splitlines() == sorted(FILES)
    first, second = hosted.commit("First"), hosted.commit("Second")
    assert hosted.push("HEAD:main", f"{first}:refs/heads/topic").status == 0
    assert hosted.branches() == {"main": second, "topic": first}
    assert sorted(hosted.told()) == [("dana", "refs/heads/main"), ("dana", "refs/heads/topic")]
    file = hosted.calls.get("/contents/change.py").json()
    assert (file["size"], faults("rest:content-file", file)) == (len('"""Second"""\n'), [])
    assert hosted.push("--force", "HEAD~2:main", ":topic").status == 0
    assert hosted.branches() == {"main": hosted.git("rev-parse", "HEAD~2")}
    hosted.git("fetch", "--quiet", hosted.url, second), "rewritten away, and given by its name; .git may be left out"


@needs_git
def test_a_push_that_would_lose_commits_is_refused_and_told_to_nobody(hosted: Hosted) -> None:
    theirs = hosted.commit("Theirs")
    assert hosted.push("HEAD:main").status == 0
    hosted.git("reset", "--quiet", "--hard", "HEAD~1")
    hosted.commit("Ours")
    assert hosted.push("HEAD:main").status != 0
    assert (hosted.branches(), len(hosted.told())) == ({"main": theirs}, 1)


@needs_git
def test_no_file_can_be_pushed_that_leaves_a_checkout(hosted: Hosted) -> None:
    before = hosted.branches()
    inner = hosted.git("rev-parse", "HEAD^{tree}")
    for name in ("..", ".git", ".GIT"):
        listing = hosted.clone / "listing"
        listing.write_bytes(b"40000 " + name.encode() + b"\0" + bytes.fromhex(inner))
        tree = hosted.git("hash-object", "-t", "tree", "-w", "--literally", str(listing))
        sha = hosted.git("commit-tree", tree, "-p", "HEAD", "-m", "Beside it")
        assert hosted.push(f"{sha}:refs/heads/main").status != 0, name
    assert hosted.branches() == before


@needs_git
def test_no_name_reaches_git_as_an_option_or_a_path(hosted: Hosted, tmp_path: Path) -> None:
    assert hosted.push("HEAD:refs/heads/--upload-pack=touch").status == 0
    assert hosted.push("HEAD:refs/heads/../../main").status != 0
    hosted.commit("Change")
    assert hosted.push("HEAD:refs/heads/-f").status == 0
    number = hosted.open_pull("-f", base="--upload-pack=touch").raise_for_status().json()["number"]
    merged = hosted.calls.put(f"/pulls/{number}/merge").raise_for_status().json()["sha"]
    assert hosted.branches()["--upload-pack=touch"] == merged
    inside = next((hosted.folder / "git").glob("*.git")).name
    for name in ("..", "%2e%2e", f"..%2fgit%2f{inside}", "-c", "%00", "monorepo.git.git", "none"):
        for path in (f"/example/{name}/info/refs", f"/{name}/{inside}/info/refs"):
            asked = httpx.get(f"{hosted.forge.url}{path}", params={"service": UPLOAD})
            assert asked.status_code == httpx.codes.NOT_FOUND, path
    (tmp_path / "builds").mkdir()
    (tmp_path / OUTPUT).write_text("of no build")
    for name in ("%2e%2e", "%2e%2e%2fbuilds%2f%2e%2e", "none"):
        assert httpx.get(f"{hosted.forge.url}/builds/{name}").status_code == httpx.codes.NOT_FOUND, name


@needs_git
def test_only_gits_own_protocol_is_spoken_and_only_in_pieces_that_fit_into_memory(hosted: Hosted) -> None:
    def post(content: bytes, **headers: str) -> int:
        return httpx.post(f"{hosted.url}/{UPLOAD}", content=content, headers=headers).status_code

    assert httpx.get(f"{hosted.url}/info/refs").status_code == httpx.codes.FORBIDDEN
    assert httpx.get(f"{hosted.url}/info/refs", params={"service": "--help"}).status_code == httpx.codes.FORBIDDEN
    assert httpx.get(f"{hosted.url}.git/HEAD").status_code == httpx.codes.NOT_FOUND
    gzip = {"Content-Encoding": "gzip"}
    assert post(compress(b"0000"), **gzip) == httpx.codes.OK
    assert post(b"0000", **gzip) == httpx.codes.BAD_REQUEST
    assert post(compress(bytes(MOST_BYTES + 1)), **gzip) == httpx.codes.REQUEST_ENTITY_TOO_LARGE
    assert post(b"0000", Origin="https://elsewhere.example") == httpx.codes.FORBIDDEN


@needs_git
def test_a_merged_pull_request_is_a_merge_of_git_and_a_conflict_is_refused(hosted: Hosted) -> None:
    for head in ("first", "other"):
        hosted.commit(head)
        assert hosted.push(f"HEAD:refs/heads/{head}").status == 0
        hosted.git("reset", "--quiet", "--hard", "origin/main")
    for refused in (hosted.open_pull("none"), hosted.open_pull("first", base="none")):
        assert (refused.status_code, faults("rest:validation-error", refused.json())) == (422, [])
    first, other = (hosted.open_pull(head).raise_for_status().json()["number"] for head in ("first", "other"))
    merged = hosted.calls.put(f"/pulls/{first}/merge").raise_for_status().json()["sha"]
    hosted.git("fetch", "--quiet")
    assert hosted.git("log", "-1", "--format=%H %an %s", "origin/main") == f"{merged} alice Change: first (#1)"
    assert hosted.git("rev-list", "--count", "origin/main") == "3"
    for refused in (hosted.calls.put(f"/pulls/{one}/merge") for one in (first, other)):
        assert (refused.status_code, faults("rest:basic-error", refused.json())) == (405, [])
    assert hosted.branches()["main"] == merged


@needs_git
def test_a_repositorys_page_shows_its_commits_with_what_is_shown_on_each(hosted: Hosted) -> None:
    first = hosted.commit("Change <it>")
    assert hosted.push("HEAD:topic").status == 0
    number = hosted.open_pull("topic").raise_for_status().json()["number"]
    merged = hosted.calls.put(f"/pulls/{number}/merge").raise_for_status().json()["sha"]
    assert hosted.push("HEAD~1:refs/heads/green").status == 0
    begin = hosted.branches()["green"]
    for sha, state in ((begin, "success"), (merged, "failure")):
        hosted.calls.post(f"/statuses/{sha}", json={"state": state}).raise_for_status()
    shown = page(hosted.forge, f"/{REPOSITORY}")
    assert Badges(shown).found == [("bad", "failure"), ("good", "success")], "the newest first"
    assert shown.index(merged) < shown.index("Change: topic (#1)") < shown.index('<span class="reason">green</span>')
    assert f"git clone {hosted.url}.git" in shown
    paths = ["/", f"/{REPOSITORY}", f"/{REPOSITORY}/pull/{number}"]
    assert all(("bad", "failure") in Badges(page(hosted.forge, one)).found for one in paths), "of the merge"
    paths += [f"/{REPOSITORY}/commit/{one}" for one in (merged, first)]
    assert "Change &lt;it&gt;" in page(hosted.forge, paths[-1])
    for one in paths:
        tree = Tree(page(hosted.forge, one))
        (title,), (main,), (heading,) = (tree.all(tag) for tag in ("title", "main", "h1"))
        assert "" not in (title.words.strip(), heading.words.strip())
        assert main in heading.within
        assert all("scope" in cell.attributes for cell in tree.all("th"))
        assert tree.all("script", "img", "iframe") == []
        assert {link.attributes["href"] for link in tree.all("a")} >= {"#main", "/"}, one


@needs_git
def test_a_repositorys_page_shows_the_runs_of_a_workflow_that_was_pushed(hosted: Hosted) -> None:
    (hosted.clone / FOLDER).mkdir(parents=True)
    (hosted.clone / FOLDER / "heads.yml").write_text("name: Heads\non: workflow_dispatch\n")
    sha = hosted.commit("Add a workflow")
    assert hosted.push("HEAD:main").status == 0
    assert "Runs of workflows" not in page(hosted.forge, f"/{REPOSITORY}")
    hosted.calls.post("/actions/workflows/heads.yml/dispatches", json={"ref": "main"}).raise_for_status()
    shown = page(hosted.forge, f"/{REPOSITORY}").partition("Runs of workflows")[2]
    assert Badges(shown).found == [("waiting", "queued")]
    assert f"/{REPOSITORY}/commit/{sha}" in shown


@needs_git
def test_what_a_person_has_configured_of_git_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    hook = tmp_path / "template" / "hooks" / "pre-receive"
    hook.parent.mkdir(parents=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    configuration = tmp_path / "gitconfig"
    configuration.write_text(
        f"""[safe]\nbareRepository = explicit\n[init]\ntemplateDir = {hook.parents[1]}\ndefaultBranch = other
        [core]\nhooksPath = {hook.parent}\n[commit]\ngpgSign = true\n[user]\nuseConfigOnly = true\n"""
    )
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(configuration))
    with running_forge(tmp_path / "forge", builds=tmp_path / "builds") as forge, client(forge, "person_alice") as calls:
        queue = forges_file.load(forge.configuration).queues[QUEUE]
        source = GitSourceControl(queue, tmp_path / "mirrors")
        assert source.promote(source.latest())
        pull = {"title": "Nothing", "head": "green", "base": "main"}
        number = calls.post(f"/repos/{REPOSITORY}/pulls", json=pull).raise_for_status().json()["number"]
        merged = calls.put(f"/repos/{REPOSITORY}/pulls/{number}/merge").raise_for_status().json()
        assert source.latest().endswith(merged["sha"])


@needs_git
def test_the_queue_reads_the_repository_and_moves_its_green_branch(
    hosted: Hosted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # nobody answers there; loopback needs no proxy
    queue = forges_file.load(hosted.forge.configuration).queues[QUEUE]
    source = GitSourceControl(queue, tmp_path / "mirrors")
    head = source.latest()
    assert [one.title for one in source.history(limit=5).items] == ["Begin"]
    assert source.promote(head)
    assert hosted.branches()["green"] == hosted.branches()["main"]


@needs_git
def test_a_restarted_forge_sees_what_was_pushed_and_keeps_its_queue(tmp_path: Path) -> None:
    builds = tmp_path / "builds"
    with running_forge(tmp_path, builds=builds) as first:
        before = first.state.repository(REPOSITORY)
    folder = next((tmp_path / "git").glob("*.git"))
    sha = git_in(folder, "commit-tree", git_in(folder, "mktree"), "-m", "Beside it")
    git_in(folder, "update-ref", "refs/heads/main", sha)
    with running_forge(tmp_path, builds=builds) as second:
        found = second.state.repository(REPOSITORY)
        assert (found.id, found.branches) == (before.id, {"main": sha})
        assert list(forges_file.load(second.configuration).queues) == [QUEUE]


def test_without_git_commits_are_made_up_and_there_is_no_queue(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with running_forge(tmp_path / "forge", builds=tmp_path) as forge, client(forge, "person_alice") as calls:
        assert forges_file.load(forge.configuration).queues == {}
        calls.post("/orgs/acme/repos", json={"name": "app"}).raise_for_status()
        opened = calls.post("/repos/acme/app/pulls", json={"title": "Change", "head": "b", "base": "main"})
        assert calls.put(f"/repos/acme/app/pulls/{opened.json()['number']}/merge").json()["merged"]
        refs = httpx.get(f"{forge.url}/acme/app/info/refs", params={"service": UPLOAD})
        assert refs.status_code == httpx.codes.NOT_FOUND


@needs_git
def test_a_forge_that_has_lost_git_goes_on_without(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with running_forge(tmp_path, builds=tmp_path):
        monkeypatch.setenv("PATH", str(tmp_path))
    with running_forge(tmp_path, builds=tmp_path) as forge, client(forge, "person_alice") as calls:
        pull = {"title": "Change", "head": "b", "base": "main"}
        opened = calls.post(f"/repos/{REPOSITORY}/pulls", json=pull).raise_for_status().json()
        assert calls.put(f"/repos/{REPOSITORY}/pulls/{opened['number']}/merge").json()["merged"]
        assert "git clone" not in page(forge, f"/{REPOSITORY}")


def test_a_head_is_as_broken_as_the_share_of_its_files_that_do_not_compile(tmp_path: Path) -> None:
    tree, projects, outside = tmp_path / "tree", tmp_path / "projects.json", tmp_path / "outside"

    def check(**files: str) -> tuple[int, dict[str, float], str]:
        for name, text in files.items():
            (tree / "api" / f"{name}.py").write_text(text)
        command = [sys.executable, "-I", check_python.__file__]
        environment = {"PROJECTS_FILE": str(projects)}
        done = subprocess.run(command, cwd=tree, env=environment, capture_output=True, text=True, check=False)
        return done.returncode, json.loads(projects.read_text()), done.stdout

    (tree / "api").mkdir(parents=True)
    outside.mkdir()
    (outside / "secret.py").write_text("x = (")
    (tree / "api" / "file.py").symlink_to(outside / "secret.py")
    (tree / "folder").symlink_to(outside)
    assert check(fine="open('ran', 'w')\n", also="x = 1\n") == (0, {"api": 0.0}, "2 of 2 files compile.\n")
    code, degrees, output = check(broken="x = (1\n", nul="\0")
    assert (code, degrees) == (1, {"api": 0.5})
    assert "api/broken.py: '(' was never closed" in output
    assert not (tree / "ran").exists(), "nothing of it is run"
