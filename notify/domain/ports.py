"""What the use cases ask of the world, each with more than one implementation."""

from collections.abc import Callable
from typing import Protocol

from notify.domain.jobs import Letter
from notify.domain.outcomes import Outcome, Released
from notify.domain.rates import Rate


class ClaimedEmail(Protocol):
    """One email that this process has claimed and is about to send."""

    @property
    def letter(self) -> Letter: ...

    def still_ours(self) -> bool:
        """
        Whether the lease holds. Asked immediately before the content is handed over: False means
        that nothing may be sent any more (the outcome is ``Released``).
        """


class Channel(Protocol):
    """
    Hands letters to somebody who carries them. Lives in one event loop; safe for many tasks in it.

    ``relay`` names the other side without credentials (``host:port``); ``sessions`` is how many
    calls of ``carry`` may be under way at once; ``rate`` is how fast letters may be given to it by
    all processes together, None: as fast as it takes them; ``fleet_sessions`` is how many sessions all
    processes together may have with it, None: each as many as ``sessions``. ``standing`` are there now.
    """

    @property
    def relay(self) -> str: ...

    @property
    def sessions(self) -> int: ...

    @property
    def fleet_sessions(self) -> int | None: ...

    @property
    def standing(self) -> int: ...

    def limit(self, sessions: int) -> None:
        """Let sessions go that rest, until no more than this stand; the caller begins no more than this either."""

    @property
    def rate(self) -> Rate | None: ...

    async def open(self) -> Released | None:
        """Make sure that a session stands. None when it does, else why it does not; risks no letter."""

    async def carry(
        self,
        first: ClaimedEmail,
        *,
        following: Callable[[ClaimedEmail], ClaimedEmail | None],
        ended: Callable[[ClaimedEmail, Outcome], None],
    ) -> None:
        """
        Render and hand over letters, one after the other. Never raises for what a relay or a template can do.

        Args:
            following: The letter to carry after this one; None: there is none. Asked as late as can
                be; at most one letter is under way besides the one it follows.
            ended: Told once of each letter what became of it.
        """

    async def close(self) -> None:
        """End all sessions politely. The channel may be opened again."""


class Doorbell(Protocol):
    """Tells idle workers to look at a table now. Losing every ring costs seconds, never a letter."""

    def ring(self, stage: str) -> None:
        """Return at once; never raises, never waits for a broker."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Wait until what was rung so far has left; for processes that are about to end."""
