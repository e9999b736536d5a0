"""What is read of GitHub and of Gitea is the same, page by page, and a listing that broke off is not complete."""

from base64 import b64encode
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pytest

from notify.domain import events
from notify.domain.forge import (
    Branch,
    ChangeState,
    ForgeEvent,
    Ignored,
    RepositoryFile,
    Reviewer,
    Verdict,
)
from notify.domain.forge_answers import ForgeFault, Refused, Unavailable
from notify.domain.forge_ports import ForgeReader
from notify.domain.forge_settings import ForgeKind
from notify.forges.connect import parser
from tests.forges.server import Answer, Asked, ForgeServer
from tests.forges.shapes import GITEA, GITHUB, changed, settings

HOME = "/repos/acme/monorepo"
PULL = f"{HOME}/pulls/7"
BEFORE = datetime(2026, 11, 2, 8, tzinfo=UTC)
DURING = datetime(2026, 11, 2, 10, 31, 30, tzinfo=UTC)
AFTER = datetime(2026, 11, 3, tzinfo=UTC)


@dataclass(frozen=True)
class Served:
    """One kind of forge, its objects, and the reader."""

    forge: ForgeServer
    objects: dict[str, Any]
    reader: ForgeReader
    kind: ForgeKind

    @property
    def verdicts(self) -> Any:
        github = {"approve": "APPROVED", "reject": "CHANGES_REQUESTED", "comment": "COMMENTED"}
        gitea = {"approve": "APPROVED", "reject": "REQUEST_CHANGES", "comment": "COMMENT"}
        return github if self.kind is ForgeKind.GITHUB else gitea

    def review(self, id_: int, verdict: str, login: str = "Bob", at: str = "10:32:05", body: str = "") -> Any:
        user = changed(self.objects["bob"], login=login)
        state = self.verdicts[verdict]
        at = f"2026-11-02T{at}Z"
        return changed(self.objects["review"], id=id_, state=state, user=user, submitted_at=at, body=body)

    def has(
        self, *, reviews: Any = (), comments: Any = (), pull: Any = None, said: dict[int, Any] | None = None
    ) -> None:
        """Change 7, its reviews, the comments on the whole, and those of each review."""
        self.forge.says(PULL, pull or self.objects["pull_request"])
        self.list(f"{PULL}/reviews", reviews)
        self.list(f"{HOME}/issues/7/comments", comments)
        for review in reviews:
            self.list(f"{PULL}/reviews/{review['id']}/comments", (said or {}).get(review["id"], ()))

    def list(self, path: str, items: Any) -> None:
        """A listing of one page; only Gitea counts the items."""
        count = {"X-Total-Count": str(len(items))} if self.kind is ForgeKind.GITEA else {}
        self.forge.says(path, Answer([*items], headers=count))


@pytest.fixture(params=[ForgeKind.GITHUB, ForgeKind.GITEA], ids=["github", "gitea"])
def served(request: pytest.FixtureRequest, forge: ForgeServer) -> Served:
    kind: ForgeKind = request.param
    objects = GITHUB if kind is ForgeKind.GITHUB else GITEA
    forge.says("/user", objects["robot"])
    forge.says("/orgs/acme/teams/core/members", [objects["dana"], changed(objects["bob"], login="eve")])
    forge.says("/orgs/acme/teams", [{"id": 20, "name": "Owners"}, {"id": 21, "name": "Core"}])
    forge.says("/teams/21/members", [objects["dana"], changed(objects["bob"], login="eve")])
    return Served(forge, objects, forge.reader(kind), kind)


def test_a_change_is_read_with_everyone_who_reviews_it(served: Served) -> None:
    served.has(
        reviews=[
            served.review(1, "reject", "carol", at="09:10:00"),
            served.review(2, "approve", "Carol", at="09:20:00"),
            served.review(3, "comment", "carol", at="09:30:00"),
            served.review(4, "comment", "Bob", at="09:40:00"),
            served.review(5, "comment", "dana", at="09:50:00"),
        ]
    )
    reading = served.reader.read_change("acme/monorepo", 7)
    team = "core" if served.kind is ForgeKind.GITHUB else "Core"
    assert reading.repository.id == 700
    assert reading.change.title == "Cap the upload retry"
    assert reading.reviewers == (
        Reviewer(login="Bob", requested=True, verdict=Verdict.COMMENTED),
        Reviewer(login="carol", requested=False, verdict=Verdict.APPROVED),
        Reviewer(login="eve", requested=True, team=team),
    )
    assert reading.unread_teams == ()


@pytest.mark.parametrize("status", [403, 404])
def test_a_team_that_we_may_not_see_is_counted_and_no_fault(served: Served, status: int) -> None:
    served.has()
    for path in ("/orgs/acme/teams/core/members", "/teams/21/members"):
        served.forge.says(path, Answer({"message": "no"}, status))
    reading = served.reader.read_change("acme/monorepo", 7)
    assert [one.login for one in reading.reviewers] == ["Bob"]
    assert [team.lower() for team in reading.unread_teams] == ["core"]


def test_a_team_is_a_fault_while_the_forge_is_down(served: Served) -> None:
    served.has()
    for path in ("/orgs/acme/teams/core/members", "/teams/21/members"):
        served.forge.says(path, Answer(status=502))
    with pytest.raises(ForgeFault):
        served.reader.read_change("acme/monorepo", 7)


def test_a_renamed_repository_is_found_under_its_old_name_and_says_the_new_one(served: Served) -> None:
    served.forge.says("/repos/acme/mono", Answer(status=301, headers={"Location": "/repositories/700"}))
    served.forge.says("/repositories/700", served.objects["repository"])
    found = served.reader.repository("acme/mono")
    assert (found.id, found.full_name, found.default_branch) == (700, "acme/monorepo", "main")


def _numbered(served: Served, *numbers: int, at: str = "10:30:00") -> list[Any]:
    pull = served.objects["pull_request"]
    return [changed(pull, number=number, updated_at=f"2026-11-02T{at}Z") for number in numbers]


def test_open_changes_are_read_over_all_pages(served: Served) -> None:
    served.forge.pages(f"{HOME}/pulls", _numbered(served, 1, 2), _numbered(served, 3))
    assert [one.number for one in served.reader.changes("acme/monorepo")] == [1, 2, 3]
    assert {one.query["state"] for one in served.forge.asked[:1]} == {"open"}


def test_changes_since_are_of_every_state_and_older_pages_are_not_read(served: Served) -> None:
    since = datetime(2026, 11, 2, 10, tzinfo=UTC)
    recent, older = _numbered(served, 3, 2), _numbered(served, 1, at="09:00:00")
    served.forge.pages(f"{HOME}/pulls", recent + older, _numbered(served, 9))
    assert [one.number for one in served.reader.changes("acme/monorepo", since=since)] == [3, 2]
    assert [one.query["state"] for one in served.forge.asked] == ["all"]


def test_a_listing_that_breaks_off_gives_what_it_had_and_then_the_fault(served: Served) -> None:
    pages: Callable[[Asked], Answer]
    served.forge.pages(f"{HOME}/pulls", _numbered(served, 1, 2), _numbered(served, 3))
    pages = served.forge.scripts[f"{HOME}/pulls"]
    served.forge.scripts[f"{HOME}/pulls"] = lambda asked: Answer(status=502) if "page" in asked.query else pages(asked)
    seen: list[int] = []
    with pytest.raises(ForgeFault) as raised:
        seen.extend(one.number for one in served.reader.changes("acme/monorepo"))
    assert isinstance(raised.value.meaning, Unavailable)
    listing = served.reader.changes("acme/monorepo")
    assert [next(listing.items).number for _ in range(2)] == [1, 2]


@pytest.mark.parametrize("garbled", [{"items": []}, [1], [{"number": "7"}], "no"])
def test_a_listing_of_another_shape_is_a_fault_and_not_empty(served: Served, garbled: Any) -> None:
    served.forge.says(f"{HOME}/pulls", garbled)
    with pytest.raises(ForgeFault) as raised:
        list(served.reader.changes("acme/monorepo"))
    assert isinstance(raised.value.meaning, Unavailable)
    assert raised.value.meaning.reason == "garbled"


def test_an_unchanged_repository_costs_one_conditional_request(served: Served) -> None:
    def conditional(asked: Asked) -> Answer:
        if asked.headers.get("if-none-match") == '"x"':
            return Answer(status=304)
        return Answer(_numbered(served, 7), headers={"ETag": '"x"', "X-Total-Count": "1"})

    served.forge.scripts[f"{HOME}/pulls"] = conditional
    first = served.reader.changes("acme/monorepo", since=BEFORE)
    assert [one.number for one in first] == [7]
    again = served.reader.changes("acme/monorepo", since=AFTER, etag=first.etag)
    assert (again.unchanged, list(again), again.etag) == (True, [], '"x"')
    assert len(served.forge.asked) == 2


def test_branches_are_read_over_all_pages(served: Served) -> None:
    sha = "sha" if served.kind is ForgeKind.GITHUB else "id"
    served.forge.pages(
        f"{HOME}/branches",
        [{"name": "main", "commit": {sha: "a" * 40}}],
        [{"name": "claim/x", "commit": {sha: "b" * 40}}],
    )
    assert list(served.reader.branches("acme/monorepo")) == [
        Branch(name="main", sha="a" * 40),
        Branch(name="claim/x", sha="b" * 40),
    ]


def _history(served: Served, since: datetime) -> list[ForgeEvent]:
    reading = served.reader.read_change("acme/monorepo", 7)
    return list(served.reader.history(reading.repository, reading.change, since=since))


def test_history_has_the_keys_that_deliveries_have(served: Served) -> None:
    merged = changed(
        served.objects["pull_request"],
        state="closed",
        merged=True,
        merged_at="2026-11-02T11:00:00Z",
        merged_by=served.objects["dana"],
    )
    three = [changed(served.objects["review_comment"], id=number) for number in (611, 612, 613)]
    served.has(
        pull=merged,
        comments=[served.objects["comment"]],
        reviews=[
            served.review(801, "reject", body="Nearly."),
            served.review(802, "comment"),
            served.review(803, "comment"),
        ],
        said={801: three, 802: [changed(served.objects["review_comment"], id=620)]},
    )
    found = _history(served, BEFORE)
    base = f"{served.kind}:700"
    assert [(one.type, one.key) for one in found] == [
        (events.CREATED, f"{base}:created:7"),
        (events.COMMENT_CREATED, f"{base}:comment:501"),
        (events.REVIEW_SUBMITTED, f"{base}:review:801"),
        (events.COMMENT_CREATED, f"{base}:review_comment:620"),
        (events.MERGED, f"{base}:merged:7"),
    ]
    assert all(one.certain for one in found)
    assert found[2].review is not None
    assert [(one.line, one.path) for one in found[2].review.comments] == [(42, "src/upload/retry.py")] * 3
    assert [one.actor.login for one in found if one.actor] == ["dana", "Bob", "Bob", "Bob", "dana"]


def test_history_is_only_what_happened_since(served: Served) -> None:
    old = changed(served.objects["comment"], id=500, updated_at="2026-11-02T10:40:00Z")
    served.has(
        comments=[old, changed(served.objects["comment"], id=502, created_at="2026-11-02T10:33:00Z")],
        reviews=[served.review(800, "approve", at="10:00:00"), served.review(801, "approve")],
    )
    base = f"{served.kind}:700"
    assert [one.key for one in _history(served, DURING)] == [f"{base}:comment:502", f"{base}:review:801"]
    assert _history(served, AFTER) == []


def test_history_tells_nobody_of_drafts_and_of_what_we_wrote(served: Served) -> None:
    own = changed(served.objects["comment"], user=served.objects["robot"])
    served.has(pull=changed(served.objects["pull_request"], draft=True), comments=[own])
    assert _history(served, BEFORE) == []


def _delivered_review(served: Served, state: str, body: str) -> ForgeEvent:
    """A review as the forge delivers it."""
    from json import dumps  # noqa: PLC0415

    shared = {"pull_request": served.objects["pull_request"], "repository": served.objects["repository"]}
    if served.kind is ForgeKind.GITHUB:
        name, action = "pull_request_review", "submitted"
        review = served.review(801, state, body=body)
    else:
        kind = {"approve": "approved", "reject": "rejected", "comment": "comment"}[state]
        name, action = f"pull_request_review_{kind}", "reviewed"
        review = {"type": name, "content": body}
    stated = shared | {"action": action, "review": review, "sender": served.objects["bob"]}
    found = parser(settings(served.kind)).parse(name, dumps(stated).encode(), content_type="application/json")
    assert isinstance(found, ForgeEvent), found
    return found


def test_a_review_of_three_comments_is_one_event(served: Served) -> None:
    three = [changed(served.objects["review_comment"], id=number) for number in (611, 612, 613)]
    served.has(reviews=[served.review(801, "reject", at="10:30:00", body="Nearly.")], said={801: three})
    whole = served.reader.complete(_delivered_review(served, "reject", "Nearly."))
    assert isinstance(whole, ForgeEvent)
    assert (whole.type, whole.key, whole.certain) == (events.REVIEW_SUBMITTED, f"{served.kind}:700:review:801", True)
    assert whole.review is not None
    assert [one.id for one in whole.review.comments] == [611, 612, 613]


def test_a_single_comment_on_a_line_is_a_comment(served: Served) -> None:
    served.has(reviews=[served.review(801, "comment", at="10:30:00")], said={801: [served.objects["review_comment"]]})
    whole = served.reader.complete(_delivered_review(served, "comment", ""))
    assert isinstance(whole, ForgeEvent)
    assert (whole.type, whole.key, whole.certain) == (
        events.COMMENT_CREATED,
        f"{served.kind}:700:review_comment:601",
        True,
    )


def test_a_review_without_anything_in_it_is_no_event(served: Served) -> None:
    served.has(reviews=[served.review(801, "comment", at="10:30:00")])
    assert served.reader.complete(_delivered_review(served, "comment", "")) == Ignored(reason="empty_review")


def test_an_approval_without_words_is_an_event(served: Served) -> None:
    served.has(reviews=[served.review(801, "approve", at="10:30:00")])
    whole = served.reader.complete(_delivered_review(served, "approve", ""))
    assert isinstance(whole, ForgeEvent)
    assert whole.type == events.REVIEW_SUBMITTED


def test_while_the_forge_does_not_answer_nothing_is_completed(served: Served) -> None:
    served.has(reviews=[served.review(801, "comment", at="10:30:00")])
    for path in (f"{PULL}/reviews", f"{PULL}/reviews/801/comments"):
        served.forge.says(path, Answer(status=503))
    with pytest.raises(ForgeFault):
        served.reader.complete(_delivered_review(served, "comment", ""))


def _listed(name: str, sha: str, **more: Any) -> Any:
    return {"type": "file", "name": name, "path": f"rfcs/{name}", "sha": sha, "size": 10} | more


def test_only_new_and_changed_files_are_read(served: Served) -> None:
    served.forge.says(
        f"{HOME}/contents/rfcs",
        [
            _listed("a.md", "1"),
            _listed("b b.md", "2"),
            _listed("c.txt", "3"),
            _listed("d.md", "4", type="dir"),
            _listed("e.md", "5", size=2 * 2**20),
            _listed("f.md", "6"),
        ],
    )
    content = b64encode("---\nslug: ü\n---\n".encode()).decode()
    served.forge.says(
        f"{HOME}/contents/rfcs/b%20b.md", {"content": content[:8] + "\n" + content[8:], "encoding": "base64"}
    )
    served.forge.says(f"{HOME}/contents/rfcs/f.md", {"content": b64encode(b"\xff").decode(), "encoding": "base64"})
    assert list(served.reader.files("acme/monorepo", "rfcs", known={"rfcs/a.md": "1", "rfcs/b b.md": "0"})) == [
        RepositoryFile(path="rfcs/a.md", sha="1", text=None),
        RepositoryFile(path="rfcs/b b.md", sha="2", text="---\nslug: ü\n---\n"),
        RepositoryFile(path="rfcs/e.md", sha="5", text=None, fault="larger than 1 MiB"),
        RepositoryFile(path="rfcs/f.md", sha="6", text=None, fault="no text in UTF-8"),
    ]


def test_a_folder_that_may_have_more_files_than_are_listed_is_a_fault(served: Served) -> None:
    served.forge.says(f"{HOME}/contents/rfcs", [_listed(f"{number}.md", "1") for number in range(1_000)])
    with pytest.raises(ForgeFault) as raised:
        served.reader.files("acme/monorepo", "rfcs", known={})
    assert isinstance(raised.value.meaning, Refused)


def test_our_own_login_is_asked_for_once(served: Served) -> None:
    assert {served.reader.own_login() for _ in range(3)} == {served.objects["robot"]["login"]}
    assert served.forge.count("/user") == 1


def test_a_token_without_a_user_has_no_login(served: Served) -> None:
    served.forge.says("/user", Answer({"message": "Resource not accessible"}, 403))
    assert [served.reader.own_login() for _ in range(2)] == [None, None]
    assert served.forge.count("/user") == 1


def test_a_login_is_asked_for_again_after_an_outage(served: Served) -> None:
    served.forge.says("/user", Answer(status=502), served.objects["robot"])
    with pytest.raises(ForgeFault):
        served.reader.own_login()
    assert served.reader.own_login() == served.objects["robot"]["login"]


def test_all_repositories_are_those_that_the_token_sees(served: Served) -> None:
    served.forge.pages("/user/repos", [served.objects["repository"]], [changed(served.objects["repository"], id=701)])
    assert [one.id for one in served.reader.repositories()] == [700, 701]


def test_a_change_that_was_closed_says_so(served: Served) -> None:
    served.has(pull=changed(served.objects["pull_request"], state="closed", closed_at="2026-11-02T11:00:00Z"))
    assert served.reader.read_change("acme/monorepo", 7).change.state is ChangeState.CLOSED
    assert _history(served, DURING)[-1].type == events.CLOSED
