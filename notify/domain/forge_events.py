"""Makes the events of a change, the same from a delivery and from a sweep of either forge."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from notify.domain import events, forge_keys
from notify.domain.forge import Account, Change, ChangeState, ChangeTouched, ForgeEvent, Repository, ReviewRequest


@dataclass(frozen=True, slots=True)
class ChangeEvents:
    """
    Makes the events of one change.

    Nobody hears of a draft until it is ready. Comments and reviews are not made here: they are told on drafts too,
    since nothing would tell them later.

    Args:
        forge: The forge's name.
        actor: The person who did it, if known.
    """

    forge: str
    repository: Repository
    change: Change
    actor: Account | None

    def opened(self) -> ForgeEvent | ChangeTouched:
        if self.change.draft:
            return self.untold("draft")
        return self._event(events.CREATED, forge_keys.created(self._base, self.change.number), self.change.created_at)

    def ready(self) -> ForgeEvent | ChangeTouched:
        """A draft became ready."""
        if self.change.draft:
            return self.untold("draft")
        return self._event(events.CREATED, forge_keys.created(self._base, self.change.number), self.change.updated_at)

    def updated(self, sha: str) -> ForgeEvent | ChangeTouched:
        """
        Args:
            sha: The new head.
        """
        if self.change.draft:
            return self.untold("draft")
        key = forge_keys.updated(self._base, self.change.number, sha)
        return self._event(events.UPDATED, key, self.change.updated_at)

    def retargeted(self, before: str) -> ForgeEvent | ChangeTouched:
        """
        Args:
            before: The base branch until now.
        """
        if self.change.draft or self.change.base is None or self.change.head is None:
            return self.untold("draft" if self.change.draft else "edited")
        now, sha = self.change.base.ref, self.change.head.sha
        key = forge_keys.retargeted(self._base, self.change.number, before, now, sha)
        return self._event(events.UPDATED, key, self.change.updated_at, retargeted_from=before)

    def requested(self, login: str | None, team: str | None) -> ForgeEvent | ChangeTouched:
        """A review by one person or one team is requested."""
        if self.change.draft:
            return self.untold("draft")
        at, asked = self.change.updated_at, login or f"team/{team}"
        key = forge_keys.requested(self._base, self.change.number, asked, at)
        return self._event(events.REVIEW_REQUESTED, key, at, request=ReviewRequest(login=login, team=team))

    def ended(self) -> ForgeEvent | ChangeTouched:
        """Merged or closed. Who merged it counts before a program that did it for them, such as a merge queue."""
        at = self.change.closed_at or self.change.updated_at
        if self.change.state is ChangeState.MERGED:
            person = self.change.merged_by
            actor = person if person and not person.is_bot and (not self.actor or self.actor.is_bot) else self.actor
            return self._event(events.MERGED, forge_keys.merged(self._base, self.change.number), at, actor=actor)
        if self.change.draft:
            return self.untold("draft")
        return self._event(events.CLOSED, forge_keys.closed(self._base, self.change.number, at), at)

    def reopened(self) -> ForgeEvent | ChangeTouched:
        if self.change.draft:
            return self.untold("draft")
        at = self.change.updated_at
        return self._event(events.REOPENED, forge_keys.reopened(self._base, self.change.number, at), at)

    def untold(self, reason: str) -> ChangeTouched:
        return ChangeTouched(repository=self.repository, number=self.change.number, reason=reason)

    def told_since(self, since: datetime) -> Sequence[ForgeEvent]:
        """That it was opened and that it ended, as far as it was after *since* and there is somebody to tell."""
        found: list[ForgeEvent | ChangeTouched] = []
        if self.change.created_at > since:
            found.append(ChangeEvents(self.forge, self.repository, self.change, self.change.opener).opened())
        if self.change.closed_at is not None and self.change.closed_at > since:
            found.append(self.ended())
        return [one for one in found if isinstance(one, ForgeEvent)]

    @property
    def _base(self) -> str:
        return forge_keys.base(self.forge, self.repository.id)

    def _event(
        self,
        type_: str,
        key: str,
        at: datetime,
        *,
        actor: Account | None = None,
        request: ReviewRequest | None = None,
        retargeted_from: str | None = None,
    ) -> ForgeEvent:
        return ForgeEvent(
            type=type_,
            key=key,
            repository=self.repository,
            change=self.change,
            actor=actor or self.actor,
            occurred_at=at,
            request=request,
            retargeted_from=retargeted_from,
        )


def is_own(author: Account | None, own_login: str | None) -> bool:
    """Whether we wrote it ourselves. Logins are compared without case."""
    return author is not None and own_login is not None and author.login.lower() == own_login.lower()
