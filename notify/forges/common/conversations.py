"""What was said on a change since an instant, as events."""

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
    That it was opened, what was said, and that it ended; each as webhooks tell it.

    Args:
        comments: On the whole; forges select by the last edit, so older ones are among them.
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
    """Without the comments and reviews that we wrote ourselves."""
    return (event for event in found if not ((event.comment or event.review) and is_own(event.actor, own_login)))
