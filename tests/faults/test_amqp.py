"""RabbitMQ instead of Redis: an event arrives over it, doorbells are heard, and the email is sent."""

import os
from collections.abc import Iterator
from contextlib import suppress
from fcntl import LOCK_EX, flock
from pathlib import Path
from socket import create_connection
from tempfile import gettempdir

import pytest
from celery import Celery

from notify import wiring
from notify.settings import Settings
from tests.support.fault_scenario import FaultScenario
from tests.support.harness import comment
from tests.support.wait import until
from tests.support.worker import TASK_ENDED

NAMED = os.environ.get("NOTIFY_TEST_BROKER_URL", "")
USUAL = ("127.0.0.1", 5672)
HELD = "notify-test-amqp.lock"
EXCHANGES = ("notify.events", "notify.pidbox", "reply.notify.pidbox")


def url_of_a_broker() -> str:
    """The external AMQP broker, or the one of this machine."""
    if NAMED.startswith("amqp"):
        return NAMED
    with suppress(OSError):
        create_connection(USUAL, timeout=1).close()
        return "amqp://guest:guest@{}:{}//".format(*USUAL)
    pytest.skip("NOTIFY_TEST_BROKER_URL names no amqp://…, and nothing answers at 127.0.0.1:5672")


@pytest.fixture
def application(scenario: FaultScenario) -> Iterator[Celery]:
    """Notify's application on an AMQP broker, whose queues are deleted at the end. Two runs on a machine take turns."""
    url = url_of_a_broker()
    with (Path(gettempdir()) / HELD).open("a") as file:
        flock(file, LOCK_EX)
        app = wiring.celery_app(Settings(_env_file=None, broker_url=url))
        scenario.environment["NOTIFY_BROKER_URL"] = url
        remove_queues(app)
        yield app
        remove_queues(app)


def remove_queues(app: Celery) -> None:
    with app.connection_for_write() as connection:
        for queue in app.conf.task_queues:
            queue(connection.default_channel).delete()
        for exchange in (*(queue.name for queue in app.conf.task_queues), *EXCHANGES):
            connection.default_channel.exchange_delete(exchange)


def test_an_event_over_rabbitmq_is_sent_and_its_workers_are_visible(
    scenario: FaultScenario, application: Celery
) -> None:
    scenario.producer.add_people(["ann"])
    with scenario.worker(sweep_seconds="60") as running:
        application.send_task("notify.receive", [[comment(key="over-amqp", reviewers=["ann"])]])
        until(lambda: scenario.tables().attempt_outcomes == {"sent": 1})
        until(lambda: running.log.read_text().count(TASK_ENDED) >= len(("receive", "fan_out", "deliver")))
        assert application.control.ping(timeout=10, limit=1)

    assert [email.recipient for email in scenario.relay.emails] == ["ann@example.com"]
