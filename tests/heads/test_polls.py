"""When a queue's ref is looked at, and what becomes of a look that fails or is never ended."""

from datetime import timedelta
from threading import Barrier

from notify.domain.heads import RequestId, RequestState
from notify.heads.stage import THREADS
from notify.store.database import Database
from notify.store.heads import polls
from tests.support.queues import MAIN, World, queue_settings, world_of
from tests.support.remotes import MemoryRemote

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
        polls.take(connection, [QUEUE], every=timedelta(hours=1), most=8)
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
        (look,) = polls.take(connection, [QUEUE], every=timedelta(hours=1), most=8)
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


class MeetingRemote(MemoryRemote):
    """Its ref is read when as many others are read at the same time."""

    meeting: Barrier

    def ref(self, ref: str) -> str | None:
        self.meeting.wait()
        return super().ref(ref)


def test_a_ref_that_is_slow_to_read_delays_no_other(database: Database) -> None:
    names = [f"queue-{number}" for number in range(THREADS)]
    world = world_of(database, *map(queue_settings, names))
    meeting = Barrier(THREADS, timeout=20)
    for name in names:
        world.remotes[name] = remote = MeetingRemote()
        remote.meeting = meeting
        remote.point(MAIN, remote.commit("change"))
    world.stage.drain()
    assert {world.stores.queues.get(name).latest_request_id for name in names} == {1}
    world.stage.stop()


def test_workers_share_the_refs_that_are_to_be_looked_at(database: Database) -> None:
    names, hour = ["a", "b", "c", "d", "e"], timedelta(hours=1)
    with database.begin() as connection:
        assert len(polls.take(connection, names, every=hour, most=4)) == 4
        polls.make_due(connection, names)
    with database.begin() as one, database.begin() as other:
        ours, theirs = (polls.take(connection, names, every=hour, most=3) for connection in (one, other))
    assert [len(ours), len(theirs)] == [3, 2]
    assert sorted(look.queue for look in [*ours, *theirs]) == names
