"""Git on the command line: hostile names, servers that hang or ask, strangers' settings, many at once."""

import os
import socket
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from http.server import ThreadingHTTPServer
from pathlib import Path
from random import Random
from shutil import which

import psutil
import pytest
from dulwich.graph import can_fast_forward
from dulwich.objects import ObjectID
from dulwich.repo import Repo

from notify.domain.forge_settings import CommandRunner, QueueSettings
from notify.domain.head_ports import NotFound, SourceControlUnavailable
from notify.domain.heads import Head
from notify.vcs.commands import Git
from notify.vcs.git import GitSourceControl, location_of
from tests.support.http_server import QuietHandler, serving
from tests.support.remotes import GitRemote, needs_git

pytestmark = needs_git

MAIN = "refs/heads/main"


@pytest.fixture
def remote(tmp_path: Path) -> GitRemote:
    return GitRemote(tmp_path / "remote.git")


@pytest.fixture
def queue(remote: GitRemote) -> QueueSettings:
    return QueueSettings(
        name="main",
        forge="github",
        repository="acme/monorepo",
        ref=MAIN,
        remote=str(remote.folder),
        runner=CommandRunner(command=("true",)),
        promotion_ref="refs/heads/green",
    )


@pytest.fixture
def mirrors(tmp_path: Path) -> Path:
    return tmp_path / "mirrors"


@contextmanager
def silent_server() -> Iterator[int]:
    """Accepts connections, and says nothing."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


class AskingForPasswords(QuietHandler):
    def do_GET(self) -> None:
        self.send_response(401)
        self.send_header("WWW-Authenticate", 'Basic realm="code"')
        self.end_headers()


@contextmanager
def asking_server() -> Iterator[int]:
    with serving(server := ThreadingHTTPServer(("127.0.0.1", 0), AskingForPasswords)):
        yield server.server_port


@pytest.mark.parametrize(
    "name", ["--upload-pack=touch pwned", "-x", "a b'\"$(touch pwned)`touch pwned`", "ü/ナ", "%2e%2e/x", "HEAD", "@"]
)
def test_a_ref_with_a_hostile_name_is_a_name(remote: GitRemote, queue: QueueSettings, mirrors: Path, name: str) -> None:
    spelled = f"refs/heads/{name}".replace(" ", "_").replace("^", "_")
    sha = remote.commit("first")
    remote.point(spelled, sha)
    source = GitSourceControl(replace(queue, ref=spelled), mirrors)
    assert Head.parse(source.latest()) == Head(location_of(queue.remote), spelled, sha)
    assert source.change_info(source.latest()).sha == sha
    assert source.promote(source.latest())
    assert remote.ref("refs/heads/green") == sha
    assert not list(mirrors.rglob("pwned*"))


def test_a_ref_that_looks_like_an_option_is_not_taken_for_one(queue: QueueSettings, mirrors: Path) -> None:
    source = GitSourceControl(replace(queue, ref="--upload-pack=false"), mirrors)
    with pytest.raises(NotFound):
        source.latest()


def test_a_remote_that_looks_like_an_option_is_not_taken_for_one(queue: QueueSettings, mirrors: Path) -> None:
    source = GitSourceControl(replace(queue, remote="--upload-pack=touch pwned"), mirrors)
    with pytest.raises(SourceControlUnavailable):
        source.latest()
    assert not list(mirrors.rglob("pwned*"))


@pytest.mark.parametrize("remote_url", ["ext::sh -c 'touch pwned'", "fd::17"])
def test_only_protocols_that_fetch_are_allowed(queue: QueueSettings, mirrors: Path, remote_url: str) -> None:
    with pytest.raises(SourceControlUnavailable):
        GitSourceControl(replace(queue, remote=remote_url), mirrors).latest()
    assert not list(mirrors.rglob("pwned*"))


@pytest.mark.parametrize("scheme", ["git", "http"])
def test_a_server_that_hangs_ends_in_time_and_leaves_no_process(
    queue: QueueSettings, mirrors: Path, scheme: str
) -> None:
    with silent_server() as port:
        source = GitSourceControl(replace(queue, remote=f"{scheme}://127.0.0.1:{port}/repo.git"), mirrors, seconds=1)
        with pytest.raises(SourceControlUnavailable):
            source.latest()
        assert not [
            one for one in psutil.process_iter(["cmdline"]) if f":{port}/" in " ".join(one.info["cmdline"] or [])
        ]


def test_a_server_that_asks_for_a_password_gets_none_and_nobody_is_asked(queue: QueueSettings, mirrors: Path) -> None:
    with asking_server() as port:
        source = GitSourceControl(replace(queue, remote=f"http://someone@127.0.0.1:{port}/repo.git"), mirrors)
        with pytest.raises(SourceControlUnavailable) as refused:
            source.latest()
    assert "someone" not in str(refused.value)


def test_without_git_source_control_is_unavailable(
    queue: QueueSettings, mirrors: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SourceControlUnavailable):
        GitSourceControl(queue, mirrors).latest()


def test_the_callers_own_repository_is_left_alone(
    remote: GitRemote, queue: QueueSettings, mirrors: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    own = GitRemote(tmp_path / "own.git")
    remote.point(MAIN, remote.commit("first"))
    monkeypatch.setenv("GIT_DIR", str(own.folder))
    source = GitSourceControl(queue, mirrors)
    source.change_info(source.latest())
    monkeypatch.delenv("GIT_DIR")
    assert Git(own.folder, 10).run("for-each-ref").output == ""


def test_hooks_of_the_mirror_do_not_run(remote: GitRemote, queue: QueueSettings, mirrors: Path) -> None:
    remote.point(MAIN, remote.commit("first"))
    source = GitSourceControl(queue, mirrors)
    (mirror,) = {Path(source.latest()), *mirrors.iterdir()} - {Path(source.latest())}
    ran = mirror / "ran"
    for hook in ("reference-transaction", "pre-push"):
        file = mirror / "hooks" / hook
        file.parent.mkdir(exist_ok=True)
        file.write_text(f"#!{sys.executable}\nopen({str(ran)!r}, 'w')\n")
        file.chmod(0o700)
    assert source.promote(source.latest())
    assert not ran.exists()


def test_many_readers_share_one_mirror(remote: GitRemote, queue: QueueSettings, mirrors: Path) -> None:
    sha = remote.commit("first")
    remote.point(MAIN, sha)

    def read(_: int) -> str:
        source = GitSourceControl(queue, mirrors)
        return source.change_info(source.latest()).sha

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(read, range(16))) == {sha}
    assert len([one for one in mirrors.iterdir() if not one.name.startswith("unfinished-")]) == 1


def test_the_mirror_holds_no_secret_and_is_for_us_alone(remote: GitRemote, queue: QueueSettings, mirrors: Path) -> None:
    remote.point(MAIN, remote.commit("first"))
    GitSourceControl(queue, mirrors).latest()
    assert (mirrors.stat().st_mode & 0o777) == 0o700
    assert "remote" not in Git(next(mirrors.iterdir()), 10).run("config", "--list", "--local").output


def test_a_head_on_its_way_to_the_green_ref_asks_git_no_more_than_needed(
    remote: GitRemote, queue: QueueSettings, mirrors: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    first = remote.commit("first")
    remote.point(MAIN, first)
    source = GitSourceControl(queue, mirrors)
    green = source.latest()
    assert source.promote(green)
    asked = tmp_path / "asked"
    counting = tmp_path / "bin" / "git"
    counting.parent.mkdir()
    # Our commands only: git calls itself.
    counting.write_text(
        f'#!/bin/sh\ncase "$*" in *core.hooksPath*) echo "$*" >> {asked};; esac\nexec {which("git")} "$@"\n'
    )
    counting.chmod(0o700)
    remote.point(MAIN, remote.commit("second", first))
    with monkeypatch.context() as patch:
        patch.setenv("PATH", f"{counting.parent}:{os.environ['PATH']}")
        head = source.latest()
        assert source.is_ancestor(green, head)
        assert source.promote(head)
    assert remote.ref("refs/heads/green") == Head.parse(head).sha
    assert len(asked.read_text().splitlines()) <= 9


def test_another_implementation_of_git_agrees_on_ancestry(
    remote: GitRemote, queue: QueueSettings, mirrors: Path
) -> None:
    rng = Random(7)
    shas = [remote.commit("root")]
    for number in range(24):
        parents = rng.sample(shas, k=min(len(shas), rng.choice([0, 1, 1, 1, 2])))
        shas.append(remote.commit(f"commit {number}", *parents))
    # One commit that has all the others, so that all are fetched.
    remote.point(MAIN, remote.commit("all", *shas))
    source = GitSourceControl(queue, mirrors)
    head = Head.parse(source.latest())
    with Repo(os.fspath(remote.folder)) as other:
        for _ in range(60):
            older, newer = rng.choice(shas), rng.choice(shas)
            ours = source.is_ancestor(replace(head, sha=older).uri, replace(head, sha=newer).uri)
            assert ours == can_fast_forward(other, ObjectID(older.encode()), ObjectID(newer.encode())), (older, newer)


@pytest.mark.parametrize(
    ("url", "location"),
    [
        ("https://github.com/acme/monorepo.git", "github.com/acme/monorepo.git"),
        ("https://someone@github.com:8443/acme/monorepo.git", "github.com:8443/acme/monorepo.git"),
        ("ssh://git@github.com/acme/monorepo.git", "github.com/acme/monorepo.git"),
        ("git@github.com:acme/monorepo.git", "github.com/acme/monorepo.git"),
        ("file:///srv/git/monorepo.git", "localhost/srv/git/monorepo.git"),
        ("/srv/git/monorepo.git", "localhost/srv/git/monorepo.git"),
    ],
)
def test_a_head_is_located_by_host_and_path(url: str, location: str) -> None:
    assert location_of(url) == location
    head = Head(location, MAIN, "a" * 40)
    assert Head.parse(head.uri) == head
