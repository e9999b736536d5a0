"""From what became of a try to what becomes of its row."""

from dataclasses import dataclass
from datetime import timedelta
from random import Random
from typing import assert_never

from notify.domain.backoff import next_delay
from notify.domain.claims import Claim
from notify.domain.outcomes import Answer, Blame, Dead, Expired, Outcome, Phase, Released, Retry, Sent, Skipped
from notify.domain.statuses import JobStatus, Verdict

AT_ONCE = timedelta(0)
# A letter that the relay hangs up on every time, while it takes all others, must not spin.
AFTER_TROUBLE = timedelta(seconds=5)
# Where the relay names our configuration at one recipient and takes others', that one must not stop them all the time.
AFTER_NAMING_US = timedelta(minutes=5)
WITH_A_RECIPIENT = frozenset({Phase.RCPT, Phase.DATA, Phase.FINAL_DOT})
EXPIRED = "expires_at"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settlement:
    """
    What is written to the row. ``delay`` None means that ``status`` is final.

    ``verdict`` is the outcome's name for people and statistics; ``reason`` None means nothing to explain.
    ``ambiguous`` is counted besides, whatever becomes of the row: the letter may be out.
    """

    verdict: Verdict
    status: JobStatus
    delay: timedelta | None = None
    failed: bool = False
    reason: str | None = None
    answer: Answer | None = None
    undeliverable: bool = False
    ambiguous: bool = False


def settle(outcome: Outcome, claim: Claim, *, rng: Random) -> Settlement:
    """What the row becomes: a retry beyond the budget is dead, everything else is what it says."""
    match outcome:
        case Sent(answer=answer):
            return Settlement(verdict=Verdict.SENT, status=JobStatus.SENT, answer=answer)
        case Retry():
            return _later_or_dead(outcome, claim, rng=rng)
        case Dead(reason=reason, answer=answer, undeliverable=undeliverable):
            return Settlement(
                verdict=Verdict.DEAD, status=JobStatus.DEAD, reason=reason, answer=answer, undeliverable=undeliverable
            )
        case Skipped(reason=reason):
            answer = Answer(phase=Phase.RECHECK)
            return Settlement(verdict=Verdict.SKIPPED, status=JobStatus.SKIPPED, reason=reason, answer=answer)
        case Expired():
            answer = Answer(phase=Phase.RECHECK)
            return Settlement(verdict=Verdict.EXPIRED, status=JobStatus.EXPIRED, reason=EXPIRED, answer=answer)
        case Released(reason=reason, blame=blame, answer=answer):
            delay = _pause(blame, answer)
            return Settlement(
                verdict=Verdict.RELEASED, status=JobStatus.PENDING, delay=delay, reason=reason, answer=answer
            )
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
    budget = min(claim.max_failures, outcome.max_failures or claim.max_failures)
    spent = failures >= budget
    return Settlement(
        verdict=Verdict.DEAD if spent else Verdict.RETRY,
        status=JobStatus.DEAD if spent else JobStatus.PENDING,
        delay=None if spent else next_delay(failures, rng=rng, floor=outcome.floor),
        failed=True,
        reason=outcome.reason,
        answer=outcome.answer,
        ambiguous=outcome.ambiguous,
    )
