"""When a queue's ref is looked at, and what becomes of a look that fails or is never ended."""

from datetime import timedelta

from notify.domain.heads import RequestId, RequestState
from notify.store.database import Database
from notify.store.heads import polls
from tests.support.queues import MAIN, World, queue_settings, world_of

QUEUE = "monorepo/main"


def test_each_poll_takes_in_the_newest_head(database: Database) -> None:
    world = world_of(database, queue_settings(), poll=0)
    world.push()
    world.stage.drain()
    assert world.get(RequestId(QUEUE, 1)).state is RequestState.PROCESSING
    world.push()
    world.stage.drain()
    assert world.sha_of(RequestId(QUEUE, 2)) == world.remotes[QUEUE].ref(MAIN)


def test_a_queue_is_looked_at_once_an_interval_and_at_once_when_asked(world: World) -> None:
    world.push()
    assert world.stage.is_due()
    world.stage.drain()
    world.push()
    world.stage.drain()
    assert world.stores.queues.get(QUEUE).latest_request_id == 1
    with world.database.begin() as connection:
        polls.make_due(connection, [QUEUE])
    assert world.stage.is_due()
    world.stage.drain()
    assert world.stores.queues.get(QUEUE).latest_request_id == 2


def pass_a_minute(world: World) -> None:
    with world.database.begin() as connection:
        connection.exec_driver_sql("UPDATE notify.queue_polls SET due_at = due_at - interval '1 minute'")


def test_a_look_whose_worker_vanished_is_repeated_within_a_minute(world: World) -> None:
    world.push()
    with world.database.begin() as connection:
        polls.take(connection, [QUEUE], every=timedelta(hours=1))
    assert not world.stage.is_due()
    pass_a_minute(world)
    assert world.stage.is_due()
    world.stage.drain()
    assert world.stores.queues.get(QUEUE).latest_request_id == 1
    world.end(RequestId(QUEUE, 1))
    world.drain()
    pass_a_minute(world)
    assert not world.stage.is_due()


def test_a_push_during_a_look_has_the_ref_looked_at_again(world: World) -> None:
    world.push()
    with world.database.begin() as connection:
        (look,) = polls.take(connection, [QUEUE], every=timedelta(hours=1))
    with world.database.begin() as connection:
        polls.make_due(connection, [QUEUE])
    with world.database.begin() as connection:
        polls.note(connection, look, every=timedelta(hours=1), fault=None)
    assert world.stage.is_due()


def test_a_queue_that_cannot_be_looked_at_stops_no_other(database: Database) -> None:
    world = world_of(database, queue_settings("a"), queue_settings("b"))
    world.push("b")
    world.stage.drain()
    assert world.stores.queues.get("b").latest_request_id == 1
    with database.begin() as connection:
        (fault,) = polls.faults(connection)
        assert fault.queue == "a"
        polls.make_due(connection, ["a"])
    world.push("a")
    world.stage.drain()
    with database.begin() as connection:
        assert polls.faults(connection) == []
