"""Reads GitHub over its REST API, as an app or with a token."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import datetime

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
from notify.domain.forge_answers import Applied, ForgeFault, Misconfigured, Refused
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.forges import github_shapes as shapes
from notify.forges.client import APP, ForgeClient, Scope, repository_path, segment
from notify.forges.common.changes import is_own
from notify.forges.common.conversations import events_since, without_own
from notify.forges.common.fields import Fields
from notify.forges.common.files import Folder
from notify.forges.common.reviewers import reviewers_of
from notify.forges.common.reviews import review_event
from notify.forges.pages import Pages, until

LATEST_FIRST = {"state": "all", "sort": "updated", "direction": "desc"}
ALL_OPEN = {"state": "open", "sort": "created", "direction": "asc"}
DELIVERED = range(200, 300)


class GitHubReader:
    """A ``ForgeReader``."""

    def __init__(self, settings: ForgeSettings, client: ForgeClient) -> None:
        self._settings, self._client = settings, client
        self._pages = Pages(client, ForgeKind.GITHUB)
        self._own_login: str | None = None
        self._asked_for_login = False
        self._bots = settings.bots

    @property
    def name(self) -> str:
        return self._settings.name

    def own_login(self) -> str | None:
        if not self._asked_for_login:
            try:
                if self._settings.app_id is not None:
                    self._own_login = self._pages.one("/app", APP, lambda app: app.line("slug") + shapes.BOT_SUFFIX)
                else:
                    self._own_login = self._pages.one("/user", APP, lambda user: user.line("login"))
            except ForgeFault as fault:
                if not _is_refusal(fault):
                    raise
            self._asked_for_login = True
        return self._own_login

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

    def repository(self, full_name: str) -> Repository:
        return self._pages.one(repository_path(full_name), Scope(full_name), shapes.repository)

    def read_change(self, full_name: str, number: int) -> ChangeReading:
        path, scope = f"{repository_path(full_name)}/pulls/{number}", Scope(full_name)
        change, repository = self._pages.one(
            path, scope, lambda pull: (shapes.change(pull, self._bots), shapes.repository(pull.at("base").at("repo")))
        )
        owner = repository.full_name.partition("/")[0]
        teams = {team: self._members(owner, team, scope) for team in change.requested_teams}
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
        scope = Scope(repository.full_name)
        comments = self._pages.listing(
            f"{repository_path(repository.full_name)}/issues/{change.number}/comments",
            scope,
            lambda comment: shapes.comment(comment, self._bots),
            params={"since": since.strftime("%Y-%m-%dT%H:%M:%SZ")},
        )
        reviews = (
            replace(review, comments=self._review_comments(repository.full_name, change.number, review.id))
            for review in self._reviews(repository.full_name, change.number)
            if review.submitted_at > since
        )
        found = events_since(self.name, repository, change, since=since, comments=comments, reviews=reviews)
        yield from without_own(found, self.own_login())

    def complete(self, event: ForgeEvent) -> ForgeEvent | Ignored:
        full_name, number = event.repository.full_name, event.change.number
        if event.type == REVIEW_SUBMITTED and event.review is not None:
            review: Review | None = event.review
        elif event.comment is not None and event.comment.review_id is not None:
            path = f"{repository_path(full_name)}/pulls/{number}/reviews/{event.comment.review_id}"
            review = self._pages.one(path, Scope(full_name), lambda one: shapes.review(one, self._bots))
        else:
            return event
        if review is None:
            return Ignored(reason="unsubmitted_review")
        if is_own(review.author, self.own_login()):
            return Ignored(reason="own")
        whole = replace(review, comments=self._review_comments(full_name, number, review.id))
        return review_event(self.name, event.repository, event.change, whole)

    def branches(self, full_name: str, *, etag: str | None = None) -> Listing[Branch]:
        return self._pages.listing(
            f"{repository_path(full_name)}/branches",
            Scope(full_name),
            lambda branch: Branch(name=branch.line("name"), sha=branch.at("commit").line("sha")),
            etag=etag,
        )

    def files(self, full_name: str, folder: str, *, known: Mapping[str, str]) -> Listing[RepositoryFile]:
        return Folder(self._pages, full_name, folder).changed(known)

    def team_members(self, owner: str, team: str) -> tuple[str, ...] | None:
        installation = self._settings.installation_id
        if self._settings.app_id is not None and installation is None:
            path = f"/orgs/{segment(owner)}/installation"
            installation = self._pages.one(path, APP, lambda found: found.number("id"))
        return self._members(owner, team, Scope(installation=installation))

    def _members(self, owner: str, team: str, scope: Scope) -> tuple[str, ...] | None:
        path = f"/orgs/{segment(owner)}/teams/{segment(team)}/members"
        try:
            return tuple(self._pages.listing(path, scope, lambda member: member.line("login")))
        except ForgeFault as fault:
            if _is_refusal(fault):
                return None
            raise

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
        reply, meaning = self._client.ask("POST", path, APP)
        if not isinstance(meaning, Applied):
            raise self._client.connection.fault("POST", path, reply.status, meaning)

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
        return tuple(self._pages.listing(path, Scope(full_name), lambda comment: shapes.comment(comment, self._bots)))


def _is_refusal(fault: ForgeFault) -> bool:
    """Whether this is not for us to see, which trying again does not change."""
    return isinstance(fault.meaning, Refused | Misconfigured)


def _active_installation(found: Fields) -> int | None:
    return None if "suspended_at" in found else found.number("id")


def _attempt(found: Fields) -> tuple[FailedDelivery, bool]:
    """One attempt to deliver, and whether it arrived."""
    attempt = FailedDelivery(
        id=found.number("id"),
        guid=found.line("guid"),
        event=found.line("event"),
        delivered_at=found.instant("delivered_at"),
    )
    return attempt, found.maybe_number("status_code") in DELIVERED
