"""Reads Gitea, or Forgejo, over its REST API with an access token."""

from collections.abc import Mapping
from datetime import datetime, timedelta

from notify.domain.events import REVIEW_SUBMITTED
from notify.domain.forge import (
    ChangeReading,
    FailedDelivery,
    ForgeEvent,
    Ignored,
    Listing,
    Repository,
    Review,
)
from notify.domain.forge_answers import Refused
from notify.domain.forge_settings import ForgeSettings
from notify.forges import gitea_shapes as shapes
from notify.forges.client import ForgeClient, Scope, segment
from notify.forges.common.pull_reader import PullReader, unless_refused

LATEST_FIRST = {"state": "all", "sort": "recentupdate"}
ALL_OPEN = {"state": "open", "sort": "oldest"}
# Gitea stores a review before it updates the change, and its instants are whole seconds.
NEAR = timedelta(minutes=10)
ANYTHING = Scope()


class GiteaReader:
    """A ``ForgeReader``. Gitea has no ETags for these calls and no list of failed deliveries."""

    def __init__(self, settings: ForgeSettings, client: ForgeClient) -> None:
        self._client = client
        self._pulls = PullReader(
            settings, client, shapes=shapes, ask_login=self._ask_login, all_open=ALL_OPEN, latest_first=LATEST_FIRST
        )
        self._pages = self._pulls.pages
        self.own_login, self.repository = self._pulls.own_login, self._pulls.repository
        self.changes, self.history = self._pulls.changes, self._pulls.history
        self.branches, self.files = self._pulls.branches, self._pulls.files

    @property
    def name(self) -> str:
        return self._pulls.name

    def _ask_login(self) -> str:
        return self._pages.one("/user", ANYTHING, lambda user: user.line("login"))

    def clock_ahead(self) -> timedelta | None:
        return self._client.connection.clock_ahead

    def permissions(self) -> Mapping[str, str] | None:
        return None  # Gitea does not state the scopes of a token

    def repositories(self) -> Listing[Repository]:
        return self._pages.listing("/user/repos", ANYTHING, shapes.repository)

    def read_change(self, full_name: str, number: int) -> ChangeReading:
        return self._pulls.read_change(full_name, number, members=self.team_members)

    def complete(self, event: ForgeEvent) -> ForgeEvent | Ignored:
        """
        Find the review, which the delivery does not name: same author, verdict and text, and nearest in time.

        Two equal reviews in one second may be taken for one; the sweep finds the other.
        """
        if event.type != REVIEW_SUBMITTED or event.review is None or event.review.id:
            return event
        stated = event.review
        alike = [
            review
            for review in self._pulls.reviews(event.repository.full_name, event.change.number)
            if _login(review) == _login(stated)
            and (review.verdict, review.body) == (stated.verdict, stated.body)
            and abs(review.submitted_at - stated.submitted_at) < NEAR
        ]
        if not alike:
            return Ignored(reason="withdrawn_review")
        nearest = min(alike, key=lambda review: (abs(review.submitted_at - stated.submitted_at), -review.id))
        return self._pulls.completed(event, nearest)

    def team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        """Looks up the team's number first, because Gitea lists members by number only."""
        return unless_refused(lambda: self._team_members(owner, team))

    def _team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        teams = f"/orgs/{segment(owner)}/teams"
        named = self._pages.listing(teams, ANYTHING, lambda one: (one.line("name").lower(), one.number("id")))
        number = next((id_ for name, id_ in named if name == team.lower()), None)
        if number is None:
            return None
        return tuple(self._pages.listing(f"/teams/{number}/members", ANYTHING, lambda one: one.line("login")))

    def failed_deliveries(self, *, since: datetime) -> Listing[FailedDelivery]:  # noqa: ARG002 - the protocol's
        return Listing(items=iter(()))

    def redeliver(self, delivery_id: int) -> None:
        path = f"/hooks/deliveries/{delivery_id}"
        raise self._client.connection.fault("POST", path, None, Refused(reason="unexpected", words="Gitea has none"))

    def close(self) -> None:
        self._client.connection.close()


def _login(review: Review) -> str | None:
    return review.author.login.lower() if review.author else None
