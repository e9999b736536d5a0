"""How many emails this process has on their way at once: half when the relay says "slower", more as it takes them."""

from time import monotonic

AFTER_AN_OUTAGE = 2
# A relay that has said how many sessions are too many is not asked for as many again before this.
FORGETS_SECONDS = 60.0


class Pace:
    """
    Lives as long as its process: a relay that throttles is not tried at full width by the next drain.

    Args:
        most: Sessions when all is well.
    """

    def __init__(self, most: int) -> None:
        self.sessions = most
        self._most = most
        self._narrowed_at = 0.0
        self._ceiling = most
        self._crowded_at = 0.0

    def begin_slowly(self) -> None:
        """The relay is back after an outage."""
        self.sessions = min(self.sessions, AFTER_AN_OUTAGE)

    def taken(self) -> bool:
        """The relay took an email: one session more, unless that was too many a moment ago; whether there is one."""
        if self.sessions >= self._ceiling and self._ceiling < self._most:
            self._raise_ceiling()
        wider = self.sessions < self._ceiling
        self.sessions += wider
        return wider

    def throttled(self, *, begun: float, crowded: bool = False) -> bool:
        """
        The relay said "slower": half the sessions. False when a single one was too many already.

        Args:
            begun: When the email set out, on the monotonic clock. Emails that were on their way
                at the last halving say nothing about the pace since.
            crowded: It is the sessions that are too many, not the emails.
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
        if monotonic() >= self._crowded_at + FORGETS_SECONDS:
            self._ceiling, self._crowded_at = self._ceiling + 1, monotonic()
