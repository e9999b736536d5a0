"""Names of the stages that other code rings for."""

FAN_OUT = "fan_out"
DELIVER = "deliver"
INBOX = "inbox"
RECONCILE = "reconcile"
STATUSES = "statuses"
HEADS = "heads"
WEBHOOKS = "webhooks"


def queue(stage: str) -> str:
    """The name of a stage's Celery queue and task; prefixed, because brokers are shared."""
    return f"notify.{stage}"
