"""Log lines about attempts: the job, its outcome, why, how long it took. No address and no text of an event."""

from itertools import groupby
from operator import attrgetter
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from notify.delivery.recorder import ending_of
from notify.domain.grammar import trace_id
from notify.domain.jobs import EmailAttempt, Job
from notify.domain.outcomes import OutcomeName
from notify.store.outbox.outbox import AttemptOutcome

# A line stays below 4,096 bytes, which processes that share a pipe write without mixing.
EMAILS_A_LINE = 25


class AttemptSpans(Protocol):
    """Records a span of each attempt."""

    def are_wanted(self) -> bool: ...

    def add_attempt(self, ending: AttemptOutcome) -> None: ...


class Journal:
    """
    One line for each batch of emails that were sent, and one for each attempt that ended otherwise, at once.

    Whoever records outcomes calls ``flush`` before: what was sent is in the log even if it cannot be recorded.
    Lives in one event loop.

    Args:
        spans: None where there are none.
    """

    def __init__(self, log: FilteringBoundLogger, *, spans: AttemptSpans | None = None) -> None:
        self._log = log
        self._spans = spans
        self._sent: list[EmailAttempt] = []

    def sent(self, email: EmailAttempt) -> None:
        """The relay has the email; ``flush`` logs it."""
        self._sent.append(email)
        if self._spans is not None and self._spans.are_wanted():
            self._spans.add_attempt(ending_of(email))

    def ended(self, ending: AttemptOutcome) -> None:
        """Log how else an attempt ended, as a warning where the job is dead."""
        update = ending.update
        facts = _facts(ending.job, ending.took.total_seconds() if ending.took else None)
        facts["outcome"] = update.outcome
        if update.reason:
            facts["reason"] = update.reason
        if answer := update.answer:
            facts |= {"phase": answer.phase, "code": answer.code}
        if ending.relay:
            facts["relay"] = ending.relay
        write = self._log.warning if update.outcome is OutcomeName.DEAD else self._log.info
        write("email", **facts)
        if self._spans is not None and ending.took is not None and self._spans.are_wanted():
            self._spans.add_attempt(ending)

    def flush(self) -> None:
        """Log what was sent since the last time."""
        sent, self._sent = self._sent, []
        for relay, emails in groupby(sent, key=attrgetter("relay")):
            facts = [_facts(one.job, one.seconds) for one in emails]
            for first in range(0, len(facts), EMAILS_A_LINE):
                self._log.info(
                    "emails", emails=facts[first : first + EMAILS_A_LINE], outcome=OutcomeName.SENT, relay=relay
                )


def _facts(job: Job, seconds: float | None) -> dict[str, object]:
    event = job.notifications[0].event
    facts: dict[str, object] = {"job": job.claim.id, "attempt": job.claim.attempt, "event_id": event.id}
    if seconds is not None:
        facts["milliseconds"] = round(seconds * 1000, 1)
    if len(job.notifications) > 1:
        facts["notifications"] = len(job.notifications)
    if event.traceparent:
        facts["trace"] = trace_id(event.traceparent)
    return facts
