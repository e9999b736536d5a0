"""A doorbell that remembers."""


class Rings:
    """Remembers who was rung, in order."""

    def __init__(self) -> None:
        self.rung: list[str] = []

    def ring(self, stage: str) -> None:
        self.rung.append(stage)

    def flush(self, *, at_most_seconds: float) -> None:
        """Nothing to wait for."""
