"""The contract of the stores of heads: create, get, compare and set, on PostgreSQL and in memory."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from notify import wiring
from notify.domain.head_ports import AlreadyExists, NotFound, Stores, VersionMismatch
from notify.domain.heads import (
    Build,
    BuildStatus,
    Fact,
    ProjectResult,
    Queue,
    Request,
    RequestId,
    RequestState,
    Strategy,
)
from tests.support.head_stores import in_memory

MAIN, OTHER = "monorepo/main", "monorepo/next"
URI = f"git://host/repo/refs%2Fheads%2Fmain/{'a' * 40}"
FIRST = Request(id=RequestId(MAIN, 1), uri=URI)
BUILD = Build(id="b-1", request=FIRST.id)
FACT = Fact(queue=MAIN, uri=URI, project="", degree=0.25, request=FIRST.id)
CALLERS = 8


@pytest.fixture(params=["postgresql", "in memory"])
def stores(request: pytest.FixtureRequest) -> Stores:
    if request.param == "in memory":
        return in_memory()
    return wiring.head_stores(request.getfixturevalue("database"))


def test_a_request_is_read_as_it_was_created(stores: Stores) -> None:
    request = replace(FIRST, strategy=Strategy.INCREMENTAL, base_uri="git://base")
    stores.requests.create(request)
    assert stores.requests.get(FIRST.id) == request


def test_a_request_is_created_once(stores: Stores) -> None:
    stores.requests.create(FIRST)
    with pytest.raises(AlreadyExists):
        stores.requests.create(replace(FIRST, uri="git://another"))
    assert stores.requests.get(FIRST.id) == FIRST


def test_a_request_that_is_not_there_is_not_found(stores: Stores) -> None:
    stores.requests.create(FIRST)
    for id_ in (RequestId(MAIN, 2), RequestId(OTHER, 1)):
        with pytest.raises(NotFound):
            stores.requests.get(id_)


def test_a_request_is_written_by_who_has_read_its_version(stores: Stores) -> None:
    stores.requests.create(FIRST)
    stores.requests.update(replace(FIRST, state=RequestState.PROCESSING), old_version=1, new_version=2)
    assert stores.requests.get(FIRST.id) == replace(FIRST, state=RequestState.PROCESSING, version=2)
    stores.requests.update(replace(FIRST, state=RequestState.FAILED), old_version=2, new_version=3)
    assert stores.requests.get(FIRST.id) == replace(FIRST, state=RequestState.FAILED, version=3)


def test_a_stale_version_writes_nothing(stores: Stores) -> None:
    stores.requests.create(FIRST)
    stores.requests.update(replace(FIRST, state=RequestState.PROCESSING), old_version=1, new_version=2)
    with pytest.raises(VersionMismatch):
        stores.requests.update(replace(FIRST, state=RequestState.CANCELLED), old_version=1, new_version=2)
    assert stores.requests.get(FIRST.id).state is RequestState.PROCESSING


def test_a_request_that_is_not_there_is_not_written(stores: Stores) -> None:
    with pytest.raises(VersionMismatch):
        stores.requests.update(FIRST, old_version=1, new_version=2)
    with pytest.raises(NotFound):
        stores.requests.get(FIRST.id)


def test_a_uri_leads_to_the_request_that_claimed_it(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)
    assert stores.uris.get_id_by_uri(MAIN, URI) == FIRST.id


def test_a_uri_is_claimed_once(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)
    with pytest.raises(AlreadyExists):
        stores.uris.create(MAIN, URI, RequestId(MAIN, 2))
    assert stores.uris.get_id_by_uri(MAIN, URI) == FIRST.id


def test_a_uri_moves_to_another_request(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)
    stores.uris.create(OTHER, URI, RequestId(OTHER, 1))
    stores.uris.move(MAIN, URI, old=FIRST.id, new=RequestId(MAIN, 2))
    assert stores.uris.get_id_by_uri(MAIN, URI) == RequestId(MAIN, 2)
    assert stores.uris.get_id_by_uri(OTHER, URI) == RequestId(OTHER, 1)


def test_a_uri_that_another_request_has_claimed_does_not_move(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)
    with pytest.raises(VersionMismatch):
        stores.uris.move(MAIN, URI, old=RequestId(MAIN, 2), new=RequestId(MAIN, 3))
    assert stores.uris.get_id_by_uri(MAIN, URI) == FIRST.id


def test_a_uri_that_nobody_claimed_does_not_move(stores: Stores) -> None:
    stores.uris.create(OTHER, URI, RequestId(OTHER, 1))
    with pytest.raises(VersionMismatch):
        stores.uris.move(MAIN, URI, old=FIRST.id, new=RequestId(MAIN, 2))
    with pytest.raises(NotFound):
        stores.uris.get_id_by_uri(MAIN, URI)


def test_a_uri_may_be_claimed_before_its_request_is_there(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)
    with pytest.raises(NotFound):
        stores.requests.get(FIRST.id)


def test_a_uri_that_nobody_claimed_is_not_found(stores: Stores) -> None:
    with pytest.raises(NotFound):
        stores.uris.get_id_by_uri(MAIN, URI)


def test_queues_share_nothing(stores: Stores) -> None:
    twin = Request(id=RequestId(OTHER, 1), uri=URI)
    for one in (FIRST, twin):
        stores.requests.create(one)
        stores.uris.create(one.id.queue, URI, one.id)
        stores.builds.create(replace(BUILD, request=one.id))
        stores.facts.create(replace(FACT, queue=one.id.queue, request=one.id))
        assert stores.counters.next(one.id.queue, "request") == 1
    stores.queues.update(Queue(name=OTHER, latest_request_id=1), old_version=0, new_version=1)
    stores.requests.update(replace(twin, state=RequestState.FAILED), old_version=1, new_version=2)
    assert stores.requests.get(FIRST.id) == FIRST
    assert stores.uris.get_id_by_uri(OTHER, URI) == twin.id
    assert stores.queues.get(MAIN) == Queue(name=MAIN)
    assert stores.builds.of_request(twin.id).request == twin.id


def test_a_queue_that_was_never_written_is_empty(stores: Stores) -> None:
    assert stores.queues.get(MAIN) == Queue(name=MAIN, version=0)


def test_a_queue_is_read_as_it_was_written(stores: Stores) -> None:
    queue = Queue(
        name=MAIN, last_green_uri=URI, last_green_request_id=3, in_flight=frozenset({4, 5}), latest_request_id=5
    )
    stores.queues.update(queue, old_version=0, new_version=1)
    assert stores.queues.get(MAIN) == replace(queue, version=1)
    stores.queues.update(replace(queue, in_flight=frozenset()), old_version=1, new_version=2)
    assert stores.queues.get(MAIN) == replace(queue, in_flight=frozenset(), version=2)


@pytest.mark.parametrize("stale", [0, 2])
def test_a_queue_is_not_written_over_another_version(stores: Stores, stale: int) -> None:
    stores.queues.update(Queue(name=MAIN, latest_request_id=1), old_version=0, new_version=1)
    with pytest.raises(VersionMismatch):
        stores.queues.update(Queue(name=MAIN, latest_request_id=9), old_version=stale, new_version=3)
    assert stores.queues.get(MAIN).latest_request_id == 1


def test_a_queue_that_is_not_there_is_only_created(stores: Stores) -> None:
    with pytest.raises(VersionMismatch):
        stores.queues.update(Queue(name=MAIN), old_version=1, new_version=2)
    assert stores.queues.get(MAIN).version == 0


def test_a_build_is_found_by_its_id_and_by_its_request(stores: Stores) -> None:
    build = replace(BUILD, url="https://ci.example/1", projects=(ProjectResult("api", 0.5), ProjectResult("web", 0)))
    stores.builds.create(build)
    assert stores.builds.get(MAIN, "b-1") == build == stores.builds.of_request(FIRST.id)


@pytest.mark.parametrize("twin", [replace(BUILD, id="b-2"), replace(BUILD, request=RequestId(MAIN, 2))])
def test_a_request_has_one_build_and_a_build_one_request(stores: Stores, twin: Build) -> None:
    stores.builds.create(BUILD)
    with pytest.raises(AlreadyExists):
        stores.builds.create(twin)
    assert stores.builds.of_request(FIRST.id) == BUILD


def test_a_build_that_is_not_there_is_neither_found_nor_written(stores: Stores) -> None:
    with pytest.raises(NotFound):
        stores.builds.get(MAIN, "b-1")
    with pytest.raises(NotFound):
        stores.builds.of_request(FIRST.id)
    with pytest.raises(VersionMismatch):
        stores.builds.update(BUILD, old_version=1, new_version=2)


def test_a_builds_end_is_written_once(stores: Stores) -> None:
    stores.builds.create(BUILD)
    stores.builds.update(replace(BUILD, status=BuildStatus.SUCCESS), old_version=1, new_version=2)
    with pytest.raises(VersionMismatch):
        stores.builds.update(replace(BUILD, status=BuildStatus.FAILURE), old_version=1, new_version=2)
    assert stores.builds.get(MAIN, "b-1") == replace(BUILD, status=BuildStatus.SUCCESS, version=2)


def test_a_fact_is_read_as_it_was_written(stores: Stores) -> None:
    stores.facts.create(FACT)
    found = stores.facts.get(MAIN, URI, "")
    assert replace(found, created_at=None) == FACT


def test_a_fact_may_be_written_again_by_its_request_and_never_changes(stores: Stores) -> None:
    stores.facts.create(FACT)
    stores.facts.create(replace(FACT, degree=1.0))
    assert stores.facts.get(MAIN, URI, "").degree == 0.25


def test_another_request_cannot_write_a_fact_over_the_first(stores: Stores) -> None:
    stores.facts.create(FACT)
    with pytest.raises(AlreadyExists):
        stores.facts.create(replace(FACT, degree=0.0, request=RequestId(MAIN, 2)))
    assert stores.facts.get(MAIN, URI, "").request == FIRST.id


def test_what_is_not_recorded_is_not_green(stores: Stores) -> None:
    stores.facts.create(replace(FACT, project="api", degree=0.0))
    with pytest.raises(NotFound):
        stores.facts.get(MAIN, URI, "")


def test_each_value_of_a_counter_is_given_once(stores: Stores) -> None:
    with ThreadPoolExecutor(CALLERS) as pool:
        given = list(pool.map(lambda _: stores.counters.next(MAIN, "request"), range(5 * CALLERS)))
    assert sorted(given) == list(range(1, 5 * CALLERS + 1))
    assert stores.counters.next(MAIN, "another") == 1


def test_of_many_that_claim_one_head_one_wins(stores: Stores) -> None:
    def claim(number: int) -> int | None:
        try:
            stores.uris.create(MAIN, URI, RequestId(MAIN, number))
        except AlreadyExists:
            return None
        return number

    with ThreadPoolExecutor(CALLERS) as pool:
        winners = [one for one in pool.map(claim, range(1, 4 * CALLERS)) if one is not None]
    assert [stores.uris.get_id_by_uri(MAIN, URI).number] == winners


def test_of_many_that_move_one_claim_one_wins(stores: Stores) -> None:
    stores.uris.create(MAIN, URI, FIRST.id)

    def move(number: int) -> int | None:
        try:
            stores.uris.move(MAIN, URI, old=FIRST.id, new=RequestId(MAIN, number))
        except VersionMismatch:
            return None
        return number

    with ThreadPoolExecutor(CALLERS) as pool:
        winners = [one for one in pool.map(move, range(2, 4 * CALLERS)) if one is not None]
    assert [stores.uris.get_id_by_uri(MAIN, URI).number] == winners


def test_of_many_that_set_one_version_one_wins(stores: Stores) -> None:
    stores.requests.create(FIRST)

    def finish(state: RequestState) -> bool:
        try:
            stores.requests.update(replace(FIRST, state=state), old_version=1, new_version=2)
        except VersionMismatch:
            return False
        return True

    states = [RequestState.SUCCEEDED, RequestState.FAILED, RequestState.CANCELLED] * 4
    with ThreadPoolExecutor(CALLERS) as pool:
        won = [state for state, wrote in zip(states, pool.map(finish, states), strict=True) if wrote]
    assert [stores.requests.get(FIRST.id).state] == won
