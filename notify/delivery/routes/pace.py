"""How many sessions a process uses: half as many when the relay throttles, one more with each accepted email."""

from time import monotonic

AFTER_AN_OUTAGE = 2
# How long a relay's stated limit of sessions is respected before one more is tried.
CEILING_SECONDS = 60.0


class Pace:
    """
    Lives as long as its process, so that the next drain respects what the relay said to this one.

    Args:
        most: The configured number of sessions.
    """

    def __init__(self, most: int) -> None:
        self.sessions = most
        self._most = most
        self._narrowed_at = 0.0
        self._ceiling = most
        self._crowded_at = 0.0

    def begin_slowly(self) -> None:
        """Use few sessions after an outage."""
        self.sessions = min(self.sessions, AFTER_AN_OUTAGE)

    def taken(self) -> bool:
        """The relay accepted an email: add a session, unless that was recently too many; whether one was added."""
        if self.sessions >= self._ceiling and self._ceiling < self._most:
            self._raise_ceiling()
        wider = self.sessions < self._ceiling
        self.sessions += wider
        return wider

    def throttled(self, *, begun: float, crowded: bool = False) -> bool:
        """
        The relay throttled us: halve the sessions. False: there was only one.

        Args:
            begun: When the email was begun, in monotonic seconds. Emails begun before the last halving do not count.
            crowded: The relay complained about sessions, not about emails.
        """
        if begun < self._narrowed_at:
            return True
        if self.sessions == 1:
            return False
        if crowded:
            self._ceiling, self._crowded_at = self.sessions - 1, monotonic()
        self.sessions //= 2
        self._narrowed_at = monotonic()
        return True

    def _raise_ceiling(self) -> None:
        if monotonic() >= self._crowded_at + CEILING_SECONDS:
            self._ceiling, self._crowded_at = self._ceiling + 1, monotonic()
