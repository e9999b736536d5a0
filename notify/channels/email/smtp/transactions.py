"""The emails that one session carries in a row: written as they are needed, each with one outcome."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from notify.channels.email.smtp import replies
from notify.channels.email.smtp.session import Transaction
from notify.domain.jobs import Letter
from notify.domain.outcomes import Outcome, Phase
from notify.domain.ports import ClaimedEmail

Write = Callable[[ClaimedEmail, Callable[[Outcome], None]], Transaction | Outcome]
Following = Callable[[ClaimedEmail], ClaimedEmail | None]
Ended = Callable[[ClaimedEmail, Outcome], None]


@dataclass(frozen=True, slots=True)
class Single:
    """An email that is sent by itself."""

    letter: Letter
    ours: Callable[[], bool]

    def still_ours(self) -> bool:
        return self.ours()


class Transactions:
    """
    Emails one after another.

    Args:
        write: The transaction of an email, which is told what became of it; or why there is none.
        following: The email to carry after this one.
        ended: Told once what became of each email.
    """

    def __init__(self, write: Write, *, following: Following, ended: Ended) -> None:
        self._write = write
        self._following = following
        self._ended = ended
        self._open: list[ClaimedEmail] = []
        self._last: ClaimedEmail | None = None

    def begun(self, email: ClaimedEmail | None) -> Transaction | None:
        """The email, or the next that can be written; the others have ended."""
        while email is not None:
            self._last = email
            one = self._write(email, partial(self._end, email))
            if isinstance(one, Transaction):
                self._open.append(email)
                return one
            self._ended(email, one)
            email = self._following(email)
        return None

    def next(self) -> Transaction | None:
        """The one after the last."""
        return None if self._last is None else self.begun(self._following(self._last))

    def give_up(self, phase: Phase, *, error: str) -> None:
        """End all that have not ended: the first was in this phase, the relay has not heard of the others."""
        for email in tuple(self._open):
            self._end(email, replies.internal_error(phase, name=error))
            phase = Phase.MAIL

    def _end(self, email: ClaimedEmail, outcome: Outcome) -> None:
        self._open.remove(email)
        self._ended(email, outcome)
