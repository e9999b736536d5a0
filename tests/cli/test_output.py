"""What commands print for people: tables that fit a terminal, with relative times."""

from datetime import UTC, datetime, timedelta

import pytest

from notify.cli.output import duration, relative
from notify.store.database import Database
from tests.cli.conftest import Notify
from tests.support import rows

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
KEY = "demo-5f3b2c1d9a8e4f70b1c2d3e4f5a6b7c8"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.2, "0 s"), (59, "59 s"), (61, "1 min 1 s"), (3_600, "1 h"), (90_061, "1 d 1 h"), (86_400 * 3, "3 d")],
)
def test_durations_have_the_two_largest_units(seconds: float, words: str) -> None:
    assert duration(seconds) == words
    assert relative(NOON - timedelta(seconds=seconds), now=NOON) == f"{words} ago"


def test_what_is_to_come_is_ahead() -> None:
    assert relative(NOON + timedelta(hours=49), now=NOON) == "in 2 d 1 h"


@pytest.mark.parametrize(
    ("columns", "cells"),
    [
        (
            {"due_at": rows.ago(hours=-49, minutes=-1), "deferred_by": "quiet_hours"},
            ["pending", "quiet hours", "alice", "CL-4821", "cl.comment.created", "in 2 d 1 h"],
        ),
        (
            {**rows.ended("dead", at=rows.ago(hours=3)), "outcome_reason": "refused", "last_code": 554},
            ["dead", "refused 554", "alice", "CL-4821", "cl.comment.created", "3 h"],
        ),
    ],
)
def test_a_job_fits_a_line_with_when_it_leaves_or_ended(
    notify: Notify, database: Database, columns: dict[str, object], cells: list[str]
) -> None:
    with database.begin() as connection:
        rows.job(connection, topic="CL-4821", **columns)

    heading, row = notify("jobs", "list").output.splitlines()

    assert all(cell in row for cell in cells)
    assert "when" in heading


def test_the_key_of_an_event_can_be_copied_from_the_list(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        rows.event(connection, key=KEY, topic="CL-4821", last_error="unknown_topic", due_at=rows.ago(minutes=-5))
    assert KEY in notify("events", "list").output


@pytest.mark.parametrize("command", ["jobs list", "events list", "token list"])
def test_an_empty_list_says_that_it_is_empty(notify: Notify, command: str) -> None:
    assert notify(*command.split()).output.startswith("no ")
    assert notify(*command.split(), "--json").json == []
