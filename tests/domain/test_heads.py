"""Requests, heads and facts: identity, order, and what a finished build establishes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.heads import (
    BROKEN,
    GREEN,
    WHOLE,
    BuildReport,
    BuildStatus,
    Head,
    InvalidUri,
    ProjectResult,
    QueuesDiffer,
    Request,
    RequestId,
    RequestState,
    Strategy,
    decided,
    facts_of,
    strategy_of,
)

SHA = "0123456789abcdef0123456789abcdef01234567"
HEAD = Head("github.com/acme/monorepo.git", "refs/heads/main", SHA)
REQUEST = Request(id=RequestId("monorepo/main", 7), uri=HEAD.uri)


def degrees(report: BuildReport) -> dict[str, float]:
    return {one.project: one.degree for one in facts_of(REQUEST, report)}


def test_a_head_is_found_again_by_its_uri() -> None:
    assert HEAD.uri == f"git://github.com/acme/monorepo.git/refs%2Fheads%2Fmain/{SHA}"
    assert Head.parse(HEAD.uri) == HEAD


@given(st.text(st.characters(exclude_categories=["Cc", "Cs", "Zs", "Zl", "Zp"], exclude_characters="?#"), min_size=1))
def test_every_ref_survives_its_uri(name: str) -> None:
    head = Head("host/repo", f"refs/heads/{name}", SHA)
    assert Head.parse(head.uri) == head


@pytest.mark.parametrize(
    "uri",
    [
        "",
        f"https://host/repo/refs%2Fheads%2Fmain/{SHA}",
        f"git://host/repo/refs/heads/main/{SHA}",  # the ref is not encoded
        f"git://host/repo/refs%2fheads%2fmain/{SHA}",  # another spelling of the same head
        f"git://host/repo/heads%2Fmain/{SHA}",
        f"git://host/repo/refs%2Fheads%2Fmain/{SHA[:-1]}",
        f"git://host/repo/refs%2Fheads%2Fmain/{SHA.upper()}",
        f"git://host/repo/refs%2Fheads%2Fmain/{SHA}\n",
        f"git://host/repo/refs%2Fheads%2F%6Dain/{SHA}",
        f"git://{'x' * 2000}/refs%2Fheads%2Fmain/{SHA}",
    ],
)
def test_only_the_one_spelling_of_a_head_is_accepted(uri: str) -> None:
    with pytest.raises(InvalidUri):
        Head.parse(uri)


def test_requests_are_ordered_by_number_and_not_as_text() -> None:
    assert RequestId("q", 9) < RequestId("q", 10)
    assert not RequestId("q", 10) < RequestId("q", 10)


def test_requests_of_two_queues_have_no_order() -> None:
    with pytest.raises(QueuesDiffer):
        assert RequestId("a", 1) < RequestId("b", 2)


@pytest.mark.parametrize("text", ["request/q/0", "request/q/01", "request/q/-1", "request//1", "q/1", "request/q/1 "])
def test_what_names_no_request_is_none(text: str) -> None:
    assert RequestId.parse(text) is None


def test_a_request_is_found_by_its_name() -> None:
    assert RequestId.parse(str(REQUEST.id)) == REQUEST.id


@pytest.mark.parametrize(
    ("status", "projects", "expected"),
    [
        (BuildStatus.SUCCESS, {}, {WHOLE: GREEN}),
        (BuildStatus.FAILURE, {}, {WHOLE: BROKEN}),
        (BuildStatus.TIMED_OUT, {}, {WHOLE: BROKEN}),
        (BuildStatus.FAILURE, {"api": 0.25, "web": 0.0}, {WHOLE: 0.25, "api": 0.25, "web": 0.0}),
        (BuildStatus.FAILURE, {"api": 0.0}, {WHOLE: BROKEN, "api": 0.0}),
        (BuildStatus.SUCCESS, {"api": 0.5}, {WHOLE: 0.5, "api": 0.5}),
        (BuildStatus.SKIPPED, {"api": 0.5}, {}),
        (BuildStatus.CANCELLED, {}, {}),
        (BuildStatus.UNEXPECTED_ERROR, {"api": 1.0}, {}),
        (BuildStatus.RUNNING, {}, {}),
    ],
)
def test_a_finished_build_establishes_facts(
    status: BuildStatus, projects: dict[str, float], expected: dict[str, float]
) -> None:
    report = BuildReport(status=status, projects=tuple(ProjectResult(*one) for one in projects.items()))
    assert degrees(report) == expected


@given(st.sampled_from(BuildStatus), st.lists(st.floats(0, 1), max_size=3))
def test_a_request_succeeds_only_with_a_green_fact(status: BuildStatus, found: list[float]) -> None:
    report = BuildReport(status=status, projects=tuple(ProjectResult(f"p{i}", one) for i, one in enumerate(found)))
    is_green = degrees(report).get(WHOLE) == GREEN
    assert (decided(REQUEST, report).state is RequestState.SUCCEEDED) == is_green


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (BuildStatus.SKIPPED, (RequestState.CANCELLED, False)),
        (BuildStatus.CANCELLED, (RequestState.CANCELLED, False)),
        (BuildStatus.UNEXPECTED_ERROR, (RequestState.FAILED, True)),
        (BuildStatus.FAILURE, (RequestState.FAILED, False)),
        (BuildStatus.TIMED_OUT, (RequestState.FAILED, False)),
    ],
)
def test_a_build_that_is_not_green_never_succeeds(status: BuildStatus, expected: tuple[RequestState, bool]) -> None:
    request = decided(REQUEST, BuildReport(status=status))
    assert (request.state, request.forced) == expected


@pytest.mark.parametrize(
    ("last_green", "descends", "expected"),
    [
        (None, True, (Strategy.FULL, None)),
        ("uri", False, (Strategy.FULL, None)),
        ("uri", True, (Strategy.INCREMENTAL, "uri")),
    ],
)
def test_only_a_descendant_of_the_last_green_head_is_built_incrementally(
    last_green: str | None, descends: bool, expected: tuple[Strategy, str | None]
) -> None:
    assert strategy_of(last_green, descends=descends) == expected
