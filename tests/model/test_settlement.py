"""No outcome loses an email: whatever an attempt ends in, its row has ended with a reason or comes due again."""

from dataclasses import replace
from datetime import timedelta
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from notify.domain.backoff import CAP
from notify.domain.claims import Claim
from notify.domain.outcomes import Answer, Blame, Dead, Expired, Outcome, Phase, Released, Retry, Sent, Skipped, settle

FINAL = {"sent", "skipped", "dead", "expired"}
NEEDS_A_REASON = {"skipped", "dead"}  # a CHECK of the table
# Far beyond what a relay asks for, but still an instant that PostgreSQL accepts.
LONGEST_FLOOR = timedelta(days=365)

words = st.text(min_size=1, max_size=20)
budgets = st.integers(min_value=1, max_value=40)
dice = st.integers().map(Random)
answers = st.builds(
    Answer,
    phase=st.sampled_from(Phase),
    code=st.none() | st.integers(min_value=200, max_value=599),
    enhanced=st.none() | st.from_regex(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}", fullmatch=True),
    text=words,
)
retries = st.builds(
    Retry,
    reason=words,
    answer=answers,
    floor=st.timedeltas(min_value=timedelta(0), max_value=LONGEST_FLOOR),
    ambiguous=st.booleans(),
    max_failures=st.none() | budgets,
)
outcomes: st.SearchStrategy[Outcome] = st.one_of(
    st.builds(Sent, answer=answers),
    retries,
    st.builds(Dead, reason=words, answer=answers, undeliverable=st.booleans()),
    st.builds(Skipped, reason=words),
    st.builds(Expired),
    st.builds(Released, reason=words, blame=st.sampled_from(Blame), answer=st.none() | answers),
)


@st.composite
def claims(draw: st.DrawFn) -> Claim:
    """Any claimable row: its budget is not spent."""
    max_failures = draw(budgets)
    return Claim(
        id=draw(st.integers(min_value=1)),
        attempt=draw(st.integers(min_value=1, max_value=1000)),
        failures=draw(st.integers(min_value=0, max_value=max_failures - 1)),
        max_failures=max_failures,
        lapses=draw(st.integers(min_value=0, max_value=5)),
    )


@settings(deadline=None, derandomize=True, max_examples=500)
@given(outcomes, claims(), dice)
def test_every_outcome_ends_the_email_with_a_reason_or_makes_it_due_again(
    outcome: Outcome, claim: Claim, rng: Random
) -> None:
    found = settle(outcome, claim, rng=rng)
    if found.delay is None:
        assert found.status in FINAL
        assert found.reason or found.status not in NEEDS_A_REASON
    else:
        assert found.status == "pending"
        assert timedelta(0) <= found.delay <= max(CAP, LONGEST_FLOOR)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(outcomes, claims(), dice)
def test_an_email_is_sent_exactly_when_the_relay_accepted_it(outcome: Outcome, claim: Claim, rng: Random) -> None:
    assert (settle(outcome, claim, rng=rng).status == "sent") == isinstance(outcome, Sent)


@settings(deadline=None, derandomize=True, max_examples=500)
@given(outcomes, claims(), dice)
def test_only_a_temporary_refusal_spends_the_budget_and_never_more_than_it_has(
    outcome: Outcome, claim: Claim, rng: Random
) -> None:
    found = settle(outcome, claim, rng=rng)
    failures = claim.failures + found.failed
    assert found.failed == isinstance(outcome, Retry)
    assert failures <= claim.max_failures
    assert found.delay is None or failures < claim.max_failures


@settings(deadline=None, derandomize=True)
@given(retries, claims(), dice)
def test_an_email_that_is_always_refused_is_dead_when_its_budget_is_spent_and_not_before(
    refusal: Retry, claim: Claim, rng: Random
) -> None:
    for failures in range(claim.failures, claim.max_failures):
        found = settle(replace(refusal, max_failures=None), replace(claim, failures=failures), rng=rng)
        is_last = failures + 1 == claim.max_failures
        assert found.status == ("dead" if is_last else "pending")
        assert is_last or (found.delay or timedelta(0)) >= refusal.floor
