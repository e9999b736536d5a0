"""notify's Celery application with a task for beat to send every second."""

from notify.wiring import celery_app

app = celery_app()
app.conf.beat_schedule = {"stats": {"task": "notify.upkeep.stats", "schedule": 1}}
