"""What an answer of a forge means for the status that was to be shown."""

from dataclasses import dataclass
from datetime import timedelta
from enum import StrEnum
from random import Random
from typing import assert_never

from notify.domain.backoff import next_delay
from notify.domain.claims import Claim
from notify.domain.forge_answers import (
    AnswerMeaning,
    Applied,
    CredentialsExpired,
    Misconfigured,
    MissingCommit,
    Moved,
    RateLimited,
    Refused,
    Unavailable,
    Unchanged,
)
from notify.domain.outcomes import INTERNAL_ERROR

# 5 s doubling to 15 min.
FIRST_DELAY = timedelta(seconds=5)
LONGEST_DELAY = timedelta(minutes=15)
RELEASE_DELAY = timedelta(seconds=5)
MOST_INTERNAL_ERRORS = 3

MISSING_SHA = "missing_sha"
UNEXPECTED = "unexpected"
UNKNOWN_FORGE = "unknown_forge"
RATE_LIMITED = "rate_limited"
CREDENTIALS_EXPIRED = "credentials_expired"
CONFIGURATION = "configuration"


class StatusOutcome(StrEnum):
    """The outcome of an attempt to show a status."""

    APPLIED = "applied"
    RETRY = "retry"
    RELEASED = "released"
    DEAD = "dead"
    SKIPPED = "skipped"


FINAL = frozenset({StatusOutcome.APPLIED, StatusOutcome.DEAD, StatusOutcome.SKIPPED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """
    What an attempt means for its target.

    Args:
        reason: None: it was applied.
        delay: When it is due again, unless it is at its end.
        failed: Whether the next delay is longer.
    """

    outcome: StatusOutcome
    reason: str | None = None
    delay: timedelta = timedelta(0)
    failed: bool = False


APPLIED = Verdict(outcome=StatusOutcome.APPLIED)


def verdict(meaning: AnswerMeaning, claim: Claim, *, rng: Random) -> Verdict:
    """
    What an answer other than yes means for the target.

    A forge that is away, limits the rate or does not know us ends no target, however often it says so.
    """
    match meaning:
        case Unavailable() | CredentialsExpired():
            reason = meaning.reason if isinstance(meaning, Unavailable) else CREDENTIALS_EXPIRED
            return _later(reason, claim, rng=rng)
        case Misconfigured(reason=reason):
            return _released(f"{CONFIGURATION}: {reason}", RELEASE_DELAY)
        case RateLimited(wait=wait):
            return _released(RATE_LIMITED, wait or RELEASE_DELAY)
        case MissingCommit():
            return Verdict(outcome=StatusOutcome.SKIPPED, reason=MISSING_SHA)
        case Refused(reason=reason):
            return Verdict(outcome=StatusOutcome.DEAD, reason=reason)
        case Applied() | Unchanged() | Moved():
            return Verdict(outcome=StatusOutcome.DEAD, reason=UNEXPECTED)
        case _:
            assert_never(meaning)


def verdict_of_error(error: Exception, claim: Claim, *, rng: Random) -> Verdict:
    """An exception that nobody recognises is a bug: it is tried again, three times in all."""
    reason = f"{INTERNAL_ERROR}: {type(error).__name__}"
    if claim.failures + 1 >= min(MOST_INTERNAL_ERRORS, claim.max_failures):
        return Verdict(outcome=StatusOutcome.DEAD, reason=reason)
    return _later(reason, claim, rng=rng)


def earns_the_label(verdict: Verdict) -> bool:
    """Whether the pull request gets the error label: nothing that the table of answers knows has happened."""
    return verdict.outcome is StatusOutcome.DEAD and (verdict.reason or "").partition(":")[0] in {
        UNEXPECTED,
        INTERNAL_ERROR,
    }


def _later(reason: str, claim: Claim, *, rng: Random) -> Verdict:
    """The budget is never spent: only the delay grows with it."""
    delay = next_delay(claim.failures + 1, rng=rng, base=FIRST_DELAY, cap=LONGEST_DELAY)
    return Verdict(
        outcome=StatusOutcome.RETRY, reason=reason, delay=delay, failed=claim.failures + 1 < claim.max_failures
    )


def _released(reason: str, delay: timedelta) -> Verdict:
    return Verdict(outcome=StatusOutcome.RELEASED, reason=reason, delay=delay)
