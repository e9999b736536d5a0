"""How a status is fitted to what forges take."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.statuses import (
    CHECK_STATES,
    GITEA_STATES,
    LONGEST_DESCRIPTION,
    LONGEST_TEXT,
    STATUS_STATES,
    BuildProgress,
    StatusKind,
    StatusState,
    is_completed,
    nearest_status,
    short_description,
    short_text,
    shown_progress,
)


@pytest.mark.parametrize(
    ("progress", "check_run", "status"),
    [
        (BuildProgress.STARTED, "in_progress", "pending"),
        (BuildProgress.SUCCESS, "success", "success"),
        (BuildProgress.FAILURE, "failure", "failure"),
        (BuildProgress.TIMED_OUT, "timed_out", "failure"),
        (BuildProgress.SKIPPED, "skipped", "success"),
        (BuildProgress.UNEXPECTED_ERROR, "failure", "failure"),
    ],
)
def test_the_progress_of_a_build_has_one_state_of_each_kind(
    progress: BuildProgress, check_run: str, status: str
) -> None:
    assert shown_progress(progress, kind=StatusKind.CHECK_RUN).state == check_run
    assert shown_progress(progress, kind=StatusKind.STATUS).state == status


def test_what_a_state_cannot_say_of_a_build_is_said_in_words() -> None:
    assert shown_progress(BuildProgress.SKIPPED, kind=StatusKind.STATUS).words
    assert shown_progress(BuildProgress.UNEXPECTED_ERROR, kind=StatusKind.CHECK_RUN).words
    assert shown_progress(BuildProgress.SUCCESS, kind=StatusKind.STATUS).words is None


@pytest.mark.parametrize("among", [STATUS_STATES, GITEA_STATES])
@pytest.mark.parametrize("state", StatusState)
def test_every_state_comes_near_to_a_commit_status(state: StatusState, among: frozenset[StatusState]) -> None:
    shown = nearest_status(state, among=among)

    assert shown in among
    assert shown is state or state not in among
    # Nothing that runs or failed may look green.
    unfinished_or_bad = {"pending", "queued", "in_progress", "failure", "error", "cancelled", "timed_out"}
    assert not (shown is StatusState.SUCCESS and state in unfinished_or_bad)


def test_a_check_run_is_completed_by_its_conclusion_alone() -> None:
    assert {state for state in CHECK_STATES if not is_completed(state)} == {"queued", "in_progress"}


@given(st.text(max_size=400))
def test_a_description_is_one_line_that_the_forge_takes(text: str) -> None:
    shown = short_description(text)

    assert len(shown) <= LONGEST_DESCRIPTION
    assert len(shown.splitlines()) <= 1


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("All  green\n", "All green"),
        ("é" * 140, "é" * 140),
        ("word " * 40, " ".join(["word"] * 28) + "…"),
        ("x" * 139 + " y", "x" * 139 + "…"),
        ("x" * 200, "x" * 139 + "…"),
    ],
)
def test_a_long_description_ends_at_a_word(given: str, shown: str) -> None:
    assert short_description(given) == shown


def test_a_long_text_is_cut_and_says_so() -> None:
    assert short_text("x" * LONGEST_TEXT) == "x" * LONGEST_TEXT
    assert len(short_text("x" * (LONGEST_TEXT + 1))) <= LONGEST_TEXT
    assert short_text("x" * (LONGEST_TEXT + 1)).endswith("the forge takes.")
