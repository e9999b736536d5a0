"""What happened: an event, the change list it happened on, and what was said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

COMMENT_CREATED = "cl.comment.created"
COMMENT_MENTIONED = "cl.comment.mentioned"
CREATED = "cl.created"
UPDATED = "cl.updated"
REVIEW_REQUESTED = "cl.review.requested"
REVIEW_SUBMITTED = "cl.review.submitted"
MERGED = "cl.merged"
CLOSED = "cl.closed"
REOPENED = "cl.reopened"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeList:
    """
    A change list as the directory knows it.

    ``link`` is the short name people use (``CL-4821``); every other None means *not known*.
    ``first_title`` and ``first_repository`` are what the subject of the thread keeps; None: the present ones.
    """

    link: str
    title: str | None = None
    url: str | None = None
    repository: str | None = None
    author: str | None = None
    reviewers: tuple[str, ...] = ()
    first_title: str | None = None
    first_repository: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One stored event, as the fan-out and the emails see it.

    ``payload`` is what the event type carries besides the common fields, by the names that the
    event had at the door: ``comment``, ``review``, ``request``, ``change``; ``occurred_at`` is
    aware UTC. ``age_seconds`` is how long ago it was received when it was read;
    ``traceparent`` names the trace in which it was emitted, None: in none.
    """

    id: int
    key: str
    type: str
    topic: str
    actor: str
    occurred_at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict)
    age_seconds: float = field(default=0.0, compare=False)
    traceparent: str | None = None

    def part(self, name: str) -> Mapping[str, Any]:
        """One object of the payload; empty for event types that have none of this name."""
        part: Mapping[str, Any] = self.payload.get(name) or {}
        return part

    @property
    def requested_reviewers(self) -> tuple[str, ...]:
        """Whose review it asks for."""
        return tuple(self.part("request").get("reviewers", ()))

    @property
    def said(self) -> tuple[str, ...]:
        """Everything that the actor wrote, as Markdown: the comment, or the review and its comments."""
        review = self.part("review")
        parts = (self.part("comment"), review, *review.get("comments", ()))
        return tuple(part["body"] for part in parts if part.get("body"))
