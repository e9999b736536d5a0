"""Letters that wait in this process, in fair order: no domain of recipients stands in the way of another."""

from collections import Counter, deque
from dataclasses import dataclass

from notify.domain.jobs import Job, Letter

FEW = 2


@dataclass(slots=True)
class Held:
    """A claimed letter in this process. ``until`` is monotonic seconds, counted from before the claim."""

    job: Job
    letter: Letter
    until: float
    lost: bool = False

    @property
    def name(self) -> tuple[int, int]:
        """What names this try for ever."""
        return self.job.claim.id, self.job.claim.attempt

    @property
    def domain(self) -> str:
        """Whose server may be slow, or greylist us."""
        return self.letter.to_email.rpartition("@")[2].lower()


class Lanes:
    """
    One lane for each domain; letters leave the lanes in turn, within a lane in the order they came.

    Decided: a domain may use half of the sessions while letters to others wait, and all but one
        while none do: a domain that has gone silent leaves room for those that come later.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Held]] = {}
        self._flying: Counter[str] = Counter()

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    def put(self, held: Held) -> None:
        """A letter begins to wait."""
        self._waiting.setdefault(held.domain, deque()).append(held)

    def take(self, *, sessions: int) -> Held | None:
        """
        The letter whose turn it is; None when none may go now.

        Whoever takes one says ``landed`` when it is no longer on its way.
        """
        if self._flying.total() >= sessions:
            return None
        most = share(sessions, others_wait=len(self._waiting) > 1)
        for domain, lane in self._waiting.items():
            if self._flying[domain] < most:
                del self._waiting[domain]
                held = lane.popleft()
                if lane:
                    self._waiting[domain] = lane
                self._flying[domain] += 1
                return held
        return None

    def landed(self, held: Held) -> None:
        """A letter that was taken is no longer on its way."""
        self._flying[held.domain] -= 1
        if not self._flying[held.domain]:
            del self._flying[held.domain]

    def clear(self) -> list[Held]:
        """All letters that wait, which then wait no more."""
        waiting = [held for lane in self._waiting.values() for held in lane]
        self._waiting.clear()
        return waiting


def share(sessions: int, *, others_wait: bool) -> int:
    """How many of so many sessions one domain may use."""
    if sessions <= FEW and not others_wait:
        return sessions
    return (sessions + 1) // 2 if others_wait else sessions - 1
