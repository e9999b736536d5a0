"""Celery with a task that only records when it ran: ``celery -A tests.benchmarks.peers.empty_task worker``."""

from os import environ
from time import monotonic

import redis
from celery import Celery

BROKER = "NOTIFY_BROKER_URL"
RAN = "bench:ran"

app = Celery("empty", broker=environ.get(BROKER), set_as_current=False)
app.config_from_object("celeryconfig")
app.conf.update(imports=(), beat_schedule={}, task_queues=None, task_routes=None, task_default_queue="empty")
app.conf.task_create_missing_queues = True


def empty() -> None:
    """Record the instant, in monotonic seconds, which all processes of a machine share."""
    at = monotonic()
    with redis.Redis.from_url(environ[BROKER]) as client:
        client.rpush(RAN, repr(at))


app.task(name="empty")(empty)
