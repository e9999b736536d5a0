"""
Converts GitHub's JSON objects, which are the same in deliveries and REST answers, to our values.

Sources: the descriptions that GitHub publishes, github/rest-api-description and octokit/webhooks-schemas.
"""

from collections.abc import Mapping
from types import MappingProxyType

from notify.domain.forge import GHOST, Account, Branch, Change, Comment, Repository, Review, Verdict
from notify.forges.common.fields import Fields
from notify.forges.common.hunks import code_of, line_of
from notify.forges.common.pulls import ReadAccount, comment_of, issue_of, pull_of, repository_of, review_of

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
        bots: Further logins of bots, in lower case, besides those that GitHub marks as such.
    """
    login = found.line("login") if found is not None else GHOST
    if found is None or login == GHOST:
        return None
    is_bot = ("type" in found and found.text("type") == BOT) or login.endswith(BOT_SUFFIX) or login.lower() in bots
    return Account(login=login, is_bot=is_bot)


def repository(found: Fields) -> Repository:
    return repository_of(found, pushed="pushed_at")


def branch(found: Fields) -> Branch:
    return Branch(name=found.line("name"), sha=found.at("commit").line("sha"))


def change(found: Fields, bots: frozenset[str]) -> Change:
    merged = found.flag("merged") or "merged_at" in found
    return pull_of(found, _accounts(bots), merged=merged, draft=found.flag("draft"), teams=("requested_teams", "slug"))


def change_of_issue(found: Fields, bots: frozenset[str]) -> Change:
    pull = found.at("pull_request")
    merged = pull.maybe_instant("merged_at") is not None
    return issue_of(found, _accounts(bots), merged=merged, draft=found.flag("draft"), pull=pull)


def comment(found: Fields, bots: frozenset[str]) -> Comment:
    hunk = found.words("diff_hunk")
    line = found.maybe_number("line") or found.maybe_number("original_line") or line_of(hunk)
    start = found.maybe_number("start_line") or found.maybe_number("original_start_line")
    code = code_of(hunk, lines=line - start + 1 if line and start else 1)
    return comment_of(found, _accounts(bots), line=line, code=code)


def review(found: Fields, bots: frozenset[str]) -> Review | None:
    """None: it is not submitted, or withdrawn. The case of the state differs between deliveries and REST."""
    return review_of(found, _accounts(bots), VERDICTS.get(found.text("state").lower()))


def _accounts(bots: frozenset[str]) -> ReadAccount:
    return lambda found: account(found, bots)
