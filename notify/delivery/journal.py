"""One line for each try: what became of which letter, why, and how long it took. Never to whom, nor in whose words."""

from typing import Protocol

from structlog.typing import FilteringBoundLogger

from notify.domain.jobs import Job
from notify.domain.settlement import Settlement
from notify.domain.traces import trace_id

DEAD = "dead"


class Notes(Protocol):
    """Takes note of what became of each try."""

    def note(
        self,
        job: Job,
        settlement: Settlement,
        *,
        seconds: float | None = None,
        relay: str | None = None,
        traceparent: str | None = None,
    ) -> None: ...


class Journal:
    """
    Says what became of letters, as it happens: before it is recorded, and even if it cannot be.

    Args:
        log: Takes a line for each letter.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log

    def note(
        self,
        job: Job,
        settlement: Settlement,
        *,
        seconds: float | None = None,
        relay: str | None = None,
        traceparent: str | None = None,
    ) -> None:
        """
        Say it, as a warning where the letter is dead.

        Args:
            seconds: How long the try took; None: it was ended by the last look.
            relay: Who was asked, as ``host:port``; None: nobody.
            traceparent: In which trace the event was emitted; None: in none.
        """
        claim, answer = job.claim, settlement.answer
        facts: dict[str, object] = {
            "job": claim.id,
            "attempt": claim.attempt,
            "event_id": job.event_id,
            "verdict": settlement.verdict,
        }
        if settlement.reason:
            facts["reason"] = settlement.reason
        if answer:
            facts |= {"phase": answer.phase, "code": answer.code}
        if seconds is not None:
            facts["milliseconds"] = round(seconds * 1000, 1)
        if relay:
            facts["relay"] = relay
        if job.followers:
            facts["together_with"] = [one.claim.id for one in job.followers]
        if traceparent:
            facts["trace"] = trace_id(traceparent)
        say = self._log.warning if settlement.verdict == DEAD else self._log.info
        say("letter", **facts)
