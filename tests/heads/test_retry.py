"""A head of which nothing was found out is validated again by hand, as a new request; what went before is history."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import cast

import pytest

from notify import checkpoints
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import SourceControl, SourceControlUnavailable
from notify.domain.heads import BuildStatus, RequestId, RequestState
from notify.heads.ingest import UnknownQueue
from notify.heads.reading import history
from notify.heads.retry import (
    CannotRetry,
    HeadIsBroken,
    HeadIsGreen,
    NoRequest,
    NotTheHead,
    Superseded,
    UnderWay,
)
from notify.heads.steps import Steps
from notify.store.database import Database
from notify.store.heads import requests
from notify.store.heads.requests import Counters
from tests.support.head_peers import Killed
from tests.support.queues import MAIN, World, queue_settings, world_of
from tests.support.remotes import MemoryRemote, MemorySourceControl
from tests.support.told_heads import QUEUE, Story
from tests.support.wait import until

WAITS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
UNVALIDATED = [BuildStatus.UNEXPECTED_ERROR, BuildStatus.CANCELLED, BuildStatus.SKIPPED]


def ended(world: World, status: BuildStatus) -> RequestId:
    """The newest head's request, whose build ended so."""
    id_ = world.queues.ingest(QUEUE)
    return again(world, id_, status)


def again(world: World, id_: RequestId, status: BuildStatus) -> RequestId:
    world.drain()
    world.end(id_, status)
    world.drain()
    return id_


def stuck(world: World) -> RequestId:
    """A head that was pushed and could not be validated."""
    world.push()
    return ended(world, BuildStatus.UNEXPECTED_ERROR)


@pytest.mark.parametrize("status", UNVALIDATED)
def test_a_head_of_which_nothing_was_found_out_is_built_anew(world: World, status: BuildStatus) -> None:
    world.push()
    old = ended(world, status)
    before = world.get(old)
    new = world.queues.retry(QUEUE)
    assert new.number > old.number
    assert again(world, new, BuildStatus.SUCCESS) == world.queues.ingest(QUEUE)
    assert (world.get(new).state, world.get(new).uri) == (RequestState.SUCCEEDED, before.uri)
    assert world.get(old) == before
    assert world.runner.started[old] != world.runner.started[new]
    assert world.stores.builds.of_request(old).status is status
    queue = world.stores.queues.get(QUEUE)
    assert (queue.last_green_request_id, queue.in_flight) == (new.number, frozenset())
    (head,) = history(world.database, world.queues, QUEUE, cursor=None, limit=9).items
    assert (head.request_id, head.state, head.degree) == (new.number, "succeeded", 0)
    assert world.items() == []


@pytest.mark.parametrize(
    ("status", "why"),
    [(BuildStatus.SUCCESS, HeadIsGreen), (BuildStatus.FAILURE, HeadIsBroken), (BuildStatus.TIMED_OUT, HeadIsBroken)],
)
def test_a_verdict_stands(world: World, status: BuildStatus, why: type[CannotRetry]) -> None:
    world.push()
    ended(world, status)
    refused(world, why)


def test_a_request_that_is_under_way_is_named(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    assert refused(world, UnderWay).facts["request"] == id_
    world.drain()
    assert refused(world, UnderWay).facts["request"] == id_


def test_a_head_that_is_not_the_refs_any_more_is_not_retried(world: World) -> None:
    stuck(world)
    world.push()
    refused(world, NotTheHead)


def test_a_superseded_head_is_not_retried(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    request = replace(world.get(id_), state=RequestState.SUPERSEDED)
    world.stores.requests.update(request, old_version=1, new_version=2)
    refused(world, Superseded)


def test_a_queue_without_a_request_has_nothing_to_retry(world: World) -> None:
    refused(world, NoRequest)
    with pytest.raises(UnknownQueue):
        world.queues.retry("monorepo/next")


def test_each_refusal_has_a_sentence_of_its_own() -> None:
    refusals = (HeadIsGreen, HeadIsBroken, UnderWay, NotTheHead, Superseded, NoRequest)
    assert len({str(one()) for one in refusals}) == len(refusals)


def refused(world: World, why: type[CannotRetry]) -> CannotRetry:
    """Why no request was made."""
    before = known(world)
    with pytest.raises(why) as caught:
        world.queues.retry(QUEUE)
    assert known(world) == before
    return caught.value


def known(world: World) -> list[tuple[object, ...]]:
    """Every request, and which of them has a head."""
    with world.database.begin() as connection:
        rows = connection.exec_driver_sql(
            "SELECT request.*, claim.request_id FROM notify.requests AS request"
            " LEFT JOIN notify.request_uris AS claim USING (queue, uri) ORDER BY id"
        )
        return [tuple(row) for row in rows]


@dataclass
class Meanwhile:
    """Source control that once, before its answer arrives, lets something else happen."""

    source: MemorySourceControl
    happens: list[Callable[[], object]]

    def latest(self) -> str:
        found = self.source.latest()
        if self.happens:
            self.happens.pop()()
        return found

    def __getattr__(self, name: str) -> object:
        return getattr(self.source, name)


class MeanwhileCounters(Counters):
    """Once, something else happens right before a number is given."""

    def __init__(self, database: Database, happens: Callable[[], object]) -> None:
        super().__init__(database)
        self.happens = [happens]

    def next(self, queue: str, domain: str) -> int:
        if self.happens:
            self.happens.pop()()
        return super().next(queue, domain)


@pytest.fixture
def happens() -> list[Callable[[], object]]:
    """What happens while source control is asked for the head."""
    return []


@pytest.fixture
def slow(database: Database, happens: list[Callable[[], object]]) -> Iterator[World]:
    """A queue whose source control takes its time."""

    def source_of(queue: QueueSettings, remote: MemoryRemote) -> SourceControl:
        return cast("SourceControl", Meanwhile(MemorySourceControl(queue, remote), happens))

    made = world_of(database, queue_settings(), source_of=source_of)
    yield made
    made.stage.stop()


def test_without_source_control_nothing_is_stored(slow: World, happens: list[Callable[[], object]]) -> None:
    stuck(slow)
    before = known(slow)

    def fail() -> None:
        raise SourceControlUnavailable

    happens.append(fail)
    with pytest.raises(SourceControlUnavailable):
        slow.queues.retry(QUEUE)
    assert known(slow) == before


def test_a_head_that_is_taken_in_while_another_is_retried_stays_the_newest(
    slow: World, happens: list[Callable[[], object]]
) -> None:
    stuck(slow)

    def push() -> None:
        slow.push()
        slow.queues.ingest(QUEUE)

    happens.append(push)
    retried = slow.queues.retry(QUEUE)
    slow.drain()
    newest = slow.queues.ingest(QUEUE)
    assert newest.number > retried.number
    assert slow.get(retried).state is RequestState.SUPERSEDED
    assert slow.get(newest).state is RequestState.PROCESSING


def test_a_head_that_was_taken_in_a_moment_before_is_not_overtaken_by_a_retry(world: World) -> None:
    stuck(world)

    def push() -> None:
        world.push()
        world.queues.ingest(QUEUE)

    world.queues.stores = replace(world.stores, counters=MeanwhileCounters(world.database, push))
    with pytest.raises(NotTheHead):
        world.queues.retry(QUEUE)
    newest = world.queues.ingest(QUEUE)
    world.drain()
    assert world.get(newest).state is RequestState.PROCESSING


def test_of_two_operators_one_makes_the_request_and_both_get_its_id(
    slow: World, happens: list[Callable[[], object]]
) -> None:
    stuck(slow)
    won: list[RequestId] = []
    happens.append(lambda: won.append(slow.queues.retry(QUEUE)))
    assert [slow.queues.retry(QUEUE)] == won
    assert len(slow.items()) == 1


def test_however_many_retry_a_head_at_once_there_is_one_request(world: World) -> None:
    old = stuck(world)

    def retry(_: int) -> RequestId:
        try:
            return world.queues.retry(QUEUE)
        except UnderWay as refusal:
            return cast("RequestId", refusal.facts["request"])

    with ThreadPoolExecutor(10) as pool:
        ids = set(pool.map(retry, range(50)))
    assert len(ids) == 1
    assert {row[1] for row in known(world)} == {old.number, next(iter(ids)).number}


STEPS = (checkpoints.HEADS_NUMBERED, checkpoints.HEADS_URI_CLAIMED, checkpoints.HEADS_REQUEST_CREATED)


def die_at(point: str) -> Callable[[str], None]:
    def checkpoint(name: str) -> None:
        if name == point:
            raise Killed

    return checkpoint


@pytest.mark.parametrize("point", STEPS)
def test_a_retry_that_is_interrupted_is_completed_by_the_next(world: World, point: str) -> None:
    old = stuck(world)
    with pytest.raises(Killed):
        world.queues.retry(QUEUE, checkpoint=die_at(point))
    new = world.queues.retry(QUEUE)
    assert [world.get(one).uri for one in (old, new)] == [world.get(old).uri] * 2
    again(world, new, BuildStatus.SUCCESS)
    assert world.stores.queues.get(QUEUE).last_green_request_id == new.number
    assert len(known(world)) == 2


@pytest.mark.parametrize("point", STEPS[1:])
def test_a_retry_that_is_interrupted_is_completed_by_the_next_look_at_the_ref(world: World, point: str) -> None:
    old = stuck(world)
    with pytest.raises(Killed):
        world.queues.retry(QUEUE, checkpoint=die_at(point))
    new = world.queues.ingest(QUEUE)
    assert new != old
    again(world, new, BuildStatus.SUCCESS)
    assert world.get(new).state is RequestState.SUCCEEDED
    assert len(known(world)) == 2


def retried(story: Story, status: BuildStatus) -> RequestId:
    """The newest head, validated again with this end, and told of."""
    id_ = again(story.world, story.world.queues.retry(QUEUE), status)
    story.worker.fan_out()
    return id_


def test_the_commit_shows_that_its_head_is_validated_again_and_how_that_ends(story: Story) -> None:
    sha = story.push()
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    assert story.shown(sha) == (f"notify/{QUEUE}", "error")
    id_ = story.world.queues.retry(QUEUE)
    story.world.drain()
    assert story.shown(sha) == (f"notify/{QUEUE}", "pending")
    again(story.world, id_, BuildStatus.SUCCESS)
    assert story.shown(sha) == (f"notify/{QUEUE}", "success")


@pytest.mark.parametrize("status", [BuildStatus.UNEXPECTED_ERROR, BuildStatus.CANCELLED])
def test_who_finishes_the_old_request_late_shows_nothing_over_the_new_one(story: Story, status: BuildStatus) -> None:
    sha = story.push()
    old = story.validate(status)
    retried(story, BuildStatus.SUCCESS)
    assert steps_of(story).advance(story.world.get(old)) is None
    assert story.shown(sha) == (f"notify/{QUEUE}", "success")


def test_a_retry_waits_for_who_shows_the_end_of_the_old_request(story: Story) -> None:
    story.push()
    old = story.world.get(story.validate(BuildStatus.UNEXPECTED_ERROR))
    with ThreadPoolExecutor(1) as pool:
        with story.world.database.begin() as connection:
            assert requests.has_head(connection, old)
            retrying = pool.submit(story.world.queues.retry, QUEUE)
            until(lambda: retrying.done() or story.worker.execute(WAITS))
            assert not retrying.done()
        assert retrying.result().number > old.id.number
    with story.world.database.begin() as connection:
        assert not requests.has_head(connection, old)


def test_a_retried_head_that_is_broken_is_told_like_any_other(story: Story) -> None:
    story.push(author="dana")
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    assert story.became(retried(story, BuildStatus.FAILURE)) == {"dana": "author", "sam": "subscriber"}
    story.push(author="bob")
    assert story.became(story.validate(BuildStatus.SUCCESS)) == {"dana": "author", "sam": "subscriber"}


def test_a_retried_head_that_is_green_is_told_as_a_recovery_only_after_a_broken_one(story: Story) -> None:
    story.push(author="dana")
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    retried(story, BuildStatus.SUCCESS)
    assert story.told() == [("request.stuck", "olga", "operator")]
    story.push(author="dana")
    story.validate(BuildStatus.FAILURE)
    story.push(author="bob")
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    assert story.became(retried(story, BuildStatus.SUCCESS)) == {"dana": "author", "sam": "subscriber"}
    assert story.told()[-1][0] == "head.recovered"


def test_a_head_that_cannot_be_validated_again_either_is_told_again(story: Story) -> None:
    sha = story.push()
    story.validate(BuildStatus.UNEXPECTED_ERROR)
    retried(story, BuildStatus.UNEXPECTED_ERROR)
    assert story.told() == [("request.stuck", "olga", "operator")] * 2
    assert story.shown(sha) == (f"notify/{QUEUE}", "error")
    retried(story, BuildStatus.SUCCESS)
    assert story.shown(sha) == (f"notify/{QUEUE}", "success")


def steps_of(story: Story) -> Steps:
    """What another worker of the queue has."""
    return story.world.queues.steps(QUEUE, freed=lambda _: None, checkpoint=lambda _: None)


@pytest.mark.parametrize("status", UNVALIDATED)
def test_a_head_of_which_nothing_is_known_is_validated_anew_when_the_ref_comes_back_to_it(
    world: World, status: BuildStatus
) -> None:
    sha = world.push()
    first = ended(world, status)
    assert world.queues.ingest(QUEUE) == first
    world.push()
    second = ended(world, BuildStatus.FAILURE)
    world.remotes[QUEUE].point(MAIN, sha)
    third = ended(world, BuildStatus.SUCCESS)
    assert world.queues.ingest(QUEUE) == third
    assert third.number > second.number > first.number
    assert world.get(third).state is RequestState.SUCCEEDED


def superseded_and_back(world: World) -> tuple[RequestId, RequestId]:
    """A head that gave way to another, and the ref is at it again; both requests."""
    sha = world.push()
    first = world.queues.ingest(QUEUE)
    world.push()
    second = ended(world, BuildStatus.SUCCESS)
    world.remotes[QUEUE].point(MAIN, sha)
    return first, second


def test_a_superseded_head_that_the_ref_comes_back_to_is_validated(world: World) -> None:
    first, second = superseded_and_back(world)
    third = world.queues.ingest(QUEUE)
    assert third.number > second.number
    assert world.queues.ingest(QUEUE) == third
    again(world, third, BuildStatus.SUCCESS)
    assert [world.get(one).state for one in (first, third)] == [RequestState.SUPERSEDED, RequestState.SUCCEEDED]
    assert world.stores.queues.get(QUEUE).last_green_uri == world.get(first).uri


def test_a_head_that_gave_way_to_an_older_one_is_validated_after_the_next_look(
    slow: World, happens: list[Callable[[], object]]
) -> None:
    def push() -> None:
        slow.push()
        slow.queues.ingest(QUEUE)

    slow.push()
    happens.append(push)
    late = slow.queues.ingest(QUEUE)
    slow.drain()
    newest = slow.queues.ingest(QUEUE)
    slow.end(late)
    slow.drain()
    again(slow, newest, BuildStatus.SUCCESS)
    assert slow.stores.queues.get(QUEUE).last_green_request_id == newest.number > late.number
    assert slow.get(newest).uri == slow.queues.source(QUEUE).latest()


def test_who_finishes_a_superseded_request_late_shows_nothing_over_the_new_one(story: Story) -> None:
    first, _ = superseded_and_back(story.world)
    again(story.world, story.world.queues.ingest(QUEUE), BuildStatus.SUCCESS)
    request = story.world.get(first)
    assert steps_of(story).advance(request) is None
    assert story.shown(request.uri.rpartition("/")[2]) == (f"notify/{QUEUE}", "success")
