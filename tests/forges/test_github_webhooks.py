"""What GitHub delivers becomes the right event, or none, for every row of the table in FORGES §4.1."""

import json
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlencode

import pytest

from notify.domain import events
from notify.domain.forge import (
    Account,
    ChangeState,
    ChangeTouched,
    ForgeEvent,
    Ignored,
    ParsedDelivery,
    Ping,
    Push,
    RepositoryMoved,
    ReviewRequest,
    RunEnded,
    Unreadable,
    Verdict,
)
from notify.forges.connect import parser
from tests.forges.shapes import GITHUB, changed, settings

OWN = "notify-acme[bot]"
PARSER = parser(settings(app_id=1, token=None, bots=frozenset({"release-bot"})))
PULL, ISSUE = GITHUB["pull_request"], GITHUB["issue"]
COMMENT, REVIEW_COMMENT, REVIEW = GITHUB["comment"], GITHUB["review_comment"], GITHUB["review"]
# As deliveries about reviews state it.
SIMPLE = {k: v for k, v in PULL.items() if not k.startswith(("merged", "additions", "deletions", "changed"))} | {
    "merged_at": None
}
BOB, DANA = Account(login="Bob"), Account(login="dana")


def body(action: str | None = None, **parts: Any) -> dict[str, Any]:
    stated = {"repository": GITHUB["repository"], "sender": GITHUB["bob"], "installation": {"id": 3}}
    return stated | ({"action": action} if action else {}) | parts


def parsed(event: str, stated: Any, *, own: str | None = OWN) -> ParsedDelivery:
    return PARSER.parse(event, json.dumps(stated).encode(), content_type="application/json", own_login=own)


def told(event: str, stated: Any) -> ForgeEvent:
    found = parsed(event, stated)
    assert isinstance(found, ForgeEvent), found
    return found


def reason(event: str, stated: Any) -> str:
    found = parsed(event, stated)
    assert isinstance(found, Ignored | ChangeTouched), found
    return found.reason


MERGED = changed(
    PULL,
    state="closed",
    merged=True,
    merged_at="2026-11-02T11:00:00Z",
    closed_at="2026-11-02T11:00:00Z",
    merged_by=GITHUB["dana"],
)
CLOSED = changed(PULL, state="closed", closed_at="2026-11-02T11:00:00Z")
NEW_BASE = {"base": {"ref": {"from": "develop"}, "sha": {"from": "f" * 40}}}

EVENTS = {
    "a comment": (
        ("issue_comment", body("created", issue=ISSUE, comment=COMMENT)),
        (events.COMMENT_CREATED, "comment:501", "Bob", "10:31:00"),
    ),
    "a review with a verdict": (
        ("pull_request_review", body("submitted", pull_request=SIMPLE, review=REVIEW)),
        (events.REVIEW_SUBMITTED, "review:801", "Bob", "10:32:05"),
    ),
    "a person is asked": (
        ("pull_request", body("review_requested", number=7, pull_request=PULL, requested_reviewer=GITHUB["bob"])),
        (events.REVIEW_REQUESTED, "requested:7:bob:2026-11-02T10:30:00+00:00", "Bob", "10:30:00"),
    ),
    "a team is asked": (
        ("pull_request", body("review_requested", number=7, pull_request=PULL, requested_team=GITHUB["core"])),
        (events.REVIEW_REQUESTED, "requested:7:team/core:2026-11-02T10:30:00+00:00", "Bob", "10:30:00"),
    ),
    "opened": (
        ("pull_request", body("opened", number=7, pull_request=PULL)),
        (events.CREATED, "created:7", "Bob", "09:00:00"),
    ),
    "ready": (
        ("pull_request", body("ready_for_review", number=7, pull_request=PULL)),
        (events.CREATED, "created:7", "Bob", "10:30:00"),
    ),
    "pushed to": (
        ("pull_request", body("synchronize", number=7, before="0" * 40, after="a" * 40, pull_request=PULL)),
        (events.UPDATED, f"updated:7:aaaa{'0' * 36}", "Bob", "10:30:00"),
    ),
    "a new base": (
        ("pull_request", body("edited", number=7, pull_request=PULL, changes=NEW_BASE)),
        (events.UPDATED, f"retargeted:7:develop:main:aaaa{'0' * 36}", "Bob", "10:30:00"),
    ),
    "merged": (
        ("pull_request", body("closed", number=7, pull_request=MERGED)),
        (events.MERGED, "merged:7", "Bob", "11:00:00"),
    ),
    "merged by the queue, for somebody": (
        ("pull_request", body("closed", number=7, pull_request=MERGED, sender=GITHUB["queue"])),
        (events.MERGED, "merged:7", "dana", "11:00:00"),
    ),
    "closed": (
        ("pull_request", body("closed", number=7, pull_request=CLOSED)),
        (events.CLOSED, "closed:7:2026-11-02T11:00:00+00:00", "Bob", "11:00:00"),
    ),
    "reopened": (
        ("pull_request", body("reopened", number=7, pull_request=PULL)),
        (events.REOPENED, "reopened:7:2026-11-02T10:30:00+00:00", "Bob", "10:30:00"),
    ),
    "a comment on a line outside any review": (
        (
            "pull_request_review_comment",
            body("created", pull_request=SIMPLE, comment=changed(REVIEW_COMMENT, pull_request_review_id=None)),
        ),
        (events.COMMENT_CREATED, "review_comment:601", "Bob", "10:32:00"),
    ),
}


@pytest.mark.parametrize(("delivery", "expected"), EVENTS.values(), ids=EVENTS)
def test_a_delivery_becomes_its_event(delivery: tuple[str, Any], expected: tuple[str, str, str, str]) -> None:
    found = told(*delivery)
    type_, key, actor, at = expected
    assert (found.type, found.key) == (type_, f"github:700:{key}")
    assert found.actor is not None
    assert found.actor.login == actor
    assert found.occurred_at == datetime.fromisoformat(f"2026-11-02T{at}+00:00")
    assert (found.repository.id, found.repository.full_name, found.change.number) == (700, "acme/monorepo", 7)
    assert found.certain


def test_an_event_states_the_change_as_it_was_delivered() -> None:
    change = told("pull_request", body("opened", number=7, pull_request=PULL)).change
    assert (change.title, change.description) == ("Cap the upload retry", "The jitter comes after the cap.")
    assert (change.state, change.draft, change.opener) == (ChangeState.OPEN, False, DANA)
    assert change.head is not None
    assert change.base is not None
    assert (change.head.repository, change.base.repository) == ("dana/monorepo", "acme/monorepo")
    assert (change.requested, change.requested_teams) == (("Bob",), ("core",))
    assert (change.files, change.added, change.removed, change.merge_commit) == (2, 12, 3, None)
    assert change.updated_at == datetime(2026, 11, 2, 10, 30, tzinfo=UTC)


def test_a_comment_keeps_its_line_and_the_code_that_it_is_about() -> None:
    asked = body("created", pull_request=PULL, comment=changed(REVIEW_COMMENT, start_line=41))
    comment = told("pull_request_review_comment", asked).comment
    assert comment is not None
    assert (comment.path, comment.line, comment.review_id) == ("src/upload/retry.py", 42, 801)
    assert comment.code == "    cap = 60\n    delay = base * 2 ** n"


def test_who_is_asked_is_stated() -> None:
    team = told("pull_request", EVENTS["a team is asked"][0][1]).request
    person = told("pull_request", EVENTS["a person is asked"][0][1]).request
    assert (team, person) == (ReviewRequest(team="core"), ReviewRequest(login="Bob"))


UNCERTAIN = {
    "a comment that belongs to a review": (
        "pull_request_review_comment",
        body("created", pull_request=SIMPLE, comment=REVIEW_COMMENT),
    ),
    "a review without words and verdict": (
        "pull_request_review",
        body("submitted", pull_request=SIMPLE, review=changed(REVIEW, state="commented", body=None)),
    ),
}


@pytest.mark.parametrize("delivery", UNCERTAIN.values(), ids=UNCERTAIN)
def test_what_a_delivery_cannot_tell_is_uncertain(delivery: tuple[str, Any]) -> None:
    assert not told(*delivery).certain


def test_a_review_that_says_something_is_certain_without_a_verdict() -> None:
    said = told(
        "pull_request_review", body("submitted", pull_request=SIMPLE, review=changed(REVIEW, state="commented"))
    )
    assert said.certain
    assert said.review is not None
    assert said.review.verdict is Verdict.COMMENTED


DRAFT = changed(PULL, draft=True)
UNTOLD = {
    "a draft is opened": ("pull_request", body("opened", pull_request=DRAFT), "draft"),
    "a draft is pushed to": ("pull_request", body("synchronize", pull_request=DRAFT), "draft"),
    "a draft gets a new base": ("pull_request", body("edited", pull_request=DRAFT, changes=NEW_BASE), "draft"),
    "a draft's review is asked for": (
        "pull_request",
        body("review_requested", pull_request=DRAFT, requested_reviewer=GITHUB["bob"]),
        "draft",
    ),
    "a draft is closed": ("pull_request", body("closed", pull_request=changed(CLOSED, draft=True)), "draft"),
    "a change is a draft again": ("pull_request", body("converted_to_draft", pull_request=DRAFT), "converted_to_draft"),
    "a title is edited": (
        "pull_request",
        body("edited", pull_request=PULL, changes={"title": {"from": "x"}}),
        "edited",
    ),
    "a request is withdrawn": (
        "pull_request",
        body("review_request_removed", pull_request=PULL, requested_reviewer=GITHUB["bob"]),
        "review_request_removed",
    ),
    "a review is dismissed": (
        "pull_request_review",
        body("dismissed", pull_request=SIMPLE, review=changed(REVIEW, state="dismissed")),
        "dismissed",
    ),
    "our own comment": (
        "issue_comment",
        body("created", issue=ISSUE, comment=changed(COMMENT, user=GITHUB["robot"]), sender=GITHUB["robot"]),
        "own",
    ),
    "our own comment, by the app's number": (
        "issue_comment",
        body(
            "created",
            issue=ISSUE,
            comment=changed(COMMENT, user=changed(GITHUB["robot"], login="x[bot]"), performed_via_github_app={"id": 1}),
        ),
        "own",
    ),
    "our own review": (
        "pull_request_review",
        body("submitted", pull_request=SIMPLE, review=changed(REVIEW, user=GITHUB["robot"]), sender=GITHUB["robot"]),
        "own",
    ),
}


@pytest.mark.parametrize(("event", "stated", "why"), UNTOLD.values(), ids=UNTOLD)
def test_it_is_read_again_and_nobody_is_told(event: str, stated: Any, why: str) -> None:
    found = parsed(event, stated)
    assert isinstance(found, ChangeTouched), found
    assert (found.repository.id, found.number, found.reason) == (700, 7, why)


ZERO = "0" * 40
IGNORED = {
    "a comment is edited": ("issue_comment", body("edited", issue=ISSUE, comment=COMMENT), "edited"),
    "a comment is deleted": ("issue_comment", body("deleted", issue=ISSUE, comment=COMMENT), "deleted"),
    "a comment on a line is edited": (
        "pull_request_review_comment",
        body("edited", pull_request=SIMPLE, comment=REVIEW_COMMENT),
        "edited",
    ),
    "a review is edited": ("pull_request_review", body("edited", pull_request=SIMPLE, review=REVIEW), "edited"),
    "a comment on an issue": (
        "issue_comment",
        body("created", issue=changed(ISSUE, pull_request=None), comment=COMMENT),
        "issue",
    ),
    "a label": ("pull_request", body("labeled", pull_request=PULL, label={"name": "x"}), "untold_action"),
    "into the merge queue": ("pull_request", body("enqueued", pull_request=PULL), "untold_action"),
    "the merge queue's group": ("merge_group", body("checks_requested", merge_group={}), "merge_queue"),
    "the merge queue's push": (
        "push",
        body(**changed(GITHUB["push"], ref="refs/heads/gh-readonly-queue/main/pr-7-bbbb")),
        "merge_queue",
    ),
    "an action of tomorrow": ("pull_request", body("teleported", pull_request=PULL), "unknown_action"),
    "an event of tomorrow": ("teleport", body("created"), "unknown_event"),
    "a tag": ("push", body(**changed(GITHUB["push"], ref="refs/tags/v1")), "tag"),
    "a deleted branch": ("push", body(**changed(GITHUB["push"], after=ZERO, deleted=True)), "deleted_branch"),
    "the zero hash": ("push", body(**changed(GITHUB["push"], after=ZERO)), "deleted_branch"),
    "an archived repository": ("repository", body("archived"), "untold_action"),
    "a pending review": (
        "pull_request_review",
        body("submitted", pull_request=SIMPLE, review=changed(REVIEW, state="pending")),
        "unsubmitted_review",
    ),
    "a comment without words": (
        "issue_comment",
        body("created", issue=ISSUE, comment=changed(COMMENT, body=" \n")),
        "empty_comment",
    ),
}


@pytest.mark.parametrize(("event", "stated", "why"), IGNORED.values(), ids=IGNORED)
def test_it_is_ignored_with_a_reason(event: str, stated: Any, why: str) -> None:
    assert parsed(event, stated) == Ignored(reason=why)


def test_a_comment_on_a_draft_is_told_since_nothing_would_tell_it_later() -> None:
    assert told("issue_comment", body("created", issue=changed(ISSUE, draft=True), comment=COMMENT)).certain


def test_a_draft_that_is_ready_and_a_change_that_is_opened_are_told_once() -> None:
    opened = told("pull_request", body("opened", pull_request=PULL))
    ready = told("pull_request", body("ready_for_review", pull_request=PULL))
    assert opened.key == ready.key


def test_another_bots_comment_is_told_as_a_bots() -> None:
    robot = changed(GITHUB["robot"], login="linter[bot]")
    said = told("issue_comment", body("created", issue=ISSUE, comment=changed(COMMENT, user=robot)))
    assert said.actor == Account(login="linter[bot]", is_bot=True)


def test_a_login_that_the_configuration_calls_a_bot_is_one() -> None:
    user = changed(GITHUB["bob"], login="Release-Bot")
    said = told("issue_comment", body("created", issue=ISSUE, comment=changed(COMMENT, user=user)))
    assert said.actor == Account(login="Release-Bot", is_bot=True)


def test_what_our_app_opens_is_told() -> None:
    opened = told(
        "pull_request", body("opened", pull_request=changed(PULL, user=GITHUB["robot"]), sender=GITHUB["robot"])
    )
    assert opened.change.opener == Account(login=OWN, is_bot=True)


def test_a_person_who_writes_through_our_app_is_not_the_app() -> None:
    through = changed(COMMENT, performed_via_github_app={"id": 1})
    assert told("issue_comment", body("created", issue=ISSUE, comment=through)).actor == BOB


def test_deleted_accounts_are_nobody() -> None:
    gone = changed(PULL, user=None, head__repo=None)
    change = told("pull_request", body("opened", pull_request=gone)).change
    assert change.opener is None
    assert change.head is not None
    assert change.head.repository is None
    said = told("issue_comment", body("created", issue=changed(ISSUE, user=None), comment=changed(COMMENT, user=None)))
    assert said.comment is not None
    assert said.comment.author is None
    assert said.actor == BOB


def test_the_ghost_is_nobody() -> None:
    ghost = changed(GITHUB["bob"], login="ghost")
    assert told("pull_request", body("opened", pull_request=changed(PULL, user=ghost))).change.opener is None


def test_a_push_to_a_branch_is_one() -> None:
    epoch = changed(GITHUB["repository"], pushed_at=1_793_606_400)
    assert parsed("push", body(**GITHUB["push"], repository=epoch)) == Push(
        repository=told("pull_request", body("opened", pull_request=PULL, repository=epoch)).repository,
        ref="refs/heads/main",
        before=f"bbbb{'0' * 36}",
        after=f"cccc{'0' * 36}",
        actor=BOB,
    )


@pytest.mark.parametrize(
    ("action", "changes", "old_name"),
    [
        ("renamed", {"repository": {"name": {"from": "mono"}}}, "acme/mono"),
        ("transferred", {"owner": {"from": {"user": {"login": "dana"}}}}, "dana/monorepo"),
        ("transferred", {"owner": {"from": {"organization": {"login": "old-acme"}}}}, "old-acme/monorepo"),
    ],
)
def test_a_repository_that_moved_says_from_where(action: str, changes: Any, old_name: str) -> None:
    found = parsed("repository", body(action, changes=changes))
    assert isinstance(found, RepositoryMoved), found
    assert (found.repository.id, found.repository.full_name, found.old_name) == (700, "acme/monorepo", old_name)


RUN = {"id": 7, "display_title": "Validate\nrequest/monorepo/main/1", "conclusion": "failure"}


def test_the_end_of_a_run_names_it_and_its_repository() -> None:
    found = parsed("workflow_run", body("completed", workflow_run=RUN))
    assert isinstance(found, RunEnded), found
    assert (found.repository.full_name, found.name) == ("acme/monorepo", "Validate request/monorepo/main/1")
    assert reason("workflow_run", body("requested", workflow_run=RUN)) == "untold_action"
    assert reason("workflow_run", body("cheered", workflow_run=RUN)) == "unknown_action"
    assert isinstance(parsed("workflow_run", body("completed")), Unreadable), "the body is of another event"
    assert isinstance(parsed("push", body(**GITHUB["push"], workflow_run=RUN)), Unreadable)


def test_a_ping_is_answered_though_it_names_no_repository() -> None:
    assert parsed("ping", GITHUB["ping"]) == Ping(hook_id=77)


def test_a_form_is_read_like_json() -> None:
    stated = body("created", issue=ISSUE, comment=changed(COMMENT, body="50 % + é = ü & so\r\n on\n"))
    form = urlencode({"payload": json.dumps(stated)}).encode()
    found = PARSER.parse("issue_comment", form, content_type="application/x-www-form-urlencoded")
    assert found == parsed("issue_comment", stated)


@pytest.mark.parametrize(
    "event", ["issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment"]
)
@pytest.mark.parametrize("delivery", [one[0] for one in EVENTS.values()], ids=list(EVENTS))
def test_a_body_under_another_events_name_tells_nothing(event: str, delivery: tuple[str, Any]) -> None:
    if event != delivery[0]:
        assert isinstance(parsed(event, delivery[1]), Unreadable)


@pytest.mark.parametrize("name", ["push", "repository", "ping"])
def test_a_comments_body_is_no_push_and_no_ping(name: str) -> None:
    assert isinstance(parsed(name, body("created", issue=ISSUE, comment=COMMENT)), Unreadable)


def test_headers_name_event_and_delivery() -> None:
    headers = {"x-github-event": "push", "x-github-delivery": "72d3162e", "x-gitea-event-type": "other"}
    assert (PARSER.event_name(headers), PARSER.delivery_id(headers)) == ("push", "72d3162e")
    assert (PARSER.event_name({}), PARSER.delivery_id({})) == (None, None)
