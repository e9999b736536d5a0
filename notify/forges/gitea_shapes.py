"""
Gitea's objects as our values; Forgejo's are the same. Deliveries and REST answers state them alike.

Sources: go-gitea/gitea, modules/structs and services/convert.
"""

from collections.abc import Mapping
from types import MappingProxyType

from notify.domain.forge import (
    GHOST,
    Account,
    BranchHead,
    Change,
    ChangeState,
    Comment,
    Repository,
    Review,
    Verdict,
)
from notify.forges.common.fields import Fields
from notify.forges.common.hunks import LARGEST_LINE, code_of, line_of

PROGRAMS = frozenset({"gitea-actions", "forgejo-actions"})
# Gitea's defaults; servers that state ``draft`` need no guess.
DRAFT_TITLES = ("wip:", "[wip]")
VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        "APPROVED": Verdict.APPROVED,
        "REQUEST_CHANGES": Verdict.CHANGES_REQUESTED,
        "COMMENT": Verdict.COMMENTED,
    }
)


def account(found: Fields | None, bots: frozenset[str]) -> Account | None:
    """None: the account was deleted; Gitea says Ghost then."""
    login = found.line("login") if found is not None else GHOST
    if login.lower() == GHOST:
        return None
    return Account(login=login, is_bot=login.lower() in PROGRAMS | bots)


def repository(found: Fields) -> Repository:
    return Repository(
        id=found.number("id"),
        full_name=found.line("full_name"),
        url=found.url("html_url"),
        default_branch=found.words("default_branch"),
        archived=found.flag("archived"),
        pushed_at=found.maybe_instant("updated_at"),
    )


def is_draft_title(title: str) -> bool:
    return title.lower().startswith(DRAFT_TITLES)


def change(found: Fields, bots: frozenset[str]) -> Change:
    """A pull request, whole or as in a listing."""
    merged = found.flag("merged")
    return Change(
        number=found.number("number"),
        title=_title(found),
        description=found.words("body"),
        url=found.url("html_url"),
        state=_state(found, merged=merged),
        draft=found.flag("draft") if "draft" in found else is_draft_title(found.words("title")),
        opener=account(found.maybe("user"), bots),
        head=_branch_head(found.at("head")),
        base=_branch_head(found.at("base")),
        merge_commit=found.words("merge_commit_sha") or None if merged else None,
        created_at=found.instant("created_at"),
        updated_at=found.instant("updated_at"),
        closed_at=found.maybe_instant("merged_at") or found.maybe_instant("closed_at"),
        merged_by=account(found.maybe("merged_by"), bots) if "merged_by" in found else None,
        requested=tuple(one.line("login") for one in found.each("requested_reviewers")),
        requested_teams=tuple(one.line("name") for one in found.each("requested_reviewers_teams")),
        files=found.maybe_number("changed_files"),
        added=found.maybe_number("additions"),
        removed=found.maybe_number("deletions"),
    )


def change_of_issue(found: Fields, bots: frozenset[str]) -> Change:
    """A pull request as the issue that Gitea also counts it as: without branches and reviewers."""
    pull = found.maybe("pull_request")
    merged = pull is not None and pull.flag("merged")
    return Change(
        number=found.number("number"),
        title=_title(found),
        description=found.words("body"),
        url=found.url("html_url"),
        state=_state(found, merged=merged),
        draft=pull.flag("draft") if pull and "draft" in pull else is_draft_title(found.words("title")),
        opener=account(found.maybe("user"), bots),
        head=None,
        base=None,
        merge_commit=None,
        created_at=found.instant("created_at"),
        updated_at=found.instant("updated_at"),
        closed_at=(pull.maybe_instant("merged_at") if pull else None) or found.maybe_instant("closed_at"),
    )


def comment(found: Fields, bots: frozenset[str]) -> Comment:
    """A comment on the whole, or one on a line; that of a removed line is in ``original_position``."""
    hunk = found.words("diff_hunk")
    line = found.maybe_number("position") or found.maybe_number("original_position") or line_of(hunk)
    return Comment(
        id=found.number("id"),
        author=account(found.maybe("user"), bots),
        body=found.words("body"),
        url=found.url("html_url"),
        created_at=found.instant("created_at"),
        path=found.line("path") if "path" in found else None,
        line=line if line and line <= LARGEST_LINE else None,
        code=code_of(hunk),
        review_id=found.maybe_number("pull_request_review_id"),
    )


def review(found: Fields, bots: frozenset[str]) -> Review | None:
    """None: it is pending, withdrawn, or the request for one, which Gitea lists among them."""
    verdict = VERDICTS.get(found.text("state"))
    submitted_at = found.maybe_instant("submitted_at")
    if verdict is None or submitted_at is None or found.flag("dismissed"):
        return None
    return Review(
        id=found.number("id"),
        author=account(found.maybe("user"), bots),
        verdict=verdict,
        body=found.words("body"),
        url=found.url("html_url"),
        submitted_at=submitted_at,
    )


def _title(found: Fields) -> str:
    return found.line("title") if found.words("title").strip() else f"#{found.number('number')}"


def _state(found: Fields, *, merged: bool) -> ChangeState:
    if merged:
        return ChangeState.MERGED
    return ChangeState.CLOSED if found.text("state") == "closed" else ChangeState.OPEN


def _branch_head(found: Fields) -> BranchHead:
    fork = found.maybe("repo")
    return BranchHead(
        ref=found.line("ref"),
        sha=found.words("sha"),
        repository=fork.line("full_name") if fork else None,
    )
