"""Protocols that the use cases depend on, each with more than one implementation."""

from collections.abc import Callable
from typing import Protocol

from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Outcome, Released
from notify.domain.rates import Rate


class Channel(Protocol):
    """
    Sends emails to a relay. Belongs to one event loop; safe for many tasks in it.

    ``relay`` is the relay's name without credentials (``host:port``). ``sessions`` is the maximum number of
    concurrent ``carry`` calls. ``rate`` limits the emails of all processes together; None: unlimited.
    ``fleet_sessions`` limits the sessions of all processes together; None: only ``sessions`` applies.
    ``open_sessions`` are open now.
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
        """Close idle sessions above this number; the caller starts no more than this either."""

    @property
    def rate(self) -> Rate | None: ...

    async def open(self) -> Released | None:
        """Make sure that there is a session, without sending an email. None: there is; else why not."""

    async def carry(
        self,
        first: EmailAttempt,
        *,
        following: Callable[[EmailAttempt], EmailAttempt | None],
        sent: Callable[[EmailAttempt], None],
        ended: Callable[[EmailAttempt, Outcome], None],
    ) -> None:
        """
        Render and send emails, one after the other. Never raises because of a relay or a template.

        Calls either *sent* or *ended* once for each email. Checks the lease immediately before sending the content; if
        it has run out, nothing is sent (the outcome is ``Released``).

        Args:
            following: Returns the email to send after this one; None: there is none. Called as late as possible; at
                most one email is in flight besides the one before it.
            sent: The relay accepted the email; its reply is stored on the email.
            ended: Any other outcome.
        """

    async def close(self) -> None:
        """Close all sessions with QUIT. The channel may be opened again."""


class Doorbell(Protocol):
    """Tells idle workers that there is work. A lost ring costs seconds, never an email."""

    def ring(self, stage: str) -> None:
        """Return at once; never raises, never waits for a broker."""

    def flush(self, *, at_most_seconds: float) -> None:
        """Wait until all rings so far are sent; for processes that are about to exit."""


class Promise(Protocol):
    """Promises a heartbeat from this component of a process within *seconds*. Cheap, thread-safe, never raises."""

    def __call__(self, component: str, seconds: float) -> None: ...


def no_heartbeat(component: str, seconds: float) -> None:
    """For processes whose heartbeats nobody reads."""
