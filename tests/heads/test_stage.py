"""The stage of heads on PostgreSQL: from a push to a verdict, with slots, mishaps and polls."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from structlog.testing import capture_logs

from notify.domain.claims import Lane
from notify.domain.head_ports import NotFound, RunnerRefused, RunnerUnavailable, SourceControlUnavailable
from notify.domain.heads import GREEN, WHOLE, BuildReport, BuildStatus, Request, RequestId, RequestState, Strategy
from notify.heads import told_builds
from notify.heads.ingest import InvalidQueueName, UnknownQueue
from notify.store.database import Database
from notify.store.heads import listing, requests
from notify.store.heads.requests import Requests
from tests.support.head_peers import MemoryReporter, MemoryRunner
from tests.support.queues import GREEN_REF, World, queue_settings, stage_of, world_of
from tests.support.remotes import MemorySourceControl

QUEUE = "monorepo/main"


def test_a_push_is_built_and_its_green_head_promoted(world: World) -> None:
    sha = world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    assert world.get(id_).state is RequestState.PROCESSING
    assert world.stores.queues.get(QUEUE).in_flight == {id_.number}
    world.end(id_)
    world.drain()
    assert world.get(id_).state is RequestState.SUCCEEDED
    assert world.stores.facts.get(QUEUE, world.get(id_).uri, WHOLE).degree == GREEN
    queue = world.stores.queues.get(QUEUE)
    assert (queue.last_green_request_id, queue.in_flight) == (id_.number, frozenset())
    assert world.remotes[QUEUE].ref(GREEN_REF) == sha
    assert world.items() == []


def test_a_descendant_of_a_green_head_is_built_incrementally(world: World) -> None:
    world.push()
    first = world.queues.ingest(QUEUE)
    world.drain()
    world.end(first)
    world.drain()
    world.push()
    second = world.queues.ingest(QUEUE)
    world.drain()
    assert (world.get(second).strategy, world.get(second).base_uri) == (Strategy.INCREMENTAL, world.get(first).uri)
    world.push(rewrite=True)
    third = world.queues.ingest(QUEUE)
    world.end(second)
    world.drain()
    world.drain()
    assert (world.get(third).strategy, world.get(third).base_uri) == (Strategy.FULL, None)


def test_a_queue_whose_remote_moves_is_validated_in_full(world: World) -> None:
    world.push()
    first = world.queues.ingest(QUEUE)
    world.drain()
    world.end(first)
    world.drain()
    world.queues.settings = {QUEUE: replace(world.queues.settings[QUEUE], remote="elsewhere")}
    second = world.queues.ingest(QUEUE)
    world.drain()
    world.end(second)
    world.drain()
    moved = world.get(second)
    assert (moved.strategy, moved.base_uri, moved.state) == (Strategy.FULL, None, RequestState.SUCCEEDED)
    assert world.stores.queues.get(QUEUE).last_green_uri == moved.uri


def test_a_hundred_that_take_in_one_head_make_one_request(database: Database) -> None:
    world = world_of(database, queue_settings())
    world.push()
    with ThreadPoolExecutor(10) as pool:
        ids = set(pool.map(lambda _: world.queues.ingest(QUEUE), range(100)))
    assert len(ids) == 1
    assert len(world.items()) == 1
    assert world.stores.queues.get(QUEUE).latest_request_id == next(iter(ids)).number


@pytest.mark.parametrize("name", ["", "-x", "a b", "q" * 101, "q\n"])
def test_what_is_no_queues_name_is_refused(world: World, name: str) -> None:
    with pytest.raises(InvalidQueueName):
        world.queues.ingest(name)


def test_a_queue_that_is_not_configured_is_refused_by_naming_those_that_are(world: World) -> None:
    with pytest.raises(UnknownQueue) as refused:
        world.queues.ingest("monorepo/next")
    assert refused.value.facts["known"] == QUEUE


def test_older_heads_give_way_to_the_newest(world: World) -> None:
    ids = []
    for _ in range(3):
        world.push()
        ids.append(world.queues.ingest(QUEUE))
    world.drain()
    assert [world.get(one).state for one in ids] == [
        RequestState.SUPERSEDED,
        RequestState.SUPERSEDED,
        RequestState.PROCESSING,
    ]
    assert len(world.items()) == 1


@pytest.mark.parametrize("most", [1, 2])
def test_no_more_are_built_at_a_time_than_the_queue_has_slots(database: Database, most: int) -> None:
    world = world_of(database, queue_settings(most=most))
    ids = []
    for _ in range(most + 1):
        world.push()
        ids.append(world.queues.ingest(QUEUE))
        world.drain()
    assert [world.get(one).state for one in ids] == [RequestState.PROCESSING] * most + [RequestState.ACCEPTED]
    world.end(ids[0])
    world.drain()
    # The slot that came free made the waiting request due.
    world.stage.drain()
    assert world.get(ids[-1]).state is RequestState.PROCESSING
    world.stage.stop()


class MeanwhileRequests(Requests):
    """Once, something else happens right after this request was read."""

    def __init__(self, database: Database, id_: RequestId, happens: Callable[[], None]) -> None:
        super().__init__(database)
        self.id, self.happens = id_, [happens]

    def get(self, id_: RequestId) -> Request:
        found = super().get(id_)
        if id_ == self.id and self.happens:
            self.happens.pop()()
        return found


def test_a_slot_that_comes_free_while_a_request_finds_none_wakes_it(world: World) -> None:
    ids = []
    for _ in range(2):
        world.push()
        ids.append(world.queues.ingest(QUEUE))
        world.drain()
    first, second = ids
    world.end(first)
    other = replace(world, stage=stage_of(world.database, world.queues, world.doorbell))
    # The second reads that the first has the slot; another worker brings the first to its end; then the second waits.
    looking = MeanwhileRequests(world.database, first, other.drain)
    world.queues.stores = replace(world.stores, requests=looking)
    with world.database.begin() as connection:
        requests.make_due(connection, second)
    world.stage.drain()
    assert world.get(first).state is RequestState.SUCCEEDED
    assert world.get(second).state is RequestState.ACCEPTED
    world.stage.drain()
    assert world.get(second).state is RequestState.PROCESSING
    other.stage.stop()


class TellingRunner(MemoryRunner):
    """Once asked, it says that the build runs, and reports its end before the answer arrives."""

    tell: Callable[[str], object]

    def report(self, build_id: str) -> BuildReport:
        self.tell(build_id)
        return BuildReport(status=BuildStatus.RUNNING)


def test_an_end_that_is_told_while_its_request_is_worked_on_is_heard_at_once(database: Database) -> None:
    runner = TellingRunner()
    world = world_of(database, queue_settings(), instead=runner)
    green = BuildReport(status=BuildStatus.SUCCESS)
    runner.tell = lambda build_id: told_builds.take_in(database, world.stores, QUEUE, build_id, green)
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.stage.drain()
    world.stage.drain()
    assert world.get(id_).state is RequestState.SUCCEEDED
    world.stage.stop()


def test_waiting_for_a_slot_or_a_build_is_no_failure(world: World) -> None:
    world.push()
    world.queues.ingest(QUEUE)
    world.drain()
    world.push()
    world.queues.ingest(QUEUE)
    for _ in range(3):
        world.drain()
    assert [(one["failures"], one["lane"]) for one in world.items()] == [(0, Lane.NORMAL)] * 2


def test_a_lost_build_is_no_verdict(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    world.runner.lose(world.runner.started[id_])
    world.drain()
    request = world.get(id_)
    assert (request.state, request.forced) == (RequestState.FAILED, True)
    assert world.stores.queues.get(QUEUE).in_flight == frozenset()
    with pytest.raises(NotFound):
        world.stores.facts.get(QUEUE, request.uri, WHOLE)
    assert world.items() == []


class AwayRunner:
    """A runner that does not answer."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def start(self, request: Request) -> str:  # noqa: ARG002 - the protocol's
        raise self.error

    def report(self, build_id: str) -> BuildReport:  # noqa: ARG002
        raise self.error

    def cancel(self, build_id: str) -> None:  # noqa: ARG002
        raise self.error


def with_runner(database: Database, runner: AwayRunner) -> World:
    world = world_of(database, queue_settings(), instead=runner)
    world.push()
    return world


@pytest.mark.parametrize("error", [RunnerUnavailable(), SourceControlUnavailable(), ZeroDivisionError()])
def test_a_request_that_meets_trouble_is_tried_again_and_fails_once_its_budget_is_spent(
    database: Database, error: Exception
) -> None:
    world = with_runner(database, AwayRunner(error))
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    (item,) = world.items()
    assert (item["failures"], item["lane"]) == (1, Lane.NORMAL)
    assert world.get(id_).state is RequestState.PROCESSING
    world.spend_budget()
    world.drain()
    request = world.get(id_)
    assert (request.state, request.forced) == (RequestState.FAILED, True)
    assert world.stores.queues.get(QUEUE).in_flight == frozenset()
    assert [end.facts for end in world.reporter.ends[id_]] == [frozenset()]


class DeafRunner(MemoryRunner):
    """A runner that starts builds, and raises this when it is asked about one; it cancels as it is told to."""

    def __init__(self, asked: Exception, *, cancelled: Exception | None = None) -> None:
        super().__init__()
        self.asked, self.cancelled = asked, cancelled

    def report(self, build_id: str) -> BuildReport:  # noqa: ARG002
        raise self.asked

    def cancel(self, build_id: str) -> None:
        if self.cancelled is not None:
            raise self.cancelled
        self.builds[build_id] = BuildReport(status=BuildStatus.CANCELLED)


def given_up(database: Database, runner: MemoryRunner, spent: Callable[[World], None]) -> tuple[World, Request]:
    """A request whose build was started, and which was closed without a verdict then."""
    world = world_of(database, queue_settings(), instead=runner)
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.stage.drain()
    spent(world)
    world.drain()
    request = world.get(id_)
    assert (request.state, request.forced) == (RequestState.FAILED, True)
    assert world.stores.queues.get(QUEUE).in_flight == frozenset()
    assert [end.state for end in world.reporter.ends[id_]] == [RequestState.FAILED]
    return world, request


@pytest.mark.parametrize(
    ("asked", "spent"),
    [
        (RunnerUnavailable(), World.spend_budget),
        (RunnerRefused(), lambda _: None),
        (RunnerUnavailable(), World.kill_twice),
    ],
)
def test_the_build_of_a_request_that_is_given_up_is_cancelled(
    database: Database, asked: Exception, spent: Callable[[World], None]
) -> None:
    runner = DeafRunner(asked)
    world, request = given_up(database, runner, spent)
    build = world.stores.builds.of_request(request.id)
    assert runner.builds[build.id].status is BuildStatus.CANCELLED
    assert build.status is BuildStatus.RUNNING, "nobody has said that it ended"
    with database.begin() as connection:
        shown = listing.request(connection, QUEUE, request.id.number)
    assert shown is not None
    assert (shown.build_id, shown.build_status) == (build.id, None)


@pytest.mark.parametrize("error", [RunnerUnavailable(), RunnerRefused(), NotFound(), ZeroDivisionError()])
def test_a_request_is_given_up_though_its_build_cannot_be_cancelled(database: Database, error: Exception) -> None:
    given_up(database, DeafRunner(RunnerUnavailable(), cancelled=error), World.spend_budget)


def test_a_build_that_has_ended_is_not_cancelled(database: Database) -> None:
    runner = DeafRunner(RunnerUnavailable())

    def told(world: World) -> None:
        (build,) = runner.builds
        report = BuildReport(status=BuildStatus.UNEXPECTED_ERROR)
        told_builds.take_in(database, world.stores, QUEUE, build, report)

    given_up(database, runner, told)
    assert [one.status for one in runner.builds.values()] == [BuildStatus.RUNNING]


def test_who_takes_over_from_a_worker_that_has_just_given_up_cancels_the_build(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    request = replace(world.get(id_), state=RequestState.FAILED, forced=True)
    world.stores.requests.update(request, old_version=request.version, new_version=request.version + 1)
    world.drain()
    assert world.runner.builds[world.runner.started[id_]].status is BuildStatus.CANCELLED
    assert world.items() == []


def test_a_runner_that_refuses_ends_the_request_at_once(database: Database) -> None:
    world = with_runner(database, AwayRunner(RunnerRefused()))
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    assert (world.get(id_).state, world.get(id_).forced) == (RequestState.FAILED, True)
    assert world.items() == []


def test_a_request_that_kills_its_workers_ends_unvalidated(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    world.kill_twice()
    world.stage.drain()
    assert (world.get(id_).state, world.get(id_).forced) == (RequestState.FAILED, True)
    assert world.stores.queues.get(QUEUE).in_flight == frozenset()


class PromotesNothing(MemorySourceControl):
    """A remote that may be read only."""

    def promote(self, uri: str) -> bool:
        raise SourceControlUnavailable(uri=uri)


def test_a_green_head_is_told_whether_or_not_it_can_be_promoted(database: Database) -> None:
    world = world_of(database, queue_settings(), source_of=PromotesNothing)
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    world.end(id_)
    world.drain()
    assert [end.state for end in world.reporter.ends[id_]] == [RequestState.SUCCEEDED]
    assert [(one["failures"], one["lane"]) for one in world.items()] == [(1, Lane.NORMAL)]
    world.spend_budget()
    with capture_logs() as logged:
        world.drain()
    assert logged == []
    assert world.get(id_).state is RequestState.SUCCEEDED
    assert [one["lane"] for one in world.items()] == [Lane.DEAD]


class Speechless(MemoryReporter):
    """A reporter that fails at the end of each request."""

    def ended(self, request: Request, **_: object) -> None:
        raise ZeroDivisionError(request)


@pytest.mark.parametrize("spent", [World.spend_budget, World.kill_twice])
def test_a_request_that_cannot_be_brought_to_its_end_stops_no_other(
    database: Database, spent: Callable[[World], None]
) -> None:
    queues = {"a": Speechless(), "b": MemoryReporter()}
    world = world_of(database, *map(queue_settings, queues), reporter_of=lambda queue, _: queues[queue.name])
    world.push("a")
    stuck = world.queues.ingest("a")
    world.drain()
    world.end(stuck)
    spent(world)
    world.push("b")
    world.queues.ingest("b")
    world.drain()
    assert [one["lane"] for one in world.items()] == [Lane.DEAD, Lane.NORMAL]
    assert world.stores.queues.get("a").in_flight == frozenset()
    world.stage.drain()


def test_without_queues_nothing_is_ever_due(database: Database) -> None:
    assert not world_of(database).stage.is_due()


def test_a_queue_that_is_no_longer_configured_is_left_for_later(world: World) -> None:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.queues.settings = {}
    world.drain()
    (item,) = world.items()
    assert (item["failures"], item["reason"]) == (1, "unknown_queue")
    assert world.get(id_).state is RequestState.ACCEPTED
