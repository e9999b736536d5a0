"""How many letters this process has on their way at once: half when the relay says "slower", more as it takes them."""

from time import monotonic

AFTER_AN_OUTAGE = 2


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

    def begin_slowly(self) -> None:
        """The relay is back after an outage."""
        self.sessions = min(self.sessions, AFTER_AN_OUTAGE)

    def taken(self) -> None:
        """The relay took a letter: one session more."""
        self.sessions = min(self.sessions + 1, self._most)

    def throttled(self, *, begun: float) -> bool:
        """
        The relay said "slower": half the sessions. False when a single one was too many already.

        Args:
            begun: When the letter set out, on the monotonic clock. Letters that were on their way
                at the last halving say nothing about the pace since.
        """
        if begun < self._narrowed_at:
            return True
        if self.sessions == 1:
            return False
        self.sessions //= 2
        self._narrowed_at = monotonic()
        return True
