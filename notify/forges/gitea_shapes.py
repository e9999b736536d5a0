"""
Converts Gitea's and Forgejo's JSON objects, which are the same in deliveries and REST answers, to our values.

Sources: go-gitea/gitea, modules/structs and services/convert.
"""

from collections.abc import Mapping
from types import MappingProxyType

from notify.domain.forge import GHOST, Account, Branch, Change, Comment, Repository, Review, Verdict
from notify.forges.common.fields import Fields
from notify.forges.common.hunks import code_of, line_of
from notify.forges.common.pulls import ReadAccount, comment_of, issue_of, pull_of, repository_of, review_of

PROGRAMS = frozenset({"gitea-actions", "forgejo-actions"})
# Gitea's default prefixes, for servers that do not state ``draft``.
DRAFT_TITLES = ("wip:", "[wip]")
VERDICTS: Mapping[str, Verdict] = MappingProxyType(
    {
        "APPROVED": Verdict.APPROVED,
        "REQUEST_CHANGES": Verdict.CHANGES_REQUESTED,
        "COMMENT": Verdict.COMMENTED,
    }
)


def account(found: Fields | None, bots: frozenset[str]) -> Account | None:
    """None: the account was deleted, for which Gitea says Ghost."""
    login = found.line("login") if found is not None else GHOST
    if login.lower() == GHOST:
        return None
    return Account(login=login, is_bot=login.lower() in PROGRAMS | bots)


def repository(found: Fields) -> Repository:
    return repository_of(found, pushed="updated_at")


def is_draft_title(title: str) -> bool:
    return title.lower().startswith(DRAFT_TITLES)


def branch(found: Fields) -> Branch:
    return Branch(name=found.line("name"), sha=found.at("commit").line("id"))


def change(found: Fields, bots: frozenset[str]) -> Change:
    draft = found.flag("draft") if "draft" in found else is_draft_title(found.words("title"))
    teams = ("requested_reviewers_teams", "name")
    return pull_of(found, _accounts(bots), merged=found.flag("merged"), draft=draft, teams=teams)


def change_of_issue(found: Fields, bots: frozenset[str]) -> Change:
    pull = found.maybe("pull_request") or Fields({})
    draft = pull.flag("draft") if "draft" in pull else is_draft_title(found.words("title"))
    return issue_of(found, _accounts(bots), merged=pull.flag("merged"), draft=draft, pull=pull)


def comment(found: Fields, bots: frozenset[str]) -> Comment:
    """A comment on a removed line has its line in ``original_position``."""
    hunk = found.words("diff_hunk")
    line = found.maybe_number("position") or found.maybe_number("original_position") or line_of(hunk)
    return comment_of(found, _accounts(bots), line=line, code=code_of(hunk))


def review(found: Fields, bots: frozenset[str]) -> Review | None:
    """None: it is pending or withdrawn, or is a request, which Gitea lists among reviews."""
    verdict = None if found.flag("dismissed") else VERDICTS.get(found.text("state"))
    return review_of(found, _accounts(bots), verdict)


def _accounts(bots: frozenset[str]) -> ReadAccount:
    return lambda found: account(found, bots)
