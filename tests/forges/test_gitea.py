"""What only Gitea does: pages without links, null for nothing, and reviews that deliveries do not name."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from notify.domain.forge import Account, ForgeEvent, Ignored, Review, Verdict
from notify.domain.forge_answers import ForgeFault
from notify.domain.forge_events import ChangeEvents
from notify.domain.forge_ports import ForgeReader
from notify.domain.forge_settings import ForgeKind
from notify.forges import gitea_shapes as shapes
from notify.forges.common.fields import Fields
from tests.forges.server import ForgeServer
from tests.forges.shapes import GITEA, changed

HOME = "/repos/acme/monorepo"
REVIEWS = f"{HOME}/pulls/7/reviews"
AT = datetime(2026, 11, 2, 10, 30, tzinfo=UTC)


@pytest.fixture
def gitea(forge: ForgeServer) -> ForgeReader:
    return forge.reader(ForgeKind.GITEA)


def branch(name: str) -> object:
    return {"name": name, "commit": {"id": "a" * 40}}


@pytest.mark.parametrize("total", [{}, {"X-Total-Count": "3"}])
def test_a_listing_without_links_ends_with_an_empty_page_or_its_count(
    gitea: ForgeReader, forge: ForgeServer, total: dict[str, str]
) -> None:
    forge.pages(f"{HOME}/branches", [branch("a"), branch("b")], [branch("c")], linked=False, **total)
    assert [one.name for one in gitea.branches("acme/monorepo")] == ["a", "b", "c"]
    assert forge.count(f"{HOME}/branches") == (2 if total else 3)


def test_an_address_that_knows_no_pages_is_read_once(gitea: ForgeReader, forge: ForgeServer) -> None:
    forge.says(f"{HOME}/branches", [branch("a")])
    assert [one.name for one in gitea.branches("acme/monorepo")] == ["a"]
    assert forge.count(f"{HOME}/branches") == 2


def test_null_is_an_empty_listing(gitea: ForgeReader, forge: ForgeServer) -> None:
    forge.says(f"{HOME}/branches", None)
    assert list(gitea.branches("acme/monorepo")) == []


def event(verdict: Verdict = Verdict.COMMENTED, body: str = "") -> ForgeEvent:
    change = shapes.change(Fields(GITEA["pull_request"]), frozenset())
    repository = shapes.repository(Fields(GITEA["repository"]))
    review = Review(id=0, author=Account(login="bob"), verdict=verdict, body=body, url="", submitted_at=AT)
    made = ChangeEvents("gitea", repository, change, review.author).opened()
    assert isinstance(made, ForgeEvent)
    return replace(made, type="cl.review.submitted", certain=False, review=review)


def listed(
    id_: int, *, at: datetime = AT, state: str = "COMMENT", body: str = "", login: str = "Bob", **more: object
) -> object:
    stated = {"id": id_, "state": state, "body": body, "user": changed(GITEA["bob"], login=login)}
    return changed(GITEA["review"], **stated, submitted_at=at.isoformat(), **more)


def test_a_review_is_found_by_author_verdict_words_and_time(gitea: ForgeReader, forge: ForgeServer) -> None:
    forge.says("/user", GITEA["robot"])
    forge.says(
        REVIEWS,
        [
            listed(1, at=AT - timedelta(minutes=3)),
            listed(2, login="carol"),
            listed(3, state="APPROVED"),
            listed(4, body="words"),
            listed(5, at=AT + timedelta(seconds=1)),
            listed(6, dismissed=True),
            listed(7, state="REQUEST_REVIEW"),
            listed(8, at=AT + timedelta(seconds=20)),
        ],
    )
    forge.says(f"{REVIEWS}/5/comments", [changed(GITEA["review_comment"], id=55)])
    found = gitea.complete(event())
    assert isinstance(found, ForgeEvent)
    assert found.key == "gitea:700:review_comment:55"


def test_a_review_that_is_not_there_any_more_tells_nobody(gitea: ForgeReader, forge: ForgeServer) -> None:
    forge.says(REVIEWS, [listed(1, at=AT - timedelta(days=1))])
    assert gitea.complete(event()) == Ignored(reason="withdrawn_review")


def test_a_comment_that_shows_a_removed_line_has_the_old_number() -> None:
    hunk = "@@ -40,3 +40,2 @@\n base = 2\n-delay = base"
    removed = changed(GITEA["review_comment"], position=0, original_position=41, diff_hunk=hunk)
    found = shapes.comment(Fields(removed), frozenset())
    assert (found.line, found.code) == (41, "delay = base")


def test_gitea_keeps_no_deliveries_for_us(gitea: ForgeReader) -> None:
    assert list(gitea.failed_deliveries(since=AT)) == []
    with pytest.raises(ForgeFault):
        gitea.redeliver(1)
