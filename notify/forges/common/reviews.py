"""What a review with its comments is: one event, a single comment, or nothing."""

from dataclasses import replace

from notify.domain import forge_keys
from notify.domain.events import COMMENT_CREATED, REVIEW_SUBMITTED
from notify.domain.forge import Change, ForgeEvent, Ignored, Repository, Review, Verdict


def review_event(forge: str, repository: Repository, change: Change, review: Review) -> ForgeEvent | Ignored:
    """
    The one event of a review, the same from whichever delivery or listing it was found.

    Forges make a review of every comment on a line that somebody makes outside one. It has no verdict, no
    words of its own, and one comment: to people it is a comment.
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
