"""A doorbell that remembers."""

from notify.domain.jobs import Stage


class Rings:
    """Remembers who was rung, in order."""

    def __init__(self) -> None:
        self.rung: list[Stage] = []

    def ring(self, stage: Stage) -> None:
        self.rung.append(stage)

    def flush(self, *, at_most_seconds: float) -> None:
        """Nothing to wait for."""
