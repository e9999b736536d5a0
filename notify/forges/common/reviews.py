"""Decides whether a review with its comments is a review, a single comment, or no event."""

from dataclasses import replace

from notify.domain import forge_keys
from notify.domain.events import COMMENT_CREATED, REVIEW_SUBMITTED
from notify.domain.forge import Change, ForgeEvent, Ignored, Repository, Review, Verdict


def review_event(forge: str, repository: Repository, change: Change, review: Review) -> ForgeEvent | Ignored:
    """
    The event of a review, the same from a delivery and from a listing.

    Forges wrap a single comment on a line in a review without verdict and text. For people it is a comment.
    """
    base = forge_keys.base(forge, repository.id)
    silent = review.verdict is Verdict.COMMENTED and not review.body.strip()
    said = tuple(comment for comment in review.comments if comment.body.strip())
    if silent and not said:
        return Ignored(reason="empty_review")
    if silent and len(said) == 1:
        return ForgeEvent(
            type=COMMENT_CREATED,
            key=forge_keys.review_comment(base, said[0].id),
            repository=repository,
            change=change,
            actor=said[0].author,
            occurred_at=review.submitted_at,
            comment=said[0],
        )
    return ForgeEvent(
        type=REVIEW_SUBMITTED,
        key=forge_keys.review(base, review.id),
        repository=repository,
        change=change,
        actor=review.author,
        occurred_at=review.submitted_at,
        review=replace(review, comments=said),
    )
