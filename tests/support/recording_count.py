"""A ``Count`` that records, for tests of what is measured."""

from collections import Counter
from dataclasses import dataclass, field

from notify.domain.measures import Measure


@dataclass
class RecordingCount:
    """What was counted: how often, and the total duration."""

    counts: Counter[tuple[Measure, str]] = field(default_factory=Counter)
    seconds: Counter[tuple[Measure, str]] = field(default_factory=Counter)

    def note(self, measure: Measure, label: str, seconds: float = 0.0) -> None:
        """A ``notify.domain.measures.Count``."""
        self.counts[measure, label] += 1
        self.seconds[measure, label] += seconds  # type: ignore[assignment]

    def of(self, measure: Measure) -> dict[str, int]:
        """How often, by label."""
        return {label: count for (one, label), count in self.counts.items() if one is measure}
