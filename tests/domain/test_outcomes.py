"""The new state of a row for every outcome of an attempt."""

from datetime import timedelta
from random import Random

import pytest

from notify.domain.claims import Claim
from notify.domain.outcomes import (
    IMMEDIATELY,
    RELEASE_DELAY,
    Answer,
    Blame,
    Dead,
    Expired,
    JobStatus,
    JobUpdate,
    Outcome,
    OutcomeName,
    Phase,
    Released,
    Retry,
    Sent,
    Skipped,
    settle,
)

YES = Answer(phase=Phase.FINAL_DOT, code=250, enhanced="2.0.0", text="queued as 1")
NO = Answer(phase=Phase.RCPT, code=550, enhanced="5.1.1", text="no such user")
LATER = Answer(phase=Phase.RCPT, code=451, enhanced="4.7.1", text="greylisted")
LOOKED = Answer(phase=Phase.RECHECK)
DROPPED = Answer(phase=Phase.MAIL, text="connection lost")


def claim(*, failures: int = 0, max_failures: int = 12) -> Claim:
    return Claim(id=1, attempt=failures + 1, failures=failures, max_failures=max_failures, lapses=0)


def settled(outcome: Outcome, *, failures: int = 0, max_failures: int = 12) -> JobUpdate:
    rng = Random(1)
    return settle(outcome, claim(failures=failures, max_failures=max_failures), rng=rng)


@pytest.mark.parametrize(
    ("outcome", "update"),
    [
        (Sent(answer=YES), JobUpdate(outcome=OutcomeName.SENT, answer=YES)),
        (
            Dead(reason="refused", answer=NO),
            JobUpdate(outcome=OutcomeName.DEAD, reason="refused", answer=NO),
        ),
        (
            Dead(reason="bad_address", answer=NO, undeliverable=True),
            JobUpdate(outcome=OutcomeName.DEAD, reason="bad_address", answer=NO, undeliverable=True),
        ),
        (
            Skipped(reason="muted_cl"),
            JobUpdate(outcome=OutcomeName.SKIPPED, reason="muted_cl", answer=LOOKED),
        ),
        (Expired(), JobUpdate(outcome=OutcomeName.EXPIRED, reason="expires_at", answer=LOOKED)),
        (
            Released(reason="not_begun"),
            JobUpdate(outcome=OutcomeName.RELEASED, delay=IMMEDIATELY, reason="not_begun"),
        ),
        *(
            (
                Released(reason="trouble", blame=blame, answer=DROPPED),
                JobUpdate(
                    outcome=OutcomeName.RELEASED,
                    delay=RELEASE_DELAY,
                    reason="trouble",
                    answer=DROPPED,
                ),
            )
            for blame in (Blame.RELAY, Blame.CONFIGURATION, Blame.THROTTLE)
        ),
    ],
)
def test_each_outcome_sets_the_status_it_names_and_counts_no_failure(outcome: Outcome, update: JobUpdate) -> None:
    assert settled(outcome, failures=11) == update


@pytest.mark.parametrize("failures", [0, 1, 10])
def test_a_temporary_refusal_counts_and_is_retried_after_the_backoff(failures: int) -> None:
    found = settled(Retry(reason="later", answer=LATER), failures=failures)
    assert (found.outcome, found.status, found.failed) == ("retry", "pending", True)
    assert (found.reason, found.answer) == ("later", LATER)
    assert found.delay is not None
    assert found.delay >= timedelta(seconds=30) * 2 ** min(failures, 8)


def test_a_temporary_refusal_keeps_the_minimum_wait_it_asks_for() -> None:
    assert settled(Retry(reason="later", answer=LATER, floor=timedelta(minutes=5))).delay == timedelta(minutes=5)


@pytest.mark.parametrize(
    ("failures", "max_failures", "most", "status"),
    [
        (10, 12, None, "pending"),
        (11, 12, None, "dead"),
        (0, 1, None, "dead"),
        (1, 12, 3, "pending"),
        (2, 12, 3, "dead"),
        (7, 12, 3, "dead"),
        (1, 2, 3, "dead"),
    ],
    ids=[
        "one left",
        "budget spent",
        "budget of one",
        "bug, tried twice",
        "bug, tried three times",
        "bug after refusals",
        "the smaller budget holds",
    ],
)
def test_the_failure_that_spends_the_budget_is_the_last(
    failures: int, max_failures: int, most: int | None, status: str
) -> None:
    outcome = Retry(reason="later", answer=LATER, max_failures=most)
    found = settled(outcome, failures=failures, max_failures=max_failures)
    assert (found.status, found.failed) == (status, True)
    assert (found.delay is None) == (status == "dead")
    assert found.reason == "later"


@pytest.mark.parametrize(
    ("outcome", "status"),
    [
        (Sent(answer=YES), JobStatus.SENT),
        (Dead(reason="refused", answer=NO), JobStatus.DEAD),
        (Skipped(reason="muted_cl"), JobStatus.SKIPPED),
        (Expired(), JobStatus.EXPIRED),
        (Released(reason="not_begun"), JobStatus.PENDING),
        (Retry(reason="later", answer=NO), JobStatus.PENDING),
        (Retry(reason="later", answer=NO, max_failures=1), JobStatus.DEAD),
    ],
)
def test_only_a_retried_or_released_job_is_still_pending(outcome: Outcome, status: JobStatus) -> None:
    assert settled(outcome).status is status
