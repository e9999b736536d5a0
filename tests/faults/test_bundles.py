"""What is said in a hurry on one change list arrives in few emails, in order, whatever happens meanwhile."""

from pathlib import Path

import pytest
import redis

from notify import wiring
from notify.checkpoints import CRASH_AT, EMAIL_ANSWERED, RECORD_WRITTEN
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from tests.support.scene import Scene
from tests.support.wait import until

TALKERS = ("bob", "carol", "dana")
FORTY = 40
TEN = 10
POINTS = (EMAIL_ANSWERED, pytest.param(RECORD_WRITTEN, marks=pytest.mark.slow))
LEASES_END = """
    UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8
"""
FANNED_OUT = "SELECT event_id FROM notify.notifications WHERE decision = 'told' ORDER BY id"


def test_forty_comments_by_three_people_are_at_most_three_emails_in_order_when_a_worker_is_killed(
    scene: Scene,
) -> None:
    scene.environment["NOTIFY_BUNDLE_SECONDS"] = "2"
    scene.producer.employ(["ann", *TALKERS])
    with scene.loner(), scene.loner() as doomed:
        for number in range(FORTY):
            scene.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
            if number == TEN:
                until(lambda: scene.relay.letters)
                doomed.kill()
        scene.until_all_ended()
    assert_forty_in_few_emails(scene)
    scene.check(bound=1)


def test_forty_comments_are_at_most_three_emails_in_order_when_workers_are_killed_and_redis_is_emptied(
    scene: Scene, tmp_path: Path
) -> None:
    with ValkeyServer(tmp_path / "broker") as server, redis.Redis.from_url(server.url) as broker:
        scene.environment |= {"NOTIFY_BUNDLE_SECONDS": "5", "NOTIFY_BROKER_URL": server.url}
        scene.producer.doorbell = wiring.doorbell(Settings(broker_url=server.url))
        scene.producer.employ(["ann", *TALKERS])
        with scene.worker() as running:
            for number in range(FORTY):
                scene.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
                if number == TEN:
                    until(lambda: scene.relay.letters)
                if number in {TEN, 2 * TEN, 3 * TEN}:
                    broker.flushall()
                    running.kill_one_child()
            scene.until_all_ended()
            running.vanish()
    assert_forty_in_few_emails(scene)
    scene.check(bound=3)


@pytest.mark.parametrize("point", POINTS)
def test_a_bundle_whose_worker_is_killed_comes_again_whole(scene: Scene, point: str) -> None:
    scene.producer.employ(["ann", *TALKERS])
    office = scene.office(bundle_seconds=60)
    for number in range(4):
        scene.producer.emit("ann", on="CL-hurry", by=TALKERS[number % 3])
        office.fan_out()
    office.drain()
    office.now("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8")
    with scene.loner({**scene.environment, CRASH_AT: point}) as doomed:
        doomed.wait_until_dead()
    office.now(LEASES_END)
    office.drain()
    assert scene.told() == [[1], [2, 3, 4]]
    scene.check(bound=1)


def assert_forty_in_few_emails(scene: Scene) -> None:
    """
    Events were fanned out in order, and each email tells of a run of them, in order.

    The emails may overtake each other: one whose worker was killed waits until its lease runs out.
    """
    fanned_out = [event_id for (event_id,) in scene.office().now(FANNED_OUT)]
    assert fanned_out == sorted(fanned_out)
    emails = sorted(scene.told())
    assert [number for email in emails for number in email] == list(range(1, FORTY + 1))
    assert 1 < len(emails) <= 3
