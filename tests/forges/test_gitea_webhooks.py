"""What Gitea delivers becomes the right event, or none, for every row of the table in FORGES §4.1."""

import json
from datetime import datetime
from typing import Any

import pytest

from notify.domain import events
from notify.domain.forge import Account, ChangeTouched, ForgeEvent, Ignored, ParsedDelivery, Push, Unreadable, Verdict
from notify.domain.forge_settings import ForgeKind
from notify.forges.connect import parser
from tests.forges.shapes import GITEA, changed, settings

PARSER = parser(settings(ForgeKind.GITEA, name="code", bots=frozenset({"release-bot"})))
PULL, ISSUE, COMMENT = GITEA["pull_request"], GITEA["issue"], GITEA["comment"]
BOB = Account(login="Bob")


def body(action: str | None = None, **parts: Any) -> dict[str, Any]:
    stated = {"repository": GITEA["repository"], "sender": GITEA["bob"]}
    return stated | ({"action": action} if action else {}) | parts


def pulled(action: str, **parts: Any) -> dict[str, Any]:
    """As Gitea states it: what there is none of is null."""
    pull = {"number": 7, "pull_request": PULL, "requested_reviewer": None, "review": None, "commit_id": ""}
    return body(action, **pull | parts)


def commented(action: str = "created", **parts: Any) -> dict[str, Any]:
    return body(action, **{"issue": ISSUE, "comment": COMMENT, "is_pull": True} | parts)


def reviewed(kind: str, content: str = "Nearly.", **parts: Any) -> dict[str, Any]:
    return pulled("reviewed", review={"type": f"pull_request_review_{kind}", "content": content}, **parts)


def parsed(event: str, stated: Any) -> ParsedDelivery:
    return PARSER.parse(event, json.dumps(stated).encode(), content_type="application/json", own_login="notify")


def told(event: str, stated: Any) -> ForgeEvent:
    found = parsed(event, stated)
    assert isinstance(found, ForgeEvent), found
    return found


MERGED = changed(PULL, state="closed", merged=True, merged_at="2026-11-02T11:00:00Z", closed_at="2026-11-02T11:00:00Z")
CLOSED = changed(PULL, state="closed", closed_at="2026-11-02T11:00:00Z")
EVENTS = {
    "a comment": (
        ("pull_request_comment", commented()),
        (events.COMMENT_CREATED, "comment:501", "10:31:00"),
    ),
    "a comment, by a newer server": (
        ("pull_request_comment", commented(pull_request=PULL)),
        (events.COMMENT_CREATED, "comment:501", "10:31:00"),
    ),
    "a person is asked": (
        ("pull_request_review_request", pulled("review_requested", requested_reviewer=GITEA["bob"])),
        (events.REVIEW_REQUESTED, "requested:7:bob:2026-11-02T10:30:00+00:00", "10:30:00"),
    ),
    "opened": (("pull_request", pulled("opened")), (events.CREATED, "created:7", "09:00:00")),
    "ready": (
        (
            "pull_request",
            pulled("edited", changes={"title": {"from": "WIP: Cap the upload retry"}}),
        ),
        (events.CREATED, "created:7", "10:30:00"),
    ),
    "pushed to": (
        ("pull_request_sync", pulled("synchronized")),
        (events.UPDATED, f"updated:7:aaaa{'0' * 36}", "10:30:00"),
    ),
    "a new base": (
        ("pull_request", pulled("edited", changes={"ref": {"from": "develop"}})),
        (events.UPDATED, f"retargeted:7:develop:main:aaaa{'0' * 36}", "10:30:00"),
    ),
    "merged": (("pull_request", pulled("closed", pull_request=MERGED)), (events.MERGED, "merged:7", "11:00:00")),
    "closed": (
        ("pull_request", pulled("closed", pull_request=CLOSED)),
        (events.CLOSED, "closed:7:2026-11-02T11:00:00+00:00", "11:00:00"),
    ),
    "reopened": (
        ("pull_request", pulled("reopened")),
        (events.REOPENED, "reopened:7:2026-11-02T10:30:00+00:00", "10:30:00"),
    ),
}


@pytest.mark.parametrize(("delivery", "expected"), EVENTS.values(), ids=EVENTS)
def test_a_delivery_becomes_its_event(delivery: tuple[str, Any], expected: tuple[str, str, str]) -> None:
    found = told(*delivery)
    type_, key, at = expected
    assert (found.type, found.key, found.actor) == (type_, f"code:700:{key}", BOB)
    assert found.occurred_at == datetime.fromisoformat(f"2026-11-02T{at}+00:00")
    assert (found.repository.full_name, found.change.number, found.change.title) == (
        "acme/monorepo",
        7,
        "Cap the upload retry",
    )
    assert found.certain


@pytest.mark.parametrize(
    ("kind", "verdict"),
    [
        ("approved", Verdict.APPROVED),
        ("rejected", Verdict.CHANGES_REQUESTED),
        ("comment", Verdict.COMMENTED),
    ],
)
def test_a_review_is_uncertain_since_it_has_no_id(kind: str, verdict: Verdict) -> None:
    found = told(f"pull_request_review_{kind}", reviewed(kind))
    assert (found.type, found.certain, found.actor) == (events.REVIEW_SUBMITTED, False, BOB)
    assert found.review is not None
    assert (found.review.id, found.review.verdict, found.review.body) == (0, verdict, "Nearly.")


def test_the_signed_verdict_counts_and_not_the_headers() -> None:
    found = told("pull_request_review_approved", reviewed("rejected"))
    assert found.review is not None
    assert found.review.verdict is Verdict.CHANGES_REQUESTED


WIP = changed(PULL, title="WIP: Cap the upload retry", draft=True)
UNTOLD = {
    "a draft is opened": ("pull_request", pulled("opened", pull_request=WIP), "draft"),
    "a draft by its title alone": (
        "pull_request",
        pulled("opened", pull_request={k: v for k, v in WIP.items() if k != "draft"}),
        "draft",
    ),
    "a draft has another title": (
        "pull_request",
        pulled("edited", pull_request=WIP, changes={"title": {"from": "[WIP] Cap"}}),
        "draft",
    ),
    "a title is edited": ("pull_request", pulled("edited", changes={"title": {"from": "Cap"}}), "edited"),
    "a description is edited": ("pull_request", pulled("edited", changes={"body": {"from": ""}}), "edited"),
    "a request is withdrawn": (
        "pull_request_review_request",
        pulled("review_request_removed", requested_reviewer=GITEA["bob"]),
        "review_request_removed",
    ),
    "our own comment": ("pull_request_comment", commented(comment=changed(COMMENT, user=GITEA["robot"])), "own"),
    "our own review": ("pull_request_review_comment", reviewed("comment", sender=GITEA["robot"]), "own"),
}


@pytest.mark.parametrize(("event", "stated", "why"), UNTOLD.values(), ids=UNTOLD)
def test_it_is_read_again_and_nobody_is_told(event: str, stated: Any, why: str) -> None:
    found = parsed(event, stated)
    assert isinstance(found, ChangeTouched), found
    assert (found.repository.id, found.number, found.reason) == (700, 7, why)


IGNORED = {
    "a comment is edited": ("pull_request_comment", commented("edited"), "edited"),
    "a comment on an issue": ("pull_request_comment", commented(is_pull=False), "issue"),
    "a comment without words": ("pull_request_comment", commented(comment=changed(COMMENT, body="")), "empty_comment"),
    "an issue's comment": ("issue_comment", commented(is_pull=False), "unknown_event"),
    "a label": ("pull_request_label", pulled("label_updated"), "untold_action"),
    "an action of tomorrow": ("pull_request", pulled("teleported"), "unknown_action"),
    "a review of tomorrow": ("pull_request_review_approved", reviewed("praised"), "unknown_action"),
    "a tag": ("push", body(**changed(GITEA["push"], ref="refs/tags/v1")), "tag"),
    "a deleted branch": ("push", body(**changed(GITEA["push"], after="0" * 40)), "deleted_branch"),
    "a deleted branch of SHA-256": ("push", body(**changed(GITEA["push"], after="0" * 64)), "deleted_branch"),
    "a wiki": ("wiki", body("created"), "unknown_event"),
}


@pytest.mark.parametrize(("event", "stated", "why"), IGNORED.values(), ids=IGNORED)
def test_it_is_ignored_with_a_reason(event: str, stated: Any, why: str) -> None:
    assert parsed(event, stated) == Ignored(reason=why)


def test_deleted_accounts_are_nobody() -> None:
    gone = pulled("opened", pull_request=changed(PULL, user=GITEA["ghost"], head__repo=None))
    change = told("pull_request", gone).change
    assert change.opener is None
    assert change.head is not None
    assert change.head.repository is None


def test_bots_are_those_of_the_configuration() -> None:
    said = told(
        "pull_request_comment", commented(comment=changed(COMMENT, user=changed(GITEA["bob"], login="Release-Bot")))
    )
    assert said.actor == Account(login="Release-Bot", is_bot=True)


def test_a_push_to_a_branch_is_one() -> None:
    found = parsed("push", body(**GITEA["push"]))
    assert isinstance(found, Push), found
    assert (found.ref, found.after, found.actor) == ("refs/heads/main", f"cccc{'0' * 36}", BOB)


@pytest.mark.parametrize("event", ["pull_request", "pull_request_sync", "pull_request_review_approved", "push"])
def test_a_comments_body_is_nothing_else(event: str) -> None:
    assert isinstance(parsed(event, commented()), Unreadable)


@pytest.mark.parametrize("event", ["pull_request", "pull_request_comment", "push"])
def test_a_reviews_body_is_nothing_else(event: str) -> None:
    assert isinstance(parsed(event, reviewed("approved")), Unreadable)


def test_only_giteas_own_headers_count() -> None:
    headers = {
        "x-github-event": "issue_comment",
        "x-github-delivery": "other",
        "x-gitea-event": "issue_comment",
        "x-gitea-event-type": "pull_request_comment",
        "x-gitea-delivery": "f6266f16",
    }
    assert (PARSER.event_name(headers), PARSER.delivery_id(headers)) == ("pull_request_comment", "f6266f16")
