"""
GitHub's objects as our values. Deliveries and REST answers state them alike.

Sources: the descriptions that GitHub publishes, github/rest-api-description and octokit/webhooks-schemas.
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

BOT = "Bot"
BOT_SUFFIX = "[bot]"
VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        "approved": Verdict.APPROVED,
        "changes_requested": Verdict.CHANGES_REQUESTED,
        "commented": Verdict.COMMENTED,
    }
)


def account(found: Fields | None, bots: frozenset[str]) -> Account | None:
    """
    Args:
        found: None: the account was deleted.
        bots: In lower case; who is a bot besides those of whom GitHub says so.
    """
    login = found.line("login") if found is not None else GHOST
    if found is None or login == GHOST:
        return None
    is_bot = ("type" in found and found.text("type") == BOT) or login.endswith(BOT_SUFFIX) or login.lower() in bots
    return Account(login=login, is_bot=is_bot)


def repository(found: Fields) -> Repository:
    return Repository(
        id=found.number("id"),
        full_name=found.line("full_name"),
        url=found.url("html_url"),
        default_branch=found.words("default_branch"),
        archived=found.flag("archived"),
        pushed_at=found.maybe_instant("pushed_at"),
    )


def change(found: Fields, bots: frozenset[str]) -> Change:
    """A pull request, whole or as in a listing."""
    merged = found.flag("merged") or "merged_at" in found
    closed = found.text("state") == "closed"
    return Change(
        number=found.number("number"),
        title=found.line("title") if found.words("title").strip() else f"#{found.number('number')}",
        description=found.words("body"),
        url=found.url("html_url"),
        state=ChangeState.MERGED if merged else ChangeState.CLOSED if closed else ChangeState.OPEN,
        draft=found.flag("draft"),
        opener=account(found.maybe("user"), bots),
        head=_branch_head(found.at("head")),
        base=_branch_head(found.at("base")),
        merge_commit=found.words("merge_commit_sha") or None if merged else None,
        created_at=found.instant("created_at"),
        updated_at=found.instant("updated_at"),
        closed_at=found.maybe_instant("merged_at") or found.maybe_instant("closed_at"),
        merged_by=account(found.maybe("merged_by"), bots) if "merged_by" in found else None,
        requested=tuple(one.line("login") for one in found.each("requested_reviewers")),
        requested_teams=tuple(one.line("slug") for one in found.each("requested_teams")),
        files=found.maybe_number("changed_files"),
        added=found.maybe_number("additions"),
        removed=found.maybe_number("deletions"),
    )


def change_of_issue(found: Fields, bots: frozenset[str]) -> Change:
    """A pull request as the issue that GitHub also counts it as: without branches and reviewers."""
    pull = found.at("pull_request")
    merged = pull.maybe_instant("merged_at")
    closed = found.text("state") == "closed"
    return Change(
        number=found.number("number"),
        title=found.line("title") if found.words("title").strip() else f"#{found.number('number')}",
        description=found.words("body"),
        url=pull.url("html_url") or found.url("html_url"),
        state=ChangeState.MERGED if merged else ChangeState.CLOSED if closed else ChangeState.OPEN,
        draft=found.flag("draft"),
        opener=account(found.maybe("user"), bots),
        head=None,
        base=None,
        merge_commit=None,
        created_at=found.instant("created_at"),
        updated_at=found.instant("updated_at"),
        closed_at=merged or found.maybe_instant("closed_at"),
    )


def comment(found: Fields, bots: frozenset[str]) -> Comment:
    """A comment on the whole, or one on a line."""
    hunk = found.words("diff_hunk")
    line = found.maybe_number("line") or found.maybe_number("original_line") or line_of(hunk)
    start = found.maybe_number("start_line") or found.maybe_number("original_start_line")
    return Comment(
        id=found.number("id"),
        author=account(found.maybe("user"), bots),
        body=found.words("body"),
        url=found.url("html_url"),
        created_at=found.instant("created_at"),
        path=found.line("path") if "path" in found else None,
        line=line if line and line <= LARGEST_LINE else None,
        code=code_of(hunk, lines=line - start + 1 if line and start else 1),
        review_id=found.maybe_number("pull_request_review_id"),
    )


def review(found: Fields, bots: frozenset[str]) -> Review | None:
    """None: it is not submitted yet, or withdrawn. Deliveries and REST answers spell the state in different case."""
    verdict = VERDICTS.get(found.text("state").lower())
    submitted_at = found.maybe_instant("submitted_at")
    if verdict is None or submitted_at is None:
        return None
    return Review(
        id=found.number("id"),
        author=account(found.maybe("user"), bots),
        verdict=verdict,
        body=found.words("body"),
        url=found.url("html_url"),
        submitted_at=submitted_at,
    )


def _branch_head(found: Fields) -> BranchHead:
    fork = found.maybe("repo")
    return BranchHead(
        ref=found.line("ref"),
        sha=found.line("sha"),
        repository=fork.line("full_name") if fork else None,
    )
