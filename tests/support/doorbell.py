"""A doorbell that records which stages it rang for."""

from dataclasses import dataclass, field


@dataclass
class RecordingDoorbell:
    """Records the stages it rang for, in order."""

    rings: list[str] = field(default_factory=list)

    def ring(self, stage: str) -> None:
        self.rings.append(stage)

    def flush(self, *, at_most_seconds: float) -> None:
        """There is never anything to wait for."""
