"""The outcomes of an attempt to send an email, and what each means for its job."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import assert_never

from notify.domain.backoff import next_delay
from notify.domain.claims import Claim

IMMEDIATELY = timedelta(0)
# Keeps an email on which the relay hangs up every time from being retried in a tight loop.
RELEASE_DELAY = timedelta(seconds=5)
# When the relay blames our configuration for one recipient only, that recipient must not keep opening the breaker.
CONFIGURATION_DELAY = timedelta(minutes=5)
EXPIRED = "expires_at"


class DeliveryStatus(StrEnum):
    """What became of a delivery; ``ignored``: it is about nothing that notify follows."""

    PENDING = "pending"
    DONE = "done"
    IGNORED = "ignored"
    DEAD = "dead"


class EventStatus(StrEnum):
    """``working`` is read from the event's work item."""

    PENDING = "pending"
    WORKING = "working"
    DONE = "done"
    DEAD = "dead"
    WITHDRAWN = "withdrawn"


class JobStatus(StrEnum):
    """``sending`` is read from the job's work item."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    WITHDRAWN = "withdrawn"


class OutcomeName(StrEnum):
    """
    The outcome of an attempt, for people and statistics.

    ``late_success``: sent after the lease was lost or the job had ended. ``duplicate_sent``: sent twice.
    ``lease_lost``: refused, but too late to be recorded.
    """

    SENT = "sent"
    LATE_SUCCESS = "late_success"
    DUPLICATE_SENT = "duplicate_sent"
    RETRY = "retry"
    DEAD = "dead"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    RELEASED = "released"
    LEASE_LOST = "lease_lost"


# Counted in addition: the relay may have accepted an email that is sent again; a worker vanished while sending one.
AMBIGUOUS = "ambiguous"
LAPSE = "lapse"


class Phase(StrEnum):
    """The step of an attempt at which something happened."""

    RECHECK = "recheck"
    RENDER = "render"
    CONNECT = "connect"
    GREETING = "greeting"
    EHLO = "ehlo"
    TLS = "tls"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    FINAL_DOT = "final_dot"


AFTER_RCPT = frozenset({Phase.RCPT, Phase.DATA, Phase.FINAL_DOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    The relay's reply, or our own description of the failure.

    ``code`` and ``enhanced`` are None when the relay did not reply (a drop, a timeout);
    ``text`` is at most 1 KiB and never contains a credential.
    """

    phase: Phase
    code: int | None = None
    enhanced: str | None = None
    text: str = ""


# Reasons that several modules use.
POISON = "poison"
INTERNAL_ERROR = "internal_error"
UNKNOWN_TYPE = "unknown_type"
UNKNOWN_TOPIC = "unknown_topic"
LEASE_LOST = "lease_lost"
WITHDRAWN = "withdrawn"
# Reason of a release: too many sessions, rather than too many emails.
TOO_MANY_SESSIONS = "too_many_sessions"


class Blame(StrEnum):
    """The cause of a release."""

    NOBODY = "nobody"
    RELAY = "relay"
    CONFIGURATION = "configuration"
    THROTTLE = "throttle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The relay took responsibility for the email."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """
    Counts as a failure; the job is due again after the backoff.

    ``floor`` is the minimum wait. ``ambiguous``: the relay may have accepted the email. ``max_failures`` replaces
    the job's budget if smaller (three for a bug). ``suspicious``: our configuration may be at fault, which is assumed
    after three different recipients in a row.
    """

    reason: str
    answer: Answer
    floor: timedelta = timedelta(0)
    ambiguous: bool = False
    max_failures: int | None = None
    suspicious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """Permanently refused. ``undeliverable``: the address itself is wrong, and is remembered as such."""

    reason: str
    answer: Answer
    undeliverable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The person should no longer be notified, or has no usable address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The email is too old to be worth sending."""


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Every event that the email is about was withdrawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Due again, without counting a failure: the email was not at fault, or was never started."""

    reason: str
    blame: Blame = Blame.NOBODY
    answer: Answer | None = None


Outcome = Sent | Retry | Dead | Skipped | Expired | Withdrawn | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class JobUpdate:
    """
    What an outcome changes about its job.

    Args:
        delay: When the job is due again; None: it is finished.
        reason: None for ``sent``.
        ambiguous: The email may have been delivered; counted in addition to the outcome.
    """

    outcome: OutcomeName
    delay: timedelta | None = None
    failed: bool = False
    reason: str | None = None
    answer: Answer | None = None
    undeliverable: bool = False
    ambiguous: bool = False

    @property
    def status(self) -> JobStatus:
        """The job's new status."""
        return JobStatus(self.outcome) if self.delay is None else JobStatus.PENDING


def settle(outcome: Outcome, claim: Claim, *, rng: Random) -> JobUpdate:
    """Apply the retry budget: a retry beyond it is dead."""
    match outcome:
        case Sent(answer=answer):
            return JobUpdate(outcome=OutcomeName.SENT, answer=answer)
        case Retry():
            return _retry_or_dead(outcome, claim, rng=rng)
        case Dead(reason=reason, answer=answer, undeliverable=undeliverable):
            return JobUpdate(outcome=OutcomeName.DEAD, reason=reason, answer=answer, undeliverable=undeliverable)
        case Skipped(reason=reason):
            return JobUpdate(outcome=OutcomeName.SKIPPED, reason=reason, answer=Answer(phase=Phase.RECHECK))
        case Expired() | Withdrawn():
            return _too_late(outcome)
        case Released(reason=reason, blame=blame, answer=answer):
            return JobUpdate(
                outcome=OutcomeName.RELEASED, delay=_release_delay(blame, answer), reason=reason, answer=answer
            )
        case _:
            assert_never(outcome)


def _too_late(outcome: Expired | Withdrawn) -> JobUpdate:
    answer = Answer(phase=Phase.RECHECK)
    if isinstance(outcome, Expired):
        return JobUpdate(outcome=OutcomeName.EXPIRED, reason=EXPIRED, answer=answer)
    return JobUpdate(outcome=OutcomeName.WITHDRAWN, answer=answer)


def _release_delay(blame: Blame, answer: Answer | None) -> timedelta:
    """How long to wait before sending an email that was not at fault again."""
    if blame is Blame.NOBODY:
        return IMMEDIATELY
    named_us = blame is Blame.CONFIGURATION and answer is not None and answer.phase in AFTER_RCPT
    return CONFIGURATION_DELAY if named_us else RELEASE_DELAY


def _retry_or_dead(outcome: Retry, claim: Claim, *, rng: Random) -> JobUpdate:
    failures = claim.failures + 1
    spent = failures >= min(claim.max_failures, outcome.max_failures or claim.max_failures)
    return JobUpdate(
        outcome=OutcomeName.DEAD if spent else OutcomeName.RETRY,
        delay=None if spent else next_delay(failures, rng=rng, floor=outcome.floor),
        failed=True,
        reason=outcome.reason,
        answer=outcome.answer,
        ambiguous=outcome.ambiguous,
    )
