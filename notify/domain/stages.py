"""The stages that something outside of them rings for, by their names."""

FAN_OUT = "fan_out"
DELIVER = "deliver"


def queue(stage: str) -> str:
    """The name of a stage's Celery queue and of its task: prefixed, because brokers are shared."""
    return f"notify.{stage}"
