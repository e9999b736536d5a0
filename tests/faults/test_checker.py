"""The checker sees every way in which a promise can be broken; otherwise a green run would mean nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from tests.support import checker
from tests.support.checker import EventRow, Evidence, LetterRow, Tables, violations
from tests.support.producer import Emitted
from tests.support.wire import Copy, Holding, Wire

AT = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVENT = Emitted(key="k", link="CL-1", people=("ann",), committed=True, at=AT)
NAME = EVENT.message_ids["ann"]
COPY = Copy(message_id=NAME, recipient="ann@example.com", at=AT + SECOND, answered=True)
HOLDING = Holding(message_id=NAME, connection=1, began=AT, ended=AT + SECOND)
ROW = LetterRow(
    key="k",
    username="ann",
    to_email="ann@example.com",
    status="sent",
    message_id=NAME,
    replay=False,
    failures=0,
    max_failures=12,
    lapses=0,
    poison=False,
    stuck=False,
    unanswered=0,
)
REPLAY = replace(COPY, message_id="again@example.com")
AGAIN = replace(ROW, message_id=REPLAY.message_id, replay=True)
DONE = EventRow(key="k", status="done", failures=0, max_failures=10, lapses=0, stuck=False)


def evidence(
    *,
    emitted: Emitted = EVENT,
    copies: tuple[Copy, ...] = (COPY,),
    holdings: tuple[Holding, ...] = (HOLDING,),
    bound: int = 9,
    **tables: Any,
) -> Evidence:
    """An honest run of one letter, but for what is given."""
    believed = {"letters": [ROW], "events": [DONE], "outcomes": {"sent": 1}, "undone": []}
    return Evidence([emitted], Wire(copies=copies, holdings=holdings), Tables(**{**believed, **tables}), bound)


def test_an_honest_run_breaks_nothing() -> None:
    figures = checker.check(evidence())

    assert (figures.emitted, figures.letters, figures.lost, figures.repeated) == (1, 1, 0, 0)
    assert figures.longest_delay == SECOND


@pytest.mark.parametrize(
    ("broken", "given"),
    [
        (checker.everyone_concerned_reaches_an_end, {"letters": [replace(ROW, status="pending")]}),
        (checker.everyone_concerned_reaches_an_end, {"letters": [], "copies": ()}),
        (checker.everyone_concerned_reaches_an_end, {"letters": [ROW, ROW]}),
        (checker.everyone_concerned_reaches_an_end, {"events": []}),
        (checker.nothing_rolled_back_reaches_the_wire, {"emitted": replace(EVENT, committed=False)}),
        (checker.nothing_rolled_back_reaches_the_wire, {"emitted": replace(EVENT, committed=False), "copies": ()}),
        (
            checker.nothing_rolled_back_reaches_the_wire,
            {"emitted": replace(EVENT, committed=False), "letters": [], "events": []},
        ),
        (checker.sent_means_accepted, {"copies": ()}),
        (checker.every_repeat_is_explained, {"copies": (COPY, COPY)}),
        (
            checker.every_repeat_is_explained,
            {"copies": (COPY, COPY), "letters": [replace(ROW, lapses=1)], "bound": 0},
        ),
        (checker.unseen_ends_are_counted, {"letters": [replace(ROW, lapses=1)]}),
        (checker.unseen_ends_are_counted, {"outcomes": {"sent": 1, "ambiguous": 1}}),
        (checker.no_two_hold_a_letter_in_data_at_once, {"holdings": (HOLDING, replace(HOLDING, connection=2))}),
        (checker.failures_stay_within_the_budget, {"letters": [replace(ROW, failures=13)]}),
        (checker.failures_stay_within_the_budget, {"events": [replace(DONE, failures=11)]}),
        (checker.nothing_stays_claimed_past_its_lease, {"letters": [replace(ROW, stuck=True)]}),
        (checker.nothing_stays_claimed_past_its_lease, {"events": [replace(DONE, stuck=True)]}),
        (checker.sent_never_changes, {"undone": [f"{NAME}: dead"]}),
        (checker.all_copies_carry_one_message_id, {"copies": (COPY, replace(COPY, message_id="other@example.com"))}),
        (checker.all_copies_carry_one_message_id, {"copies": (replace(COPY, recipient="bob@example.com"),)}),
        (
            checker.all_copies_carry_one_message_id,
            {"letters": [ROW, AGAIN], "copies": (COPY, replace(REPLAY, recipient="bob@example.com"))},
        ),
    ],
)
def test_a_broken_promise_is_named(broken: Callable[[Evidence], object], given: dict[str, Any]) -> None:
    named = {line.partition(":")[0] for line in violations(evidence(**given))}

    assert broken.__name__ in named


@pytest.mark.parametrize(
    "given",
    [
        {"copies": (COPY, COPY), "letters": [replace(ROW, lapses=1)], "outcomes": {"lapse": 1}},
        {"copies": (COPY, COPY), "letters": [replace(ROW, unanswered=1)], "outcomes": {"ambiguous": 1}},
        {
            "holdings": (HOLDING, replace(HOLDING, connection=2)),
            "letters": [replace(ROW, lapses=1)],
            "outcomes": {"lapse": 1},
        },
        {"holdings": (HOLDING, replace(HOLDING, began=AT + SECOND, ended=AT + 2 * SECOND))},
        {"letters": [ROW, AGAIN], "copies": (COPY, REPLAY)},
        {"copies": (), "letters": [replace(ROW, status="dead", lapses=3, poison=True)], "outcomes": {"lapse": 2}},
        {"emitted": replace(EVENT, committed=False), "copies": (), "letters": [], "events": []},
        {"emitted": replace(EVENT, committed=None), "copies": (), "letters": [], "events": []},
    ],
)
def test_what_faults_may_do_is_no_broken_promise(given: dict[str, Any]) -> None:
    assert violations(evidence(**given)) == []


def test_a_letter_that_never_left_and_does_not_say_why_is_lost() -> None:
    without = evidence(copies=(), holdings=())
    assert without.lost == [NAME]
    assert evidence(copies=(), letters=[replace(ROW, status="expired")]).lost == []


def test_a_run_that_lost_a_letter_is_refused_and_the_letter_named() -> None:
    with pytest.raises(checker.Broken, match=f"lost: {NAME}"):
        checker.check(evidence(copies=(), holdings=()))


def test_an_event_whose_commit_nobody_saw_counts_if_the_table_has_it() -> None:
    assert evidence(emitted=replace(EVENT, committed=None), copies=()).lost == [NAME]
