"""The checker detects every broken promise; otherwise a passing run would mean nothing."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import text

from notify.store.database import Database
from tests.support import checker, rows
from tests.support.checker import EmailRow, EventRow, Evidence, NotificationRow, Tables, violations
from tests.support.producer import Emitted
from tests.support.wire import Copy, DataTransfer, Wire

AT = datetime(2026, 3, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)
EVENT = Emitted(key="k", link="CL-1", people=("ann",), committed=True, at=AT)
NAME = EVENT.message_ids["ann"]
OTHER = "other@example.com"
COPY = Copy(message_id=NAME, recipient="ann@example.com", at=AT + SECOND, answered=True)
TRANSFER = DataTransfer(message_id=NAME, connection=1, began=AT, ended=AT + SECOND)
ROW = EmailRow(
    message_id=NAME,
    username="ann",
    to_email="ann@example.com",
    status="sent",
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
TOLD = NotificationRow(key="k", username="ann", told_by=NAME)
SKIPPED = replace(TOLD, told_by=None)
BOBS = replace(ROW, message_id="bobs@example.com", username="bob")
DONE = EventRow(key="k", status="done", failures=0, max_failures=10, lapses=0, stuck=False)


def evidence(
    *,
    emitted: Emitted = EVENT,
    copies: tuple[Copy, ...] = (COPY,),
    transfers: tuple[DataTransfer, ...] = (TRANSFER,),
    bound: int = 9,
    **tables: Any,
) -> Evidence:
    """A correct run of one email, with the given changes."""
    believed = {"emails": [ROW], "notifications": [TOLD], "events": [DONE], "outcomes": {"sent": 1}, "undone": []}
    return Evidence([emitted], Wire(copies=copies, transfers=transfers), Tables(**{**believed, **tables}), bound)


def test_a_correct_run_breaks_no_promise() -> None:
    figures = checker.check(evidence())

    assert (figures.emitted, figures.owed, figures.lost, figures.repeated) == (1, 1, 0, 0)
    assert figures.longest_delay == SECOND


@pytest.mark.parametrize(
    ("broken", "given"),
    [
        (checker.everyone_concerned_reaches_an_end, {"emails": [replace(ROW, status="pending")]}),
        (checker.everyone_concerned_reaches_an_end, {"emails": [], "notifications": [], "copies": ()}),
        (checker.everyone_concerned_reaches_an_end, {"notifications": [TOLD, TOLD]}),
        (checker.everyone_concerned_reaches_an_end, {"notifications": []}),
        (checker.everyone_concerned_reaches_an_end, {"notifications": [SKIPPED]}),
        (checker.everyone_concerned_reaches_an_end, {"emails": [ROW, replace(BOBS, status="skipped")]}),
        (checker.everyone_concerned_reaches_an_end, {"events": []}),
        (checker.nothing_rolled_back_reaches_the_wire, {"emitted": replace(EVENT, committed=False)}),
        (checker.nothing_rolled_back_reaches_the_wire, {"emitted": replace(EVENT, committed=False), "copies": ()}),
        (
            checker.nothing_rolled_back_reaches_the_wire,
            {"emitted": replace(EVENT, committed=False), "emails": [], "notifications": [], "events": []},
        ),
        (checker.sent_means_accepted, {"copies": ()}),
        (checker.sent_means_accepted, {"emails": [ROW, AGAIN]}),
        (checker.every_repeat_is_explained, {"copies": (COPY, COPY)}),
        (
            checker.every_repeat_is_explained,
            {"copies": (COPY, COPY), "emails": [replace(ROW, lapses=1)], "bound": 0},
        ),
        (checker.unseen_ends_are_counted, {"emails": [replace(ROW, lapses=1)]}),
        (checker.unseen_ends_are_counted, {"outcomes": {"sent": 1, "ambiguous": 1}}),
        (checker.no_two_have_an_email_in_data_at_once, {"transfers": (TRANSFER, replace(TRANSFER, connection=2))}),
        (checker.failures_stay_within_the_budget, {"emails": [replace(ROW, failures=13)]}),
        (checker.failures_stay_within_the_budget, {"events": [replace(DONE, failures=11)]}),
        (checker.nothing_stays_claimed_past_its_lease, {"emails": [replace(ROW, stuck=True)]}),
        (checker.nothing_stays_claimed_past_its_lease, {"events": [replace(DONE, stuck=True)]}),
        (checker.sent_never_changes, {"undone": [f"{NAME}: dead"]}),
        (checker.all_copies_carry_one_message_id, {"copies": (COPY, replace(COPY, message_id=OTHER))}),
        (checker.all_copies_carry_one_message_id, {"copies": (replace(COPY, recipient="bob@example.com"),)}),
        (
            checker.all_copies_carry_one_message_id,
            {"emails": [ROW, AGAIN], "copies": (COPY, replace(REPLAY, recipient="bob@example.com"))},
        ),
        (
            checker.all_copies_carry_one_message_id,
            {"emails": [ROW, BOBS], "notifications": [replace(TOLD, told_by=BOBS.message_id)]},
        ),
        (checker.all_copies_carry_one_message_id, {"notifications": [replace(TOLD, told_by="nobody@example.com")]}),
        (
            checker.all_copies_carry_one_message_id,
            {
                "emails": [replace(ROW, message_id=OTHER)],
                "notifications": [replace(TOLD, told_by=OTHER)],
                "copies": (replace(COPY, message_id=OTHER),),
            },
        ),
    ],
)
def test_a_broken_promise_is_named(broken: Callable[[Evidence], object], given: dict[str, Any]) -> None:
    named = {line.partition(":")[0] for line in violations(evidence(**given))}

    assert broken.__name__ in named


@pytest.mark.parametrize(
    "given",
    [
        {"copies": (COPY, COPY), "emails": [replace(ROW, lapses=1)], "outcomes": {"lapse": 1}},
        {"copies": (COPY, COPY), "emails": [replace(ROW, unanswered=1)], "outcomes": {"ambiguous": 1}},
        {
            "transfers": (TRANSFER, replace(TRANSFER, connection=2)),
            "emails": [replace(ROW, lapses=1)],
            "outcomes": {"lapse": 1},
        },
        {"transfers": (TRANSFER, replace(TRANSFER, began=AT + SECOND, ended=AT + 2 * SECOND))},
        {"emails": [ROW, AGAIN], "copies": (COPY, REPLAY)},
        {"copies": (), "emails": [replace(ROW, status="dead", lapses=3, poison=True)], "outcomes": {"lapse": 2}},
        {"emitted": replace(EVENT, committed=False), "copies": (), "emails": [], "notifications": [], "events": []},
        {"emitted": replace(EVENT, committed=None), "copies": (), "emails": [], "notifications": [], "events": []},
    ],
)
def test_effects_that_faults_may_have_break_no_promise(given: dict[str, Any]) -> None:
    assert violations(evidence(**given)) == []


def test_an_email_that_was_never_sent_and_gives_no_reason_is_lost() -> None:
    without = evidence(copies=(), transfers=())
    assert without.lost == [NAME]
    assert evidence(copies=(), emails=[replace(ROW, status="expired")]).lost == []


def test_a_person_without_a_told_notification_is_lost_unless_the_relay_has_their_email() -> None:
    assert evidence(copies=(), emails=[], notifications=[SKIPPED]).lost == [NAME]
    assert evidence(emails=[], notifications=[SKIPPED]).lost == [NAME]
    assert evidence(copies=(), emails=[], notifications=[]).lost == [NAME]


def bundled(**changes: Any) -> Evidence:
    """A correct run in which the email about the first event tells ann about the second too, with the given changes."""
    second = Emitted(key="l", link="CL-1", people=("ann",), committed=True, at=AT - SECOND)
    honest = evidence(notifications=[TOLD, replace(TOLD, key="l")], events=[DONE, replace(DONE, key="l")])
    believed = replace(honest.tables, **changes)
    return replace(honest, emitted=[EVENT, second], tables=believed)


def test_all_events_of_a_bundle_count_as_delivered_by_its_one_message_id() -> None:
    figures = checker.check(bundled())

    assert (figures.emitted, figures.owed, figures.lost, figures.repeated) == (2, 2, 0, 0)
    assert figures.longest_delay == 2 * SECOND


@pytest.mark.parametrize(
    "changes",
    [
        {"notifications": [TOLD, replace(SKIPPED, key="l")]},
        {"notifications": [TOLD]},
        {"notifications": [TOLD, replace(TOLD, key="l", told_by=OTHER)]},
    ],
    ids=["left out", "forgotten", "by another"],
)
def test_an_event_missing_from_a_bundle_is_lost(changes: dict[str, Any]) -> None:
    second = bundled().emitted[1].message_ids["ann"]

    assert bundled(**changes).lost == [second]
    with pytest.raises(checker.BrokenPromise, match=f"lost: {second}"):
        checker.check(bundled(**changes))


def test_all_events_of_a_bundle_that_was_never_sent_are_lost_unless_it_gives_a_reason() -> None:
    nothing = Wire(copies=(), transfers=())
    assert len(replace(bundled(), wire=nothing).lost) == 2
    assert replace(bundled(emails=[replace(ROW, status="dead")]), wire=nothing).lost == []


def test_the_database_records_changes_to_the_notifications_of_a_sent_email(database: Database) -> None:
    with checker.watched(database):
        with database.begin() as connection:
            sent, waits = (rows.job(connection, **columns) for columns in (rows.ended("sent"), {}))
        named = "UPDATE notify.notifications SET decision = 'skipped', email_job_id = NULL WHERE email_job_id = :job"
        with database.begin() as connection:
            connection.execute(text(named), {"job": waits})
            assert checker.tables(connection).undone == []
            connection.execute(text(named), {"job": sent})
            (undone,) = checker.tables(connection).undone
    assert "not told of event" in undone


def test_a_run_that_lost_an_email_fails_and_the_email_is_named() -> None:
    with pytest.raises(checker.BrokenPromise, match=f"lost: {NAME}"):
        checker.check(evidence(copies=(), transfers=()))


def test_an_event_whose_commit_was_not_acknowledged_counts_if_the_table_has_it() -> None:
    assert evidence(emitted=replace(EVENT, committed=None), copies=()).lost == [NAME]
