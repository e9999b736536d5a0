"""What an endpoint's answer means, when a call is made again, and how calls are signed."""

import hmac
from base64 import b64decode, b64encode
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from random import Random

import pytest
from standardwebhooks import Webhook

from notify.domain.webhook_signatures import KeyUnknown, StoredSecret, derive, new_secret, shown, sign
from notify.domain.webhooks import (
    DELAYS,
    LONGEST_AGE,
    MOST_ATTEMPTS,
    CallAnswer,
    CallStatus,
    CallVerdict,
    Trouble,
    judge,
    next_delay,
)

KEY, OTHER_KEY = "k" * 32, "o" * 32
BODY = '{"type":"email.sent","data":{"topic":"CL-ü"}}'.encode()


class Lowest(Random):
    def random(self) -> float:
        return 0.0


class Highest(Random):
    def random(self) -> float:
        return 1.0


def judged(code: int | None, *, failures: int = 0, retry_after: int | None = None) -> CallVerdict:
    wait = None if retry_after is None else timedelta(seconds=retry_after)
    answer = CallAnswer(code=code, retry_after=wait)
    return judge(answer, failures=failures, max_failures=MOST_ATTEMPTS, rng=Lowest())


@pytest.mark.parametrize(
    ("code", "status", "reason", "trouble", "failed"),
    [
        (200, CallStatus.DELIVERED, None, None, False),
        (299, CallStatus.DELIVERED, None, None, False),
        (302, CallStatus.PENDING, "http_302", None, True),
        (400, CallStatus.PENDING, "http_400", None, True),
        (410, CallStatus.DEAD, "gone", Trouble.GONE, True),
        (429, CallStatus.PENDING, "limited", Trouble.LIMITS_RATE, False),
        (500, CallStatus.PENDING, "http_500", Trouble.FAILING, True),
        (None, CallStatus.PENDING, "no_answer", Trouble.FAILING, True),
    ],
)
def test_an_answer_means_yes_later_or_never(
    code: int | None, status: CallStatus, reason: str | None, trouble: Trouble | None, *, failed: bool
) -> None:
    verdict = judged(code)
    assert (verdict.status, verdict.reason, verdict.trouble, verdict.failed) == (status, reason, trouble, failed)


def test_a_call_is_made_by_the_schedule_of_standard_webhooks_and_is_dead_after_it() -> None:
    delays = [judged(500, failures=failures).delay for failures in range(MOST_ATTEMPTS - 1)]
    assert delays == list(DELAYS)
    assert judged(500, failures=MOST_ATTEMPTS - 1).status is CallStatus.DEAD
    assert judged(429, failures=MOST_ATTEMPTS - 1).status is CallStatus.PENDING
    assert sum(DELAYS, timedelta()) * 1.2 < LONGEST_AGE


def test_calls_that_failed_together_do_not_come_again_together() -> None:
    assert next_delay(2, rng=Lowest()) == timedelta(minutes=5)
    assert next_delay(2, rng=Highest()) == timedelta(minutes=6)


@pytest.mark.parametrize(
    ("code", "asked", "waits"),
    [(503, 60, 60), (503, 1, 5), (503, 90_000, 3600), (429, 7, 7), (429, None, 30), (429, 90_000, 3600)],
)
def test_a_wait_that_the_endpoint_asks_for_is_kept_up_to_an_hour(code: int, asked: int | None, waits: int) -> None:
    assert judged(code, retry_after=asked).delay == timedelta(seconds=waits)


def test_a_call_is_signed_as_standard_webhooks_says_with_each_secret() -> None:
    old, new = (derive(new_secret(KEY, salt=salt), [KEY]) for salt in ("old", "new"))
    now = int(datetime.now(UTC).timestamp())
    signature = sign([new, old], message_id="msg_1", timestamp=now, body=BODY)
    by_the_book = [
        "v1," + b64encode(hmac.new(b64decode(shown(one).removeprefix("whsec_")), content, sha256).digest()).decode()
        for one in (new, old)
        for content in [b"msg_1." + str(now).encode() + b"." + BODY]
    ]
    assert signature.split() == by_the_book
    headers = {"webhook-id": "msg_1", "webhook-timestamp": str(now), "webhook-signature": signature}
    for secret in (new, old):
        Webhook(shown(secret)).verify(BODY, headers)


def test_a_secret_needs_the_key_that_it_was_derived_from_and_no_longer_the_newest() -> None:
    stored = StoredSecret.parse(str(new_secret(KEY, salt="a.b")))
    secret = derive(stored, [OTHER_KEY, KEY])
    assert secret == derive(stored, [KEY])
    assert len(secret) >= 24  # the least that the specification allows
    assert KEY not in str(stored)
    with pytest.raises(KeyUnknown):
        derive(stored, [OTHER_KEY])
