"""The Celery application: ``celery -A notify.worker.app worker|beat|flower``."""

from notify.wiring import celery_app
from notify.worker import bootstrap

app = celery_app()
bootstrap.connect()
