"""What Prometheus is told of queues."""

from notify import checkpoints
from notify.api.metrics import OutboxCollector
from notify.domain.heads import BuildStatus, RequestId
from notify.store.database import Database
from notify.tally import Tally
from tests.support.queues import World, queue_settings, world_of

QUEUE = "monorepo/main"


def shown(world: World, family: str, *queues: str) -> dict[tuple[str, ...], float]:
    """The family's series that are not 0, by their labels."""
    return {labels[1:]: value for labels, value in samples(world, family, *queues).items() if value}


def samples(world: World, family: str, *queues: str) -> dict[tuple[str, ...], float]:
    """The family's samples, by their names and labels."""
    collected = OutboxCollector(world.database, queues=queues).collect()
    (found,) = [one for one in collected if one.name == family]
    return {(one.name.removeprefix(family), *one.labels.values()): one.value for one in found.samples}


def pushed(world: World) -> RequestId:
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    return id_


def age(world: World) -> None:
    """An hour passes."""
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE notify.requests SET created_at = created_at - interval '1 hour'")
        connection.exec_driver_sql("UPDATE notify.facts SET created_at = created_at - interval '1 hour'")


def hours(world: World) -> float:
    return round(shown(world, "notify_queue_last_green_age_seconds", QUEUE).get((QUEUE,), 0) / 3600, 1)


def test_a_queue_counts_from_its_last_green_head_unless_that_is_the_newest(world: World) -> None:
    assert hours(world) == 0
    first = pushed(world)
    age(world)
    assert hours(world) == 1
    world.end(first)
    world.drain()
    age(world)
    assert hours(world) == 0
    second = pushed(world)
    world.end(second, BuildStatus.FAILURE)
    world.drain()
    age(world)
    assert hours(world) == 2


def test_requests_are_counted_by_state_for_configured_queues_only(world: World) -> None:
    world.end(pushed(world))
    world.drain()
    world.end(pushed(world), BuildStatus.FAILURE)
    world.drain()
    world.runner.lose(world.runner.started[pushed(world)])
    world.drain()
    pushed(world)
    counted = {"succeeded": 1, "failed": 1, "forced": 1, "processing": 1}
    assert shown(world, "notify_requests", QUEUE) == {(QUEUE, state): count for state, count in counted.items()}
    assert shown(world, "notify_requests", "other/main") == {}


def test_each_verdict_is_timed_once_from_when_its_head_was_first_heard_of(world: World, tally: Tally) -> None:
    for status in (BuildStatus.SUCCESS, BuildStatus.SUCCESS, BuildStatus.FAILURE, BuildStatus.CANCELLED):
        id_ = pushed(world)
        age(world)
        world.end(id_, status)
        world.drain()
    world.runner.lose(world.runner.started[pushed(world)])
    world.drain()
    pushed(world)
    world.drain()
    tally.flush()
    found = samples(world, "notify_push_to_verdict_seconds", QUEUE)
    counts = {outcome: found["_count", QUEUE, outcome] for outcome in ("succeeded", "failed", "forced")}
    assert counts == {"succeeded": 2, "failed": 1, "forced": 1}
    assert found["_sum", QUEUE, "succeeded"] // 3600 == 2
    within = [found["_bucket", QUEUE, "failed", bound] for bound in ("900", "3600", "14400", "+Inf")]
    assert within == [0, 0, 1, 1]
    assert not [one for one in samples(world, "notify_push_to_verdict_seconds", "other/main").values() if one]


def test_a_request_that_no_worker_survives_is_timed_as_given_up(world: World, tally: Tally) -> None:
    pushed(world)
    with world.database.begin() as connection:
        connection.exec_driver_sql(
            "UPDATE notify.work_items SET lane = 8, lapses = 2, due_at = now() - interval '1 hour',"
            " leased_by = '00000000-0000-0000-0000-000000000001' WHERE stage = 'heads'"
        )
    world.stage.drain()
    tally.flush()
    found = samples(world, "notify_push_to_verdict_seconds", QUEUE)
    assert found["_count", QUEUE, "forced"] == 1


def test_a_worker_that_has_lost_its_lease_times_nothing(database: Database, tally: Tally) -> None:
    lost = iter([True])

    def lose_lease_once(step: str) -> None:
        if step == checkpoints.HEADS_TOLD and next(lost, False):
            with database.begin() as connection:
                connection.exec_driver_sql("UPDATE notify.work_items SET attempt = attempt + 1, lane = 1")

    world = world_of(database, queue_settings(), checkpoint=lose_lease_once, count=tally.count)
    world.end(pushed(world))
    for _ in range(2):
        world.drain()
    assert world.items() == []
    tally.flush()
    found = samples(world, "notify_push_to_verdict_seconds", QUEUE)
    assert found["_count", QUEUE, "succeeded"] == 1
    world.stage.stop()
