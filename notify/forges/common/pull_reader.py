"""Reads pull requests, reviews and comments, whose URLs are the same on GitHub and Gitea."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Protocol, TypeVar

from notify.domain.forge import (
    Branch,
    Change,
    ChangeReading,
    Comment,
    ForgeEvent,
    Ignored,
    Listing,
    Repository,
    RepositoryFile,
    Review,
)
from notify.domain.forge_answers import ForgeFault, Misconfigured, Refused
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.forges.client import ForgeClient, Scope, repository_path
from notify.forges.common.conversations import events_since, without_own
from notify.forges.common.fields import Fields
from notify.forges.common.files import Folder
from notify.forges.common.reviewers import reviewers_of
from notify.forges.common.reviews import review_event
from notify.forges.pages import Pages, until

T = TypeVar("T")

# A team's members, from its owner and its name.
Members = Callable[[str, str], tuple[str, ...] | None]


class Shapes(Protocol):
    """Converts the JSON objects of one forge."""

    def repository(self, found: Fields) -> Repository: ...

    def change(self, found: Fields, bots: frozenset[str]) -> Change: ...

    def branch(self, found: Fields) -> Branch: ...

    def comment(self, found: Fields, bots: frozenset[str]) -> Comment: ...

    def review(self, found: Fields, bots: frozenset[str]) -> Review | None: ...


class PullReader:
    """
    The part of a ``ForgeReader`` that both forges share.

    Args:
        ask_login: Asks the forge for our own login.
        all_open: The query for all open changes, *latest_first* the one for those of every state.
    """

    def __init__(
        self,
        settings: ForgeSettings,
        client: ForgeClient,
        *,
        shapes: Shapes,
        ask_login: Callable[[], str],
        all_open: Mapping[str, str],
        latest_first: Mapping[str, str],
    ) -> None:
        self.name, self.pages, self._bots = settings.name, Pages(client, settings.kind), settings.bots
        self._shapes, self._all_open, self._latest_first = shapes, all_open, latest_first
        self._ask_login = ask_login
        self._own_login: str | None = None
        self._asked_for_login = False

    def own_login(self) -> str | None:
        if not self._asked_for_login:
            self._own_login = unless_refused(self._ask_login)
            self._asked_for_login = True
        return self._own_login

    def repository(self, full_name: str) -> Repository:
        return self.pages.one(repository_path(full_name), Scope(full_name), self._shapes.repository)

    def read_change(self, full_name: str, number: int, *, members: Members) -> ChangeReading:
        change, repository = self.pages.one(_pull(full_name, number), Scope(full_name), self._change_and_repository)
        owner = repository.full_name.partition("/")[0]
        teams = {team: members(owner, team) for team in change.requested_teams}
        reviewers = reviewers_of(change, self.reviews(full_name, number), teams)
        unread = tuple(team for team, found in teams.items() if found is None)
        return ChangeReading(repository=repository, change=change, reviewers=reviewers, unread_teams=unread)

    def changes(self, full_name: str, *, since: datetime | None = None, etag: str | None = None) -> Listing[Change]:
        found = self.pages.listing(
            f"{repository_path(full_name)}/pulls",
            Scope(full_name),
            lambda pull: self._shapes.change(pull, self._bots),
            params=self._all_open if since is None else self._latest_first,
            etag=None if since is None else etag,
        )
        return found if since is None else replace(found, items=until(found.items, since))

    def history(self, repository: Repository, change: Change, *, since: datetime) -> Listing[ForgeEvent]:
        return Listing(items=self._history(repository, change, since))

    def _history(self, repository: Repository, change: Change, since: datetime) -> Iterator[ForgeEvent]:
        full_name, number = repository.full_name, change.number
        path = f"{repository_path(full_name)}/issues/{number}/comments"
        comments = self._comments(path, full_name, {"since": f"{since:%Y-%m-%dT%H:%M:%SZ}"})
        recent = (review for review in self.reviews(full_name, number) if review.submitted_at > since)
        reviews = (self._whole(full_name, number, review) for review in recent)
        found = events_since(self.name, repository, change, since=since, comments=comments, reviews=reviews)
        yield from without_own(found, self.own_login())

    def reviews(self, full_name: str, number: int) -> Iterator[Review]:
        return self.pages.listing(f"{_pull(full_name, number)}/reviews", Scope(full_name), self._review).items

    def one_review(self, full_name: str, number: int, id_: int) -> Review | None:
        return self.pages.one(f"{_pull(full_name, number)}/reviews/{id_}", Scope(full_name), self._review)

    def completed(self, event: ForgeEvent, review: Review) -> ForgeEvent | Ignored:
        """The event of this review, with its comments."""
        whole = self._whole(event.repository.full_name, event.change.number, review)
        return review_event(self.name, event.repository, event.change, whole)

    def branches(self, full_name: str, *, etag: str | None = None) -> Listing[Branch]:
        path = f"{repository_path(full_name)}/branches"
        return self.pages.listing(path, Scope(full_name), self._shapes.branch, etag=etag)

    def files(self, full_name: str, folder: str, *, known: Mapping[str, str]) -> Listing[RepositoryFile]:
        return Folder(self.pages, full_name, folder).changed(known)

    def _whole(self, full_name: str, number: int, review: Review) -> Review:
        comments = self._comments(f"{_pull(full_name, number)}/reviews/{review.id}/comments", full_name)
        return replace(review, comments=tuple(comments))

    def _comments(self, path: str, full_name: str, params: Mapping[str, str] | None = None) -> Iterable[Comment]:
        """Only GitHub has comments in pages."""
        if self.pages.kind is ForgeKind.GITHUB:
            return self.pages.listing(path, Scope(full_name), self._comment, params=params)
        return self.pages.array(path, Scope(full_name), self._comment, params=params)

    def _comment(self, found: Fields) -> Comment:
        return self._shapes.comment(found, self._bots)

    def _review(self, found: Fields) -> Review | None:
        return self._shapes.review(found, self._bots)

    def _change_and_repository(self, pull: Fields) -> tuple[Change, Repository]:
        return self._shapes.change(pull, self._bots), self._shapes.repository(pull.at("base").at("repo"))


def unless_refused(ask: Callable[[], T]) -> T | None:
    """The result; None: the forge refuses to show it, so that trying again cannot help."""
    try:
        return ask()
    except ForgeFault as fault:
        if isinstance(fault.meaning, Refused | Misconfigured):
            return None
        raise


def _pull(full_name: str, number: int) -> str:
    return f"{repository_path(full_name)}/pulls/{number}"
