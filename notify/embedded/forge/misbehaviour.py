"""How the embedded forge's API misbehaves on demand: answers that are given instead of the right ones."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from threading import Event


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be given instead of the right one, once."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "as told"
    seconds: float = 0.0


class Misbehaviour:
    """
    Attributes:
        instead: Given to the next calls, whatever they ask for.
        given: Set when an answer for a path was given.
    """

    def __init__(self) -> None:
        self.instead: list[Answer] = []
        self.given = Event()
        self._of_path: list[tuple[str, list[int], Answer]] = []

    def only(self, path: str, *, answer: Answer, skip: int = 0, times: int = 1) -> None:
        """Give this answer to calls whose path contains *path*: so many of them, after the first *skip*."""
        self.given.clear()
        self._of_path.append((path, [skip, times], answer))

    def end(self) -> None:
        """Give the right answers again."""
        self.instead.clear()
        self._of_path.clear()

    def answer(self, path: str) -> Answer | None:
        """What is to be answered to this call instead of the right answer."""
        for part, left, answer in self._of_path:
            if part in path:
                if left[0]:
                    left[0] -= 1
                elif left[1]:
                    left[1] -= 1
                    self.given.set()
                    return answer
        return self.instead.pop(0) if self.instead else None
