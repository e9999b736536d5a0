"""The contract of source control: what a queue's history is, on git and in memory."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from notify.domain.forge_settings import CommandRunner, QueueSettings
from notify.domain.head_ports import NotFound, SourceControl
from notify.domain.heads import Head, InvalidUri
from notify.vcs.git import GitSourceControl
from tests.support.remotes import GitRemote, MemoryRemote, MemorySourceControl, Remote, needs_git

MAIN, GREEN = "refs/heads/main", "refs/heads/green"
NOWHERE = "0" * 39 + "1"
QUEUE = QueueSettings(
    name="main",
    forge="github",
    repository="acme/monorepo",
    ref=MAIN,
    remote="memory",
    runner=CommandRunner(command=("true",)),
    promotion_ref=GREEN,
)


@dataclass(frozen=True, slots=True)
class World:
    """A remote, and a source control that reads it; ``control`` makes one for another queue of the same remote."""

    remote: Remote
    control: Callable[[QueueSettings], SourceControl]
    queue: QueueSettings

    @property
    def source(self) -> SourceControl:
        return self.control(self.queue)

    def push(self, title: str, *parents: str, ref: str = MAIN) -> str:
        """Commit, and move the ref there; the sha."""
        sha = self.remote.commit(title, *parents)
        self.remote.point(ref, sha)
        return sha

    def uri(self, sha: str) -> str:
        return replace(Head.parse(self.source.latest()), sha=sha).uri


@pytest.fixture(params=[pytest.param("git", marks=needs_git), "memory"])
def world(request: pytest.FixtureRequest, tmp_path: Path) -> World:
    if request.param == "memory":
        memory = MemoryRemote()
        return World(memory, lambda queue: MemorySourceControl(queue, memory), QUEUE)
    remote = GitRemote(tmp_path / "remote.git")
    queue = replace(QUEUE, remote=str(remote.folder))
    return World(remote, lambda queue: GitSourceControl(queue, tmp_path / "mirrors"), queue)


def test_the_latest_head_is_the_refs_commit(world: World) -> None:
    first = world.push("first")
    assert Head.parse(world.source.latest()).sha == first
    second = world.push("second", first)
    assert Head.parse(world.source.latest()).sha == second
    assert Head.parse(world.source.latest()).ref == MAIN


def test_a_ref_that_is_not_there_has_no_head(world: World) -> None:
    world.push("elsewhere", ref="refs/heads/other")
    world.push("a name that ends the same", ref="refs/heads/copy/refs/heads/main")
    with pytest.raises(NotFound):
        world.source.latest()
    with pytest.raises(NotFound):
        world.source.history(limit=1)


def test_a_force_push_is_seen(world: World) -> None:
    first = world.push("first")
    world.push("second", first)
    assert world.source.latest()
    rewritten = world.push("rewritten")
    assert Head.parse(world.source.latest()).sha == rewritten


def test_a_commit_descends_from_those_before_it_and_from_itself(world: World) -> None:
    first = world.push("first")
    side = world.remote.commit("side", first)
    second = world.push("second", first)
    merged = world.push("merge", second, side)
    source, uri = world.source, world.uri
    assert source.is_ancestor(uri(first), uri(merged))
    assert source.is_ancestor(uri(side), uri(merged))
    assert source.is_ancestor(uri(merged), uri(merged))
    assert not source.is_ancestor(uri(merged), uri(first))
    assert not source.is_ancestor(uri(side), uri(second))


def test_what_was_rewritten_away_is_no_ancestor(world: World) -> None:
    first = world.push("first")
    old = world.push("old", first)
    assert world.source.is_ancestor(world.uri(first), world.uri(old))
    new = world.push("new", first)
    assert not world.source.is_ancestor(world.uri(old), world.uri(new))
    assert not world.source.is_ancestor(world.uri(NOWHERE), world.uri(new))


def test_a_descendant_that_does_not_exist_is_not_found(world: World) -> None:
    first = world.push("first")
    with pytest.raises(NotFound):
        world.source.is_ancestor(world.uri(first), world.uri(NOWHERE))
    with pytest.raises(NotFound):
        world.source.change_info(world.uri(NOWHERE))
    with pytest.raises(NotFound):
        world.source.promote(world.uri(NOWHERE))


def test_history_is_read_in_pages_newest_first(world: World) -> None:
    shas: list[str] = []
    for number in range(5):
        shas.append(world.push(f"commit {number}", *shas[-1:]))
    first = world.source.history(limit=2)
    second = world.source.history(first.next_cursor, limit=2)
    world.push("later", shas[-1])
    third = world.source.history(second.next_cursor, limit=2)
    assert [one.sha for page in (first, second, third) for one in page.items] == shas[::-1]
    assert third.next_cursor is None


def test_a_page_that_ends_with_the_oldest_commit_is_the_last(world: World) -> None:
    first = world.push("first")
    world.push("second", first)
    assert world.source.history(limit=2).next_cursor is None


def test_history_follows_what_the_heads_were(world: World) -> None:
    first = world.push("first")
    side = world.remote.commit("on a branch", first)
    merged = world.push("merge", first, side)
    assert [one.sha for one in world.source.history(limit=9).items] == [merged, first]


def test_a_range_holds_the_head_and_not_its_base(world: World) -> None:
    first = world.push("first")
    second = world.push("second", first)
    third = world.push("third", second)
    source, uri = world.source, world.uri
    assert [one.sha for one in source.between(uri(first), uri(third), limit=9)] == [third, second]
    assert [one.sha for one in source.between(uri(first), uri(third), limit=1)] == [third]
    assert [one.sha for one in source.between(None, uri(third), limit=9)] == [third]
    with pytest.raises(NotFound):
        source.between(uri(NOWHERE), uri(third), limit=9)


def test_a_commit_says_who_made_it(world: World) -> None:
    sha = world.remote.commit("Cap the \u2028retry", author="Øyvind Ås", email="oyvind@example.com")
    world.remote.point(MAIN, sha)
    found = world.source.change_info(world.uri(sha))
    assert (found.sha, found.uri) == (sha, world.uri(sha))
    assert (found.author_name, found.author_email) == ("Øyvind Ås", "oyvind@example.com")
    assert found.title == "Cap the \u2028retry"
    assert found.committed_at.tzinfo is not None


def test_a_green_head_is_promoted_as_often_as_one_likes(world: World) -> None:
    first = world.push("first")
    assert world.source.promote(world.uri(first))
    assert world.source.promote(world.uri(first))
    assert world.remote.ref(GREEN) == first


def test_the_promoted_ref_never_moves_back(world: World) -> None:
    first = world.push("first")
    second = world.push("second", first)
    assert world.source.promote(world.uri(second))
    assert world.source.promote(world.uri(first))
    assert world.remote.ref(GREEN) == second


def test_what_was_rewritten_away_is_not_promoted(world: World) -> None:
    first = world.push("first")
    old = world.push("old", first)
    assert world.source.change_info(world.uri(old)).sha == old
    world.push("new", first)
    assert not world.source.promote(world.uri(old))
    assert world.remote.ref(GREEN) is None


def test_the_promoted_ref_follows_rewritten_history(world: World) -> None:
    first = world.push("first")
    old = world.push("old", first)
    assert world.source.promote(world.uri(old))
    new = world.push("new", first)
    assert world.source.promote(world.uri(new))
    assert world.remote.ref(GREEN) == new


def test_without_a_promotion_ref_nothing_is_promoted(world: World) -> None:
    first = world.push("first")
    assert not world.control(replace(world.queue, promotion_ref=None)).promote(world.uri(first))


def test_a_queue_understands_only_uris_of_its_own(world: World) -> None:
    first = world.push("first")
    head = Head.parse(world.uri(first))
    for other in (replace(head, ref="refs/heads/other"), replace(head, remote="elsewhere/repo")):
        with pytest.raises(InvalidUri):
            world.source.change_info(other.uri)
    with pytest.raises(InvalidUri):
        world.source.is_ancestor(first, first)
