"""What becomes of an attempt to deliver an email, and of its job."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import assert_never

from notify.domain.backoff import next_delay
from notify.domain.claims import Claim

AT_ONCE = timedelta(0)
# An email that the relay hangs up on every time, while it takes all others, must not spin.
AFTER_TROUBLE = timedelta(seconds=5)
# Where the relay names our configuration at one recipient and takes others', that one must not stop them all the time.
AFTER_NAMING_US = timedelta(minutes=5)
EXPIRED = "expires_at"


class EventStatus(StrEnum):
    """``working`` is read from the event's work item."""

    PENDING = "pending"
    WORKING = "working"
    DONE = "done"
    DEAD = "dead"


class JobStatus(StrEnum):
    """``sending`` is read from the job's work item."""

    PENDING = "pending"
    SENDING = "sending"
    SENT = "sent"
    SKIPPED = "skipped"
    DEAD = "dead"
    EXPIRED = "expired"
    CANCELLED = "cancelled"


class Verdict(StrEnum):
    """
    What became of an attempt, for people and statistics.

    ``late_success`` is an email that was sent although its lease was lost or its job had ended, ``duplicate_sent`` one
    that was sent twice, ``lease_lost`` a refusal that came too late to be written.
    """

    SENT = "sent"
    LATE_SUCCESS = "late_success"
    DUPLICATE_SENT = "duplicate_sent"
    RETRY = "retry"
    DEAD = "dead"
    SKIPPED = "skipped"
    EXPIRED = "expired"
    RELEASED = "released"
    LEASE_LOST = "lease_lost"


# Counted besides: the relay may have taken an email that is sent again; a worker vanished with one.
AMBIGUOUS = "ambiguous"
LAPSE = "lapse"


class Phase(StrEnum):
    """Where in the conversation with the relay something happened."""

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


WITH_A_RECIPIENT = frozenset({Phase.RCPT, Phase.DATA, Phase.FINAL_DOT})


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    The relay's words, or what we say in their stead.

    ``code`` and ``enhanced`` are None when the relay said nothing (a drop, a time-out);
    ``text`` is at most 1 KiB and never holds a credential.
    """

    phase: Phase
    code: int | None = None
    enhanced: str | None = None
    text: str = ""


# Reasons that several modules give.
POISON = "poison"
INTERNAL_ERROR = "internal_error"
UNKNOWN_TYPE = "unknown_type"
UNKNOWN_TOPIC = "unknown_topic"
LEASE_LOST = "lease_lost"
# The reason of a release where it is the sessions that are too many, not the emails.
TOO_MANY_SESSIONS = "too_many_sessions"


class Blame(StrEnum):
    """Who is to blame for a release."""

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
    Later: counts as a failure and comes back after the backoff.

    ``floor`` is the least time to wait. ``ambiguous`` means the relay may have taken the email.
    ``max_failures`` replaces the row's budget when it is smaller (three for a bug).
    ``suspicious`` means that it may be about us: three different recipients in a row say that it is.
    """

    reason: str
    answer: Answer
    floor: timedelta = timedelta(0)
    ambiguous: bool = False
    max_failures: int | None = None
    suspicious: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Dead:
    """No for good. ``undeliverable`` means the address itself is wrong and is remembered as such."""

    reason: str
    answer: Answer
    undeliverable: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """The person is no longer to be told, or has no usable address."""

    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The email is too old to be worth sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Given back without a failure: the email was not at fault or was never begun."""

    reason: str
    blame: Blame = Blame.NOBODY
    answer: Answer | None = None


Outcome = Sent | Retry | Dead | Skipped | Expired | Released


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    What is written to the row.

    Args:
        verdict: The outcome's name for people and statistics.
        delay: After which the job is due again; None: it has ended.
        reason: None: there is nothing to explain.
        ambiguous: Counted besides, whatever becomes of the row: the email may have been delivered.
    """

    verdict: Verdict
    delay: timedelta | None = None
    failed: bool = False
    reason: str | None = None
    answer: Answer | None = None
    undeliverable: bool = False
    ambiguous: bool = False

    @property
    def status(self) -> JobStatus:
        """The job's status from now on."""
        return JobStatus(self.verdict) if self.delay is None else JobStatus.PENDING


def settle(outcome: Outcome, claim: Claim, *, rng: Random) -> Settlement:
    """What the row becomes: a retry beyond the budget is dead, everything else is what it says."""
    match outcome:
        case Sent(answer=answer):
            return Settlement(verdict=Verdict.SENT, answer=answer)
        case Retry():
            return _later_or_dead(outcome, claim, rng=rng)
        case Dead(reason=reason, answer=answer, undeliverable=undeliverable):
            return Settlement(verdict=Verdict.DEAD, reason=reason, answer=answer, undeliverable=undeliverable)
        case Skipped(reason=reason):
            return Settlement(verdict=Verdict.SKIPPED, reason=reason, answer=Answer(phase=Phase.RECHECK))
        case Expired():
            return Settlement(verdict=Verdict.EXPIRED, reason=EXPIRED, answer=Answer(phase=Phase.RECHECK))
        case Released(reason=reason, blame=blame, answer=answer):
            return Settlement(verdict=Verdict.RELEASED, delay=_pause(blame, answer), reason=reason, answer=answer)
        case _:
            assert_never(outcome)


def _pause(blame: Blame, answer: Answer | None) -> timedelta:
    """How long an email waits that is not at fault."""
    if blame is Blame.NOBODY:
        return AT_ONCE
    named_us = blame is Blame.CONFIGURATION and answer is not None and answer.phase in WITH_A_RECIPIENT
    return AFTER_NAMING_US if named_us else AFTER_TROUBLE


def _later_or_dead(outcome: Retry, claim: Claim, *, rng: Random) -> Settlement:
    failures = claim.failures + 1
    spent = failures >= min(claim.max_failures, outcome.max_failures or claim.max_failures)
    return Settlement(
        verdict=Verdict.DEAD if spent else Verdict.RETRY,
        delay=None if spent else next_delay(failures, rng=rng, floor=outcome.floor),
        failed=True,
        reason=outcome.reason,
        answer=outcome.answer,
        ambiguous=outcome.ambiguous,
    )
