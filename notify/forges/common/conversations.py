"""Makes events of the comments and reviews on a change since an instant."""

from collections.abc import Iterable, Iterator
from datetime import datetime

from notify.domain import events, forge_keys
from notify.domain.forge import Change, Comment, ForgeEvent, Repository, Review
from notify.domain.forge_events import ChangeEvents, is_own
from notify.forges.common.reviews import review_event


def events_since(
    forge: str,
    repository: Repository,
    change: Change,
    *,
    since: datetime,
    comments: Iterable[Comment],
    reviews: Iterable[Review],
) -> Iterator[ForgeEvent]:
    """
    The events of a change: opened, comments, reviews, merged or closed; equal to those made of webhooks.

    Args:
        comments: On the change as a whole; older ones are among them, because forges select by the last edit.
        reviews: Submitted after *since*, with their comments.
    """
    base = forge_keys.base(forge, repository.id)
    began_and_ended = ChangeEvents(forge, repository, change, change.merged_by).told_since(since)
    yield from (event for event in began_and_ended if event.type == events.CREATED)
    for comment in comments:
        if comment.created_at > since and comment.body.strip():
            yield ForgeEvent(
                type=events.COMMENT_CREATED,
                key=forge_keys.comment(base, comment.id),
                repository=repository,
                change=change,
                actor=comment.author,
                occurred_at=comment.created_at,
                comment=comment,
            )
    for review in reviews:
        event = review_event(forge, repository, change, review)
        if isinstance(event, ForgeEvent):
            yield event
    yield from (event for event in began_and_ended if event.type != events.CREATED)


def without_own(found: Iterable[ForgeEvent], own_login: str | None) -> Iterator[ForgeEvent]:
    """These without our own comments and reviews."""
    return (event for event in found if not ((event.comment or event.review) and is_own(event.actor, own_login)))
