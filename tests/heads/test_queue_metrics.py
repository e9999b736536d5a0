"""What Prometheus is told of queues."""

from notify.api.metrics import OutboxCollector
from notify.domain.heads import BuildStatus, RequestId
from tests.support.queues import World

QUEUE = "monorepo/main"


def shown(world: World, family: str, *queues: str) -> dict[tuple[str, ...], float]:
    """The family's series that are not 0, by their labels."""
    collected = OutboxCollector(world.database, queues=queues).collect()
    (found,) = [one for one in collected if one.name == family]
    return {tuple(one.labels.values()): one.value for one in found.samples if one.value}


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
