"""What became of one try to deliver a letter."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """
    The relay's words, or what took their place.

    ``code`` and ``enhanced`` are None when the relay said nothing (a drop, a time-out);
    ``text`` is at most 1 KiB and never holds a credential.
    """

    phase: Phase
    code: int | None = None
    enhanced: str | None = None
    text: str = ""


# Reasons that several parts give.
POISON = "poison"
INTERNAL_ERROR = "internal_error"
UNKNOWN_TYPE = "unknown_type"
UNKNOWN_TOPIC = "unknown_topic"
LEASE_LOST = "lease_lost"
# The reason of a release where it is the sessions that are too many, not the emails.
TOO_MANY_SESSIONS = "too_many_sessions"


class Blame(StrEnum):
    """What a release is held against."""

    NOBODY = "nobody"
    RELAY = "relay"
    CONFIGURATION = "configuration"
    THROTTLE = "throttle"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """The relay took responsibility for the letter."""

    answer: Answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """
    Later: counts as a failure and comes back after the backoff.

    ``floor`` is the least time to wait. ``ambiguous`` means the relay may have taken the letter.
    ``max_failures`` replaces the row's budget when it is smaller (a bug is tried three times).
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
    """The person is not to be told any more, or there is no address to tell them at."""

    reason: str


@dataclass(frozen=True, slots=True)
class Expired:
    """The letter is too old to be worth sending."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Released:
    """Given back without a failure: the letter was not at fault or was never begun."""

    reason: str
    blame: Blame = Blame.NOBODY
    answer: Answer | None = None


Outcome = Sent | Retry | Dead | Skipped | Expired | Released
