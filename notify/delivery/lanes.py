"""Letters that wait in this process, in fair order: no domain of recipients stands in the way of another."""

from collections import Counter, deque
from dataclasses import dataclass
from time import monotonic

from notify.dns_names import of_address
from notify.domain.jobs import Job, Letter

FEW = 2
LONGEST_RUN = 20


@dataclass(slots=True, eq=False)
class Held:
    """
    A claimed letter in this process.

    ``claimed_at`` is monotonic seconds, before the claim; ``until`` is the end of the lease, ``begun``
    None while the letter waits; ``place`` is how many letters to its domain went before it on its session.
    """

    job: Job
    letter: Letter
    claimed_at: float
    until: float
    lost: bool = False
    begun: float | None = None
    place: int = 0

    def still_ours(self, *, margin: float = 0.0) -> bool:
        """Whether the lease lasts for *margin* seconds more."""
        return not self.lost and monotonic() + margin < self.until

    @property
    def age_seconds(self) -> float:
        """How long ago the event was received that the letter tells of."""
        return self.letter.event.age_seconds + monotonic() - self.claimed_at

    @property
    def name(self) -> tuple[int, int]:
        """What names this try for ever."""
        return self.job.claim.id, self.job.claim.attempt

    @property
    def domain(self) -> str:
        """The recipient's, whose server may be slow or greylist us."""
        return of_address(self.letter.to_email)


class Lanes:
    """
    One lane for each domain; letters leave the lanes in turn, within a lane in the order they came.

    Decided: a domain may use half of the sessions while letters to others wait, and all but one
        while none do: a domain that has gone silent leaves room for those that come later.
    Decided: on a session a letter is followed by one to the same domain, so that no letter waits
        behind another domain's; after a while, if others wait, the session is free for them.
    """

    def __init__(self) -> None:
        self._waiting: dict[str, deque[Held]] = {}
        self._count = 0
        self._flying: Counter[str] = Counter()

    def __len__(self) -> int:
        return self._count

    def put(self, held: Held) -> None:
        """A letter begins to wait."""
        self._waiting.setdefault(held.domain, deque()).append(held)
        self._count += 1

    def take(self, *, sessions: int) -> Held | None:
        """
        The letter whose turn it is to be the first on a session; None when none may go now.

        Whoever takes one says ``landed`` when its session is free again.
        """
        if self._flying.total() >= sessions:
            return None
        most = share(sessions, others_wait=len(self._waiting) > 1)
        for domain in self._waiting:
            if self._flying[domain] < most:
                self._flying[domain] += 1
                return self._next_to(domain)
        return None

    def follow(self, held: Held) -> Held | None:
        """The letter that goes after this one on the same session; None when the session should be free."""
        domain = held.domain
        if domain not in self._waiting or (held.place >= LONGEST_RUN and len(self._waiting) > 1):
            return None
        following = self._next_to(domain)
        following.place = held.place + 1
        return following

    def landed(self, held: Held) -> None:
        """The session that took this letter, or one that followed it, is free."""
        self._flying[held.domain] -= 1
        if not self._flying[held.domain]:
            del self._flying[held.domain]

    def clear(self) -> list[Held]:
        """All letters that wait, which then wait no more."""
        waiting = [held for lane in self._waiting.values() for held in lane]
        self._waiting.clear()
        self._count = 0
        return waiting

    def _next_to(self, domain: str) -> Held:
        """The first of a lane, which goes to the end of the row of lanes."""
        lane = self._waiting.pop(domain)
        held = lane.popleft()
        if lane:
            self._waiting[domain] = lane
        self._count -= 1
        return held


def share(sessions: int, *, others_wait: bool) -> int:
    """How many of so many sessions one domain may use."""
    if sessions <= FEW and not others_wait:
        return sessions
    return (sessions + 1) // 2 if others_wait else sessions - 1
