"""A stage made of functions."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class FakeStage:
    name: str
    due: Callable[[], bool]
    work: Callable[[], object]

    def is_due(self) -> bool:
        return self.due()

    def drain(self) -> Mapping[str, float]:
        self.work()
        return {}

    def stop(self, *, at_most_seconds: float) -> None:
        """There is nothing to stop."""
