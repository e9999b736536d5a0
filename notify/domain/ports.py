"""What the use cases ask of the world, each with more than one implementation."""

from collections.abc import Callable
from typing import Protocol

from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Outcome, Released
from notify.domain.rates import Rate


class Channel(Protocol):
    """
    Hands emails to a relay. Lives in one event loop; safe for many tasks in it.

    ``relay`` names the other side without credentials (``host:port``); ``sessions`` is how many
    calls of ``carry`` may be under way at once; ``rate`` is how fast emails may be given to it by
    all processes together, None: as fast as it takes them; ``fleet_sessions`` is how many sessions all
    processes together may have with it, None: each as many as ``sessions``. ``open_sessions`` are open now.
    """

    @property
    def relay(self) -> str: ...

    @property
    def sessions(self) -> int: ...

    @property
    def fleet_sessions(self) -> int | None: ...

    @property
    def open_sessions(self) -> int: ...

    def limit(self, sessions: int) -> None:
        """Close idle sessions until no more than this are open; the caller begins no more than this either."""

    @property
    def rate(self) -> Rate | None: ...

    async def open(self) -> Released | None:
        """Make sure that there is a session. None when there is, else why there is none; risks no email."""

    async def carry(
        self,
        first: EmailAttempt,
        *,
        following: Callable[[EmailAttempt], EmailAttempt | None],
        sent: Callable[[EmailAttempt], None],
        ended: Callable[[EmailAttempt, Outcome], None],
    ) -> None:
        """
        Render and hand over emails, one after the other. Never raises for what a relay or a template can do.

        Either *sent* or *ended* is called once for each email. Immediately before the content is handed over, the lease
        is looked at; if it is over, nothing is sent (the outcome is ``Released``).

        Args:
            following: The email to carry after this one; None: there is none. Asked as late as can
                be; at most one email is under way besides the one it follows.
            sent: The relay has taken the email with a plain yes, which is noted on it.
            ended: Anything else became of it.
        """

    async def close(self) -> None:
        """End all sessions politely. The channel may be opened again."""


class Doorbell(Protocol):
    """Tells idle workers to look at a table now. Losing every ring costs seconds, never an email."""

    def ring(self, stage: str) -> None:
        """Return at once; never raises, never waits for a broker."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Wait until what was rung so far has left; for processes that are about to end."""


class Promise(Protocol):
    """Promises a heartbeat from this part of a process within *seconds*. Cheap, thread-safe, never raises."""

    def __call__(self, part: str, seconds: float) -> None: ...


def unwatched(part: str, seconds: float) -> None:
    """For a process whose heartbeats nobody reads."""
