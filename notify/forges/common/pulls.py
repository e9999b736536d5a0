"""Converts repositories, pull requests, comments and reviews, as far as both forges state them alike."""

from collections.abc import Callable
from dataclasses import replace

from notify.domain.forge import Account, BranchHead, Change, ChangeState, Comment, Repository, Review, Verdict
from notify.forges.common.fields import Fields
from notify.forges.common.hunks import LARGEST_LINE

# Converts the object of an account; None: the account was deleted.
ReadAccount = Callable[[Fields | None], Account | None]


def repository_of(found: Fields, *, pushed: str) -> Repository:
    """
    Args:
        pushed: The key of the last push's instant.
    """
    return Repository(
        id=found.number("id"),
        full_name=found.line("full_name"),
        url=found.url("html_url"),
        default_branch=found.words("default_branch"),
        archived=found.flag("archived"),
        pushed_at=found.maybe_instant(pushed),
    )


def pull_of(found: Fields, account: ReadAccount, *, merged: bool, draft: bool, teams: tuple[str, str]) -> Change:
    """
    A pull request, whole or as in a listing.

    Args:
        teams: The key of the teams that are asked for a review, and the one that names a team.
    """
    return replace(
        issue_of(found, account, merged=merged, draft=draft, pull=found),
        head=_branch_head(found.at("head")),
        base=_branch_head(found.at("base")),
        merge_commit=found.words("merge_commit_sha") or None if merged else None,
        merged_by=account(found.maybe("merged_by")) if "merged_by" in found else None,
        requested=tuple(one.line("login") for one in found.each("requested_reviewers")),
        requested_teams=tuple(one.line(teams[1]) for one in found.each(teams[0])),
        files=found.maybe_number("changed_files"),
        added=found.maybe_number("additions"),
        removed=found.maybe_number("deletions"),
    )


def issue_of(found: Fields, account: ReadAccount, *, merged: bool, draft: bool, pull: Fields) -> Change:
    """A pull request stated as an issue: without branches and reviewers."""
    closed = found.text("state") == "closed"
    return Change(
        number=found.number("number"),
        title=found.line("title") if found.words("title").strip() else f"#{found.number('number')}",
        description=found.words("body"),
        url=pull.url("html_url") or found.url("html_url"),
        state=ChangeState.MERGED if merged else ChangeState.CLOSED if closed else ChangeState.OPEN,
        draft=draft,
        opener=account(found.maybe("user")),
        head=None,
        base=None,
        merge_commit=None,
        created_at=found.instant("created_at"),
        updated_at=found.instant("updated_at"),
        closed_at=pull.maybe_instant("merged_at") or found.maybe_instant("closed_at"),
    )


def comment_of(found: Fields, account: ReadAccount, *, line: int | None, code: str | None) -> Comment:
    """A comment on the whole, or one on a line."""
    return Comment(
        id=found.number("id"),
        author=account(found.maybe("user")),
        body=found.words("body"),
        url=found.url("html_url"),
        created_at=found.instant("created_at"),
        path=found.line("path") if "path" in found else None,
        line=line if line and line <= LARGEST_LINE else None,
        code=code,
        review_id=found.maybe_number("pull_request_review_id"),
    )


def review_of(found: Fields, account: ReadAccount, verdict: Verdict | None) -> Review | None:
    """None: it has no verdict, or none yet."""
    submitted_at = found.maybe_instant("submitted_at")
    if verdict is None or submitted_at is None:
        return None
    return Review(
        id=found.number("id"),
        author=account(found.maybe("user")),
        verdict=verdict,
        body=found.words("body"),
        url=found.url("html_url"),
        submitted_at=submitted_at,
    )


def _branch_head(found: Fields) -> BranchHead:
    fork = found.maybe("repo")
    return BranchHead(
        ref=found.line("ref"), sha=found.words("sha"), repository=fork.line("full_name") if fork else None
    )
