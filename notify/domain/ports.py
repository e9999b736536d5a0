"""What the use cases ask of the world, each with more than one implementation."""

from collections.abc import Callable
from typing import Protocol

from notify.domain.jobs import Letter, Stage
from notify.domain.outcomes import Outcome, Released


class Channel(Protocol):
    """
    Hands letters to somebody who carries them. Lives in one event loop; safe for many tasks in it.

    ``relay`` names the other side without credentials (``host:port``); ``sessions`` is how many
    letters may be on their way at once.
    """

    @property
    def relay(self) -> str: ...

    @property
    def sessions(self) -> int: ...

    async def open(self) -> Released | None:
        """Make sure that a session stands. None when it does, else why it does not; risks no letter."""

    async def send(self, letter: Letter, *, still_ours: Callable[[], bool]) -> Outcome:
        """
        Render and hand over one letter. Never raises for what a relay or a template can do.

        Args:
            still_ours: Asked immediately before the content is handed over; False means that the
                lease is lost and that nothing may be sent any more (the outcome is ``Released``).
        """

    async def close(self) -> None:
        """End all sessions politely. The channel may be opened again."""


class Doorbell(Protocol):
    """Tells idle workers to look at a table now. Losing every ring costs seconds, never a letter."""

    def ring(self, stage: Stage) -> None:
        """Return at once; never raises, never waits for a broker."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Wait until what was rung so far has left; for processes that are about to end."""
