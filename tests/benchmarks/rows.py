"""A measured figure, the figure it is compared with, and the goal."""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Goal:
    """
    The goal for a ratio, or for a figure without comparison.

    Args:
        best: The best we can imagine.
    """

    limit: float
    at_least: bool = True
    best: float | None = None

    def met(self, figure: float) -> bool:
        """Whether the figure reaches the goal."""
        return figure >= self.limit if self.at_least else figure <= self.limit

    def part(self, figure: float) -> float:
        """How much of the goal was reached: 1 is the goal, more is better, in either direction."""
        if self.at_least:
            return figure / self.limit
        return self.limit / figure if figure else float("inf")

    @property
    def in_words(self) -> str:
        """For a font without mathematical signs."""
        return f"{'at least' if self.at_least else 'at most'} {self.limit:g}"

    def __str__(self) -> str:
        return f"{'≥' if self.at_least else '≤'} {self.limit:g}"


def at_least(limit: float, *, best: float | None = None) -> Goal:
    """A goal for which more is better."""
    return Goal(limit, best=best)


def at_most(limit: float, *, best: float | None = None) -> Goal:
    """A goal for which less is better."""
    return Goal(limit, at_least=False, best=best)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """
    One line of the report.

    Args:
        figure: Ours; null if it could not be measured, with the reason in ``error``.
        beside: What *other* is the figure of; the ratio is ours by theirs.
        goal: For the ratio; for the figure itself if there is no comparison.
        note: How it was measured, if it differs from the usual way.
        skipped: Why the other figure was not available on this machine.
    """

    what: str
    unit: str = ""
    figure: float | None = None
    beside: str = ""
    other: float | None = None
    goal: Goal | None = None
    note: str = ""
    skipped: str = ""
    error: str = ""

    @property
    def ratio(self) -> float | None:
        """Ours by theirs."""
        if self.figure is None or not self.other:
            return None
        return self.figure / self.other

    @property
    def judged(self) -> float | None:
        """The figure or ratio that the goal applies to; null if unknown."""
        return self.ratio if self.beside else self.figure

    @property
    def met(self) -> bool | None:
        """Whether the goal is met; null if there is none, or the figure is unknown."""
        if self.goal is None or self.judged is None:
            return None
        return self.goal.met(self.judged)

    def as_json(self) -> dict[str, Any]:
        """All fields, for a line of JSON."""
        goal, best = (str(self.goal), self.goal.best) if self.goal else (None, None)
        return {**asdict(self), "goal": goal, "best": best, "ratio": self.ratio, "met": self.met}
