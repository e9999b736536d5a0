"""Webhook calls: what they tell of, what an answer means, and when to call again."""

from dataclasses import dataclass, replace
from datetime import timedelta
from enum import StrEnum
from http import HTTPStatus
from random import Random

EMAIL_SENT = "email.sent"
EMAIL_DEAD = "email.dead"
NOTIFICATION_SKIPPED = "notification.skipped"
EVENT_DONE = "event.done"
TEST = "endpoint.test"
TYPES = (EMAIL_SENT, EMAIL_DEAD, NOTIFICATION_SKIPPED, EVENT_DONE)
ADDRESS = "address"
PAYLOAD = "payload"
INCLUDABLE = (ADDRESS, PAYLOAD)

# Source: Standard Webhooks, "Deliverability and reliability".
DELAYS = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
MOST_ATTEMPTS = len(DELAYS) + 1
# Longer than all attempts together: for calls that wait for an endpoint that limits the rate or never answers.
LONGEST_AGE = timedelta(days=5)
LONGEST_PAUSE = timedelta(hours=1)
FIRST_PAUSE = timedelta(seconds=30)

GONE = "gone"
EXPIRED = "expired"
DISABLED = "disabled"
PRUNED = "pruned"
NO_ANSWER = "no_answer"
LIMITED = "limited"


class CallStatus(StrEnum):
    """What has become of a call."""

    PENDING = "pending"
    DELIVERED = "delivered"
    DEAD = "dead"
    SKIPPED = "skipped"


class Trouble(StrEnum):
    """What an answer says about its endpoint, rather than about the call."""

    FAILING = "failing"
    LIMITS_RATE = "limits_rate"
    GONE = "gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class CallAnswer:
    """
    What an endpoint answered.

    Args:
        code: HTTP status; None: no answer.
        retry_after: From the header; None: not stated.
        text: Why there is none.
    """

    code: int | None = None
    retry_after: timedelta | None = None
    text: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CallVerdict:
    """
    What an answer means for its call. ``status`` pending: call again after ``delay``.

    ``failed``: counts against the retry budget. ``trouble`` None: the endpoint is well.
    """

    status: CallStatus
    reason: str | None = None
    delay: timedelta = timedelta(0)
    failed: bool = False
    trouble: Trouble | None = None


def judge(answer: CallAnswer, *, failures: int, max_failures: int, rng: Random) -> CallVerdict:
    """
    What this answer means.

    Any 2xx is yes, 410 is the end of the endpoint, 429 is a pause; everything else is a failure.

    Args:
        failures: How many attempts of this call have failed before.
    """
    code = answer.code
    if code is not None and HTTPStatus.OK <= code < HTTPStatus.MULTIPLE_CHOICES:
        return CallVerdict(status=CallStatus.DELIVERED)
    if code == HTTPStatus.GONE:
        return CallVerdict(status=CallStatus.DEAD, reason=GONE, failed=True, trouble=Trouble.GONE)
    if code == HTTPStatus.TOO_MANY_REQUESTS:
        wait = min(answer.retry_after or FIRST_PAUSE, LONGEST_PAUSE)
        return CallVerdict(status=CallStatus.PENDING, reason=LIMITED, delay=wait, trouble=Trouble.LIMITS_RATE)
    is_failing = code is None or code >= HTTPStatus.INTERNAL_SERVER_ERROR
    verdict = judge_failure(
        NO_ANSWER if code is None else f"http_{code}", failures=failures, max_failures=max_failures, rng=rng
    )
    wait = max(verdict.delay, min(answer.retry_after or timedelta(0), LONGEST_PAUSE))
    return replace(verdict, delay=wait, trouble=Trouble.FAILING if is_failing else None)


def judge_failure(reason: str, *, failures: int, max_failures: int, rng: Random) -> CallVerdict:
    """What it means that an attempt has failed: call again later, or dead once the retry budget is spent."""
    if failures + 1 >= max_failures:
        return CallVerdict(status=CallStatus.DEAD, reason=reason, failed=True)
    delay = next_delay(failures + 1, rng=rng)
    return CallVerdict(status=CallStatus.PENDING, reason=reason, delay=delay, failed=True)


def next_delay(failures: int, *, rng: Random) -> timedelta:
    """How long to wait after this many failures, up to a fifth longer, so that calls do not come together again."""
    return DELAYS[min(failures, len(DELAYS)) - 1] * (1 + rng.random() / 5)
