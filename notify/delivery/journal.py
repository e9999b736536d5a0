"""Log lines about attempts: which job, what became of it, why, how long it took. No address and nobody's words."""

from itertools import groupby
from operator import attrgetter
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from notify.domain.attempts import EmailAttempt
from notify.domain.jobs import Job
from notify.domain.settlement import Settlement
from notify.domain.statuses import Verdict
from notify.domain.traces import trace_id

# A line stays below 4,096 bytes, which processes that share a pipe write without mixing.
EMAILS_A_LINE = 25

Facts = dict[str, object]


class Notes(Protocol):
    """Is told what became of each attempt."""

    def sent(self, email: EmailAttempt) -> None: ...

    def note(
        self,
        job: Job,
        settlement: Settlement,
        *,
        seconds: float | None = None,
        relay: str | None = None,
        traceparent: str | None = None,
    ) -> None: ...

    def flush(self) -> None: ...


class Journal:
    """
    One line for each batch of emails that were sent, and one for each attempt that ended otherwise, at once.

    Whoever records outcomes calls ``flush`` before: what was sent is in the log even if it cannot be recorded.
    Lives in one event loop.
    """

    def __init__(self, log: FilteringBoundLogger) -> None:
        self._log = log
        self._sent: list[EmailAttempt] = []

    def sent(self, email: EmailAttempt) -> None:
        """The relay has it; said with others by ``flush``."""
        self._sent.append(email)

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
        Say what else became of an attempt, as a warning where the job is dead.

        Args:
            seconds: How long the attempt took; None: it was ended by the recheck.
            relay: Who was asked, as ``host:port``; None: nobody.
            traceparent: The trace in which the event was emitted; None: in none.
        """
        facts = _facts(job, seconds, traceparent)
        facts["verdict"] = settlement.verdict
        if settlement.reason:
            facts["reason"] = settlement.reason
        if answer := settlement.answer:
            facts |= {"phase": answer.phase, "code": answer.code}
        if relay:
            facts["relay"] = relay
        say = self._log.warning if settlement.verdict is Verdict.DEAD else self._log.info
        say("email", **facts)

    def flush(self) -> None:
        """Say what was sent since the last time."""
        sent, self._sent = self._sent, []
        for relay, emails in groupby(sent, key=attrgetter("relay")):
            facts = [_facts(one.job, one.seconds, one.letter.event.traceparent) for one in emails]
            for first in range(0, len(facts), EMAILS_A_LINE):
                self._log.info("emails", emails=facts[first : first + EMAILS_A_LINE], verdict=Verdict.SENT, relay=relay)


def _facts(job: Job, seconds: float | None, traceparent: str | None) -> Facts:
    facts: Facts = {"job": job.claim.id, "attempt": job.claim.attempt, "event_id": job.notifications[0].event.id}
    if seconds is not None:
        facts["milliseconds"] = round(seconds * 1000, 1)
    if len(job.notifications) > 1:
        facts["notifications"] = len(job.notifications)
    if traceparent:
        facts["trace"] = trace_id(traceparent)
    return facts
