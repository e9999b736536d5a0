"""What only GitHub has: installations, deliveries that it keeps, and comments that belong to reviews."""

from datetime import UTC, datetime
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify.domain import events
from notify.domain.forge import FailedDelivery, ForgeEvent, Ignored
from notify.domain.forge_answers import ForgeFault
from notify.domain.forge_ports import ForgeReader
from notify.domain.forge_settings import Secret
from notify.forges.connect import parser
from tests.forges.server import Answer, Asked, ForgeServer
from tests.forges.shapes import GITHUB, changed, settings

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
PEM = KEY.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
PULL = "/repos/acme/monorepo/pulls/7"
SINCE = datetime(2026, 11, 1, tzinfo=UTC)


@pytest.fixture
def app(forge: ForgeServer) -> ForgeReader:
    """An app that is installed twice, and once more where it is suspended."""

    def installed(asked: Asked) -> Answer:
        number = asked.path.split("/")[3]
        return Answer({"token": f"ghs_{number}", "expires_at": "2100-01-01T00:00:00Z"}, 201)

    forge.says("/app", {"id": 1, "slug": "notify-acme"})
    forge.says(
        "/app/installations",
        [{"id": 7}, {"id": 8, "suspended_at": "2026-01-01T00:00:00Z"}, {"id": 9, "suspended_at": None}],
    )
    forge.says("/repos/acme/monorepo/installation", {"id": 7})
    for number in (7, 9):
        forge.scripts[f"/app/installations/{number}/access_tokens"] = installed
    return forge.reader(token=None, app_id=1, private_key=Secret("env:PEM", PEM))


def delivered(event: str, **parts: Any) -> ForgeEvent:
    from json import dumps  # noqa: PLC0415

    stated = {"repository": GITHUB["repository"], "sender": GITHUB["bob"], "pull_request": GITHUB["pull_request"]}
    body = dumps(stated | parts).encode()
    found = parser(settings()).parse(event, body, content_type="application/json")
    assert isinstance(found, ForgeEvent), found
    return found


def review_of(forge: ForgeServer, *comments: Any, **review: Any) -> None:
    forge.says(f"{PULL}/reviews/801", changed(GITHUB["review"], **review))
    forge.says(f"{PULL}/reviews/801/comments", list(comments))


def test_an_app_acts_under_its_slug(app: ForgeReader) -> None:
    assert app.own_login() == "notify-acme[bot]"


def test_an_app_sees_the_repositories_of_its_installations(app: ForgeReader, forge: ForgeServer) -> None:
    def repositories(asked: Asked) -> Answer:
        number = {"ghs_7": 700, "ghs_9": 900}[asked.token]
        return Answer({"total_count": 1, "repositories": [changed(GITHUB["repository"], id=number)]})

    forge.scripts["/installation/repositories"] = repositories
    assert [one.id for one in app.repositories()] == [700, 900]


def test_all_deliveries_of_one_review_complete_to_one_event(app: ForgeReader, forge: ForgeServer) -> None:
    """GitHub delivers the review and each of its comments."""
    comments = [changed(GITHUB["review_comment"], id=number) for number in (611, 612, 613)]
    review_of(forge, *comments)
    deliveries = [delivered("pull_request_review", action="submitted", review=GITHUB["review"])]
    deliveries += [delivered("pull_request_review_comment", action="created", comment=one) for one in comments]
    completed = [app.complete(one) for one in deliveries]
    assert {one.key for one in completed if isinstance(one, ForgeEvent)} == {"github:700:review:801"}
    assert all(one == completed[0] for one in completed)


def test_both_deliveries_of_a_single_comment_complete_to_one_event(app: ForgeReader, forge: ForgeServer) -> None:
    """GitHub makes a review of a comment on a line and delivers both."""
    silent: dict[str, Any] = {"state": "COMMENTED", "body": None}
    review_of(forge, GITHUB["review_comment"], **silent)
    deliveries = [
        delivered("pull_request_review", action="submitted", review=changed(GITHUB["review"], **silent)),
        delivered("pull_request_review_comment", action="created", comment=GITHUB["review_comment"]),
    ]
    first, second = (app.complete(one) for one in deliveries)
    assert isinstance(first, ForgeEvent)
    assert first == second
    assert (first.type, first.key) == (events.COMMENT_CREATED, "github:700:review_comment:601")


def test_a_comment_whose_review_was_withdrawn_tells_nobody(app: ForgeReader, forge: ForgeServer) -> None:
    review_of(forge, GITHUB["review_comment"], state="DISMISSED")
    delivery = delivered("pull_request_review_comment", action="created", comment=GITHUB["review_comment"])
    assert app.complete(delivery) == Ignored(reason="unsubmitted_review")


def test_a_comment_in_our_own_review_tells_nobody(app: ForgeReader, forge: ForgeServer) -> None:
    review_of(forge, GITHUB["review_comment"], user=GITHUB["robot"])
    delivery = delivered("pull_request_review_comment", action="created", comment=GITHUB["review_comment"])
    assert app.complete(delivery) == Ignored(reason="own")


def test_what_needs_no_completing_costs_no_call(app: ForgeReader, forge: ForgeServer) -> None:
    comment = delivered(
        "issue_comment", action="created", issue=GITHUB["issue"], comment=GITHUB["comment"], pull_request=None
    )
    assert app.complete(comment) == comment
    assert forge.asked == []


def _attempt(id_: int, guid: str, code: int, day: int) -> Any:
    return {
        "id": id_,
        "guid": guid,
        "delivered_at": f"2026-11-{day:02}T10:00:00Z",
        "redelivery": False,
        "status": "OK" if code == 202 else "failed",
        "status_code": code,
        "event": "push",
        "action": None,
    }


def test_a_failed_delivery_is_listed_once_unless_it_arrived_later(app: ForgeReader, forge: ForgeServer) -> None:
    forge.pages(
        "/app/hook/deliveries",
        [_attempt(9, "again", 202, 5), _attempt(8, "twice", 503, 4), _attempt(7, "twice", 503, 3)],
        [_attempt(6, "again", 0, 3), _attempt(5, "fine", 200, 2), _attempt(4, "old", 500, 1)],
        [_attempt(3, "unread", 500, 1)],
    )
    since = datetime(2026, 11, 2, tzinfo=UTC)
    at = datetime(2026, 11, 4, 10, tzinfo=UTC)
    assert list(app.failed_deliveries(since=since)) == [
        FailedDelivery(id=8, guid="twice", event="push", delivered_at=at)
    ]
    assert forge.count("/app/hook/deliveries") == 2


def test_a_delivery_is_asked_for_again(app: ForgeReader, forge: ForgeServer) -> None:
    forge.says("/app/hook/deliveries/8/attempts", Answer({}, 202))
    app.redeliver(8)
    assert forge.asked[-1].method == "POST"
    forge.says("/app/hook/deliveries/8/attempts", Answer({"message": "gone"}, 404))
    with pytest.raises(ForgeFault):
        app.redeliver(8)


def test_a_token_has_no_deliveries_of_its_own(forge: ForgeServer) -> None:
    assert list(forge.reader().failed_deliveries(since=SINCE)) == []
    assert forge.asked == []


def test_the_members_of_a_team_are_read_by_the_owners_installation(app: ForgeReader, forge: ForgeServer) -> None:
    forge.says("/orgs/acme/installation", {"id": 7})
    forge.says("/orgs/acme/teams/core/members", [GITHUB["bob"]])
    assert app.team_members("acme", "core") == ("Bob",)
    assert forge.asked[-1].token == "ghs_7"
