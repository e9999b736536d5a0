"""Converts what happened on a forge into the event that an application would have emitted."""

from collections.abc import Mapping, Sequence
from typing import Any

from notify.domain.events import COMMENT_CREATED, CREATED, REVIEW_REQUESTED, REVIEW_SUBMITTED, UPDATED
from notify.domain.forge import Comment, ForgeEvent, Review
from notify.intake.schema import EventIn, parse

MOST_COMMENTS = 100
SHORT_SHA = 12
LONGEST_CODE = 10_000


def event_of(event: ForgeEvent, *, link: str, actor: str, requested: Sequence[str] = ()) -> EventIn:
    """
    The event, as ``receive`` takes it.

    Args:
        actor: The username of who did it.
        requested: The usernames whose review it asks for.
    """
    return parse(
        {
            "key": event.key,
            "type": event.type,
            "actor": actor,
            "occurred_at": event.occurred_at,
            "cl": {"link": link},
            **_said(event, requested),
        }
    )


def _said(event: ForgeEvent, requested: Sequence[str]) -> Mapping[str, Any]:
    if event.type == COMMENT_CREATED and event.comment is not None:
        return {"comment": _comment(event.comment)}
    if event.type == REVIEW_SUBMITTED and event.review is not None:
        return {"review": _review(event.review)}
    if event.type == REVIEW_REQUESTED:
        return {"request": {"reviewers": list(requested)}}
    change = event.change
    said = {"url": change.url}
    if event.type == CREATED and change.description:
        said["summary"] = change.description
    if event.type == UPDATED and change.head is not None:
        said["revision"] = change.head.sha[:SHORT_SHA]
    if event.retargeted_from is not None and change.base is not None:
        said["summary"] = f"The base branch is now `{change.base.ref}`, no longer `{event.retargeted_from}`."
    return {"change": said}


def _comment(comment: Comment) -> dict[str, Any]:
    stated = {
        "id": str(comment.id),
        "body": comment.body,
        "url": comment.url,
        "path": comment.path,
        "line": comment.line,
        "code": comment.code and comment.code[:LONGEST_CODE],
    }
    return {name: value for name, value in stated.items() if value is not None}


def _review(review: Review) -> dict[str, Any]:
    stated: dict[str, Any] = {
        "id": str(review.id),
        "state": str(review.verdict),
        "url": review.url,
        "comments": [_comment(one) for one in review.comments[:MOST_COMMENTS]],
    }
    return {**stated, "body": review.body} if review.body else stated
