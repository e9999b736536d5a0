"""Reads Gitea, or Forgejo, over its REST API with an access token."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime, timedelta

from notify.domain.events import REVIEW_SUBMITTED
from notify.domain.forge import (
    Branch,
    Change,
    ChangeReading,
    Comment,
    FailedDelivery,
    ForgeEvent,
    Ignored,
    Listing,
    Repository,
    RepositoryFile,
    Review,
)
from notify.domain.forge_answers import ForgeFault, Misconfigured, Refused
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.forges import gitea_shapes as shapes
from notify.forges.client import ForgeClient, Scope, repository_path, segment
from notify.forges.common.conversations import events_since, without_own
from notify.forges.common.files import Folder
from notify.forges.common.reviewers import reviewers_of
from notify.forges.common.reviews import review_event
from notify.forges.pages import Pages, until

LATEST_FIRST = {"state": "all", "sort": "recentupdate"}
ALL_OPEN = {"state": "open", "sort": "oldest"}
# A review is stored before its change is touched, by the server's clock in whole seconds.
NEAR = timedelta(minutes=10)
ANYTHING = Scope()


class GiteaReader:
    """A ``ForgeReader``. Gitea has no ETags for what is read here, and no list of failed deliveries."""

    def __init__(self, settings: ForgeSettings, client: ForgeClient) -> None:
        self._settings, self._client = settings, client
        self._pages = Pages(client, ForgeKind.GITEA)
        self._own_login: str | None = None
        self._asked_for_login = False
        self._bots = settings.bots

    @property
    def name(self) -> str:
        return self._settings.name

    def own_login(self) -> str | None:
        if not self._asked_for_login:
            try:
                self._own_login = self._pages.one("/user", ANYTHING, lambda user: user.line("login"))
            except ForgeFault as fault:
                if not _is_refusal(fault):
                    raise
            self._asked_for_login = True
        return self._own_login

    def permissions(self) -> Mapping[str, str] | None:
        return None  # an access token's scopes are not told

    def repositories(self) -> Listing[Repository]:
        return self._pages.listing("/user/repos", ANYTHING, shapes.repository)

    def repository(self, full_name: str) -> Repository:
        return self._pages.one(repository_path(full_name), Scope(full_name), shapes.repository)

    def read_change(self, full_name: str, number: int) -> ChangeReading:
        path, scope = f"{repository_path(full_name)}/pulls/{number}", Scope(full_name)
        change, repository = self._pages.one(
            path, scope, lambda pull: (shapes.change(pull, self._bots), shapes.repository(pull.at("base").at("repo")))
        )
        owner = repository.full_name.partition("/")[0]
        teams = {team: self.team_members(owner, team) for team in change.requested_teams}
        reviewers = reviewers_of(change, self._reviews(full_name, number), teams)
        unread = tuple(team for team, members in teams.items() if members is None)
        return ChangeReading(repository=repository, change=change, reviewers=reviewers, unread_teams=unread)

    def changes(self, full_name: str, *, since: datetime | None = None, etag: str | None = None) -> Listing[Change]:
        found = self._pages.listing(
            f"{repository_path(full_name)}/pulls",
            Scope(full_name),
            lambda pull: shapes.change(pull, self._bots),
            params=ALL_OPEN if since is None else LATEST_FIRST,
            etag=None if since is None else etag,
        )
        return found if since is None else replace(found, items=until(found.items, since))

    def history(self, repository: Repository, change: Change, *, since: datetime) -> Listing[ForgeEvent]:
        return Listing(items=self._history(repository, change, since))

    def _history(self, repository: Repository, change: Change, since: datetime) -> Iterator[ForgeEvent]:
        comments = self._pages.array(
            f"{repository_path(repository.full_name)}/issues/{change.number}/comments?since={since:%Y-%m-%dT%H:%M:%SZ}",
            Scope(repository.full_name),
            lambda comment: shapes.comment(comment, self._bots),
        )
        reviews = (
            replace(review, comments=self._review_comments(repository.full_name, change.number, review.id))
            for review in self._reviews(repository.full_name, change.number)
            if review.submitted_at > since
        )
        found = events_since(self.name, repository, change, since=since, comments=comments, reviews=reviews)
        yield from without_own(found, self.own_login())

    def complete(self, event: ForgeEvent) -> ForgeEvent | Ignored:
        """
        A delivery does not name its review: it is the one of this author, verdict and words that is nearest in time.

        Two that are alike to the second may be taken for one; the sweep tells the other.
        """
        if event.type != REVIEW_SUBMITTED or event.review is None or event.review.id:
            return event
        stated, full_name, number = event.review, event.repository.full_name, event.change.number
        alike = [
            review
            for review in self._reviews(full_name, number)
            if _login(review) == _login(stated)
            and (review.verdict, review.body) == (stated.verdict, stated.body)
            and abs(review.submitted_at - stated.submitted_at) < NEAR
        ]
        if not alike:
            return Ignored(reason="withdrawn_review")
        nearest = min(alike, key=lambda review: (abs(review.submitted_at - stated.submitted_at), -review.id))
        whole = replace(nearest, comments=self._review_comments(full_name, number, nearest.id))
        return review_event(self.name, event.repository, event.change, whole)

    def branches(self, full_name: str, *, etag: str | None = None) -> Listing[Branch]:
        return self._pages.listing(
            f"{repository_path(full_name)}/branches",
            Scope(full_name),
            lambda branch: Branch(name=branch.line("name"), sha=branch.at("commit").line("id")),
            etag=etag,
        )

    def files(self, full_name: str, folder: str, *, known: Mapping[str, str]) -> Listing[RepositoryFile]:
        return Folder(self._pages, full_name, folder).changed(known)

    def team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        """Gitea finds the members of a team by its number only."""
        teams = f"/orgs/{segment(owner)}/teams"
        try:
            named = self._pages.listing(teams, ANYTHING, lambda one: (one.line("name").lower(), one.number("id")))
            number = next((id_ for name, id_ in named if name == team.lower()), None)
            if number is None:
                return None
            return tuple(self._pages.listing(f"/teams/{number}/members", ANYTHING, lambda one: one.line("login")))
        except ForgeFault as fault:
            if _is_refusal(fault):
                return None
            raise

    def failed_deliveries(self, *, since: datetime) -> Listing[FailedDelivery]:  # noqa: ARG002 - the protocol's
        return Listing(items=iter(()))

    def redeliver(self, delivery_id: int) -> None:
        path = f"/hooks/deliveries/{delivery_id}"
        raise self._client.connection.fault("POST", path, None, Refused(reason="unexpected", words="Gitea has none"))

    def close(self) -> None:
        self._client.connection.close()

    def _reviews(self, full_name: str, number: int) -> Iterator[Review]:
        return self._pages.listing(
            f"{repository_path(full_name)}/pulls/{number}/reviews",
            Scope(full_name),
            lambda review: shapes.review(review, self._bots),
        ).items

    def _review_comments(self, full_name: str, number: int, review: int) -> tuple[Comment, ...]:
        path = f"{repository_path(full_name)}/pulls/{number}/reviews/{review}/comments"
        return tuple(self._pages.array(path, Scope(full_name), lambda comment: shapes.comment(comment, self._bots)))


def _login(review: Review) -> str | None:
    return review.author.login.lower() if review.author else None


def _is_refusal(fault: ForgeFault) -> bool:
    """Whether this is not for us to see, which trying again does not change."""
    return isinstance(fault.meaning, Refused | Misconfigured)
