"""How the embedded forge's API misbehaves on demand: which calls get another answer than the right one."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from random import Random
from threading import Event
from time import monotonic


@dataclass(frozen=True, slots=True)
class Answer:
    """
    An answer to be given instead of the right one.

    Attributes:
        status: 0: the right answer is given after all, late.
        seconds: How long the caller waits for it.
        done: The forge first does what it is asked for; the caller does not hear of it.
        hang_up: The connection is cut instead of an answer.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "as told"
    seconds: float = 0.0
    done: bool = False
    hang_up: bool = False


# The work is done, and then nothing more is heard.
LOST = Answer(0, done=True, hang_up=True)


@dataclass(frozen=True, slots=True)
class Rule:
    """An answer to calls of one method (None: any) whose path contains *path*, whenever ``is_turn`` says so."""

    path: str
    method: str | None
    answer: Answer
    is_turn: Callable[[], bool]

    def applies(self, method: str, path: str) -> bool:
        return self.path in path and self.method in (None, method) and self.is_turn()


class Misbehaviour:
    """
    Rules are asked in the order in which they were made. ``instead`` comes last.

    Attributes:
        instead: Answers to the next calls, whatever they ask for.
        given: Set when an answer was given by a rule.
    """

    def __init__(self) -> None:
        self.instead: list[Answer] = []
        self.given = Event()
        self._rules: list[Rule] = []

    def only(self, path: str, *, answer: Answer, skip: int = 0, times: int = 1, method: str | None = None) -> None:
        """Give this answer to so many of these calls, after the first *skip*."""
        left = [skip, times]

        def is_turn() -> bool:
            if left[0]:
                left[0] -= 1
                return False
            left[1] -= 1
            return left[1] >= 0

        self._add(Rule(path, method, answer, is_turn))

    def sometimes(self, path: str, *, answer: Answer, rate: float, seed: int = 0, method: str | None = None) -> None:
        """Give this answer to this share of these calls. The same seed chooses the same calls."""
        random = Random(seed)  # noqa: S311 - not for secrets
        self._add(Rule(path, method, answer, lambda: random.random() < rate))

    def every(self, seconds: float, path: str, *, answer: Answer, method: str | None = None) -> None:
        """Give this answer to the first of these calls in each interval, the first of which begins now."""
        due = [monotonic() + seconds]

        def is_turn() -> bool:
            if monotonic() < due[0]:
                return False
            due[0] = monotonic() + seconds
            return True

        self._add(Rule(path, method, answer, is_turn))

    def end(self) -> None:
        """Give the right answers again."""
        self._rules.clear()
        self.instead.clear()

    def answer(self, method: str, path: str) -> Answer | None:
        """What is to be answered to this call instead of the right answer."""
        for rule in tuple(self._rules):
            if rule.applies(method, path):
                self.given.set()
                return rule.answer
        return self.instead.pop(0) if self.instead else None

    def _add(self, rule: Rule) -> None:
        self.given.clear()
        self._rules.append(rule)
