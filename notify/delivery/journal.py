"""Logs attempts: job, outcome, reason, duration. Never an address or an event's text."""

from itertools import groupby
from operator import attrgetter
from typing import Protocol

from structlog.typing import FilteringBoundLogger

from notify.delivery.recorder import outcome_of
from notify.domain.grammar import trace_id
from notify.domain.jobs import EmailAttempt, Job
from notify.domain.outcomes import OutcomeName
from notify.store.outbox.outbox import AttemptOutcome

# Keeps a line below 4,096 bytes, which processes sharing a pipe write atomically.
EMAILS_A_LINE = 25


class AttemptSpans(Protocol):
    """Records a span of each attempt."""

    def are_wanted(self) -> bool: ...

    def add_attempt(self, outcome: AttemptOutcome) -> None: ...


class Journal:
    """
    Logs one line per batch of sent emails and one per other attempt. Lives in one event loop.

    Callers must ``flush`` before they record, so that sent emails are logged even if recording fails.

    Args:
        spans: None: no tracing.
    """

    def __init__(self, log: FilteringBoundLogger, *, spans: AttemptSpans | None = None) -> None:
        self._log = log
        self._spans = spans
        self._sent: list[EmailAttempt] = []

    def sent(self, email: EmailAttempt) -> None:
        """Add a sent email, which ``flush`` logs."""
        self._sent.append(email)
        if self._spans is not None and self._spans.are_wanted():
            self._spans.add_attempt(outcome_of(email))

    def ended(self, outcome: AttemptOutcome) -> None:
        """Log any other outcome at once, as a warning if the job is dead."""
        update = outcome.update
        facts = _facts(outcome.job, outcome.took.total_seconds() if outcome.took else None)
        facts["outcome"] = update.outcome
        if update.reason:
            facts["reason"] = update.reason
        if answer := update.answer:
            facts |= {"phase": answer.phase, "code": answer.code}
        if outcome.relay:
            facts["relay"] = outcome.relay
        write = self._log.warning if update.outcome is OutcomeName.DEAD else self._log.info
        write("email", **facts)
        if self._spans is not None and outcome.took is not None and self._spans.are_wanted():
            self._spans.add_attempt(outcome)

    def flush(self) -> None:
        """Log the emails sent since the last call."""
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
