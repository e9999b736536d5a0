"""Reads GitHub over its REST API, as an app or with a token."""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from functools import partial

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
from notify.domain.forge_events import is_own
from notify.domain.forge_settings import ForgeSettings
from notify.forges import github_shapes as shapes
from notify.forges.client import APP, ForgeClient, Scope, segment
from notify.forges.common.fields import Fields
from notify.forges.common.pull_reader import PullReader, unless_refused

LATEST_FIRST = {"state": "all", "sort": "updated", "direction": "desc"}
ALL_OPEN = {"state": "open", "sort": "created", "direction": "asc"}
DELIVERED = range(200, 300)


class GitHubReader:
    """A ``ForgeReader``."""

    def __init__(self, settings: ForgeSettings, client: ForgeClient) -> None:
        self._settings, self._client = settings, client
        self._pulls = PullReader(
            settings, client, shapes=shapes, ask_login=self._ask_login, all_open=ALL_OPEN, latest_first=LATEST_FIRST
        )
        self._pages = self._pulls.pages
        self.own_login, self.repository = self._pulls.own_login, self._pulls.repository
        self.changes, self.history = self._pulls.changes, self._pulls.history
        self.branches, self.files = self._pulls.branches, self._pulls.files

    @property
    def name(self) -> str:
        return self._settings.name

    def _ask_login(self) -> str:
        if self._settings.app_id is None:
            return self._pages.one("/user", APP, lambda user: user.line("login"))
        return self._pages.one("/app", APP, lambda app: app.line("slug") + shapes.BOT_SUFFIX)

    def clock_ahead(self) -> timedelta | None:
        return self._client.connection.clock_ahead

    def permissions(self) -> Mapping[str, str] | None:
        if self._settings.app_id is None:
            return None
        app = self._client.json("/app", APP)
        stated = app.get("permissions") if isinstance(app, dict) else None
        return {str(name): str(level) for name, level in stated.items()} if isinstance(stated, dict) else None

    def repositories(self) -> Listing[Repository]:
        if self._settings.app_id is None:
            return self._pages.listing("/user/repos", APP, shapes.repository)
        return Listing(items=self._installed_repositories())

    def _installed_repositories(self) -> Iterator[Repository]:
        one = self._settings.installation_id
        installations = [one] if one else self._pages.listing("/app/installations", APP, _active_installation)
        for installation in installations:
            scope = Scope(installation=installation)
            yield from self._pages.listing(
                "/installation/repositories", scope, shapes.repository, inside="repositories"
            )

    def read_change(self, full_name: str, number: int) -> ChangeReading:
        members = partial(self._members, scope=Scope(full_name))
        return self._pulls.read_change(full_name, number, members=members)

    def complete(self, event: ForgeEvent) -> ForgeEvent | Ignored:
        full_name, number = event.repository.full_name, event.change.number
        if event.type == REVIEW_SUBMITTED and event.review is not None:
            review: Review | None = event.review
        elif event.comment is not None and event.comment.review_id is not None:
            review = self._pulls.one_review(full_name, number, event.comment.review_id)
        else:
            return event
        if review is None:
            return Ignored(reason="unsubmitted_review")
        if is_own(review.author, self.own_login()):
            return Ignored(reason="own")
        return self._pulls.completed(event, review)

    def team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        installation = self._settings.installation_id
        if self._settings.app_id is not None and installation is None:
            path = f"/orgs/{segment(owner)}/installation"
            installation = self._pages.one(path, APP, lambda found: found.number("id"))
        return self._members(owner, team, scope=Scope(installation=installation))

    def _members(self, owner: str, team: str, *, scope: Scope) -> tuple[str, ...] | None:
        path = f"/orgs/{segment(owner)}/teams/{segment(team)}/members"
        return unless_refused(lambda: tuple(self._pages.listing(path, scope, lambda member: member.line("login"))))

    def failed_deliveries(self, *, since: datetime) -> Listing[FailedDelivery]:
        if self._settings.app_id is None:
            return Listing(items=iter(()))
        return Listing(items=self._failed_deliveries(since))

    def _failed_deliveries(self, since: datetime) -> Iterator[FailedDelivery]:
        attempts = self._pages.listing("/app/hook/deliveries", APP, _attempt)
        failed: dict[str, FailedDelivery] = {}
        taken = set()
        for attempt, arrived in attempts:
            if attempt.delivered_at < since:
                break
            if arrived:
                taken.add(attempt.guid)
            else:
                failed.setdefault(attempt.guid, attempt)
        yield from (delivery for guid, delivery in failed.items() if guid not in taken)

    def redeliver(self, delivery_id: int) -> None:
        path = f"/app/hook/deliveries/{delivery_id}/attempts"
        self._client.send("POST", path, APP)

    def close(self) -> None:
        self._client.connection.close()


def _active_installation(found: Fields) -> int | None:
    return None if "suspended_at" in found else found.number("id")


def _attempt(found: Fields) -> tuple[FailedDelivery, bool]:
    """One attempt at a delivery, and whether it succeeded."""
    attempt = FailedDelivery(
        id=found.number("id"),
        guid=found.line("guid"),
        event=found.line("event"),
        delivered_at=found.instant("delivered_at"),
    )
    return attempt, found.maybe_number("status_code") in DELIVERED
