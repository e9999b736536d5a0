"""What happened: an event, the change list or other topic it is about, and what was said."""

from collections.abc import Mapping, Sequence
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
SYNC_FAILING = "source.sync.failing"
STATUS_DEAD = "status.dead"
HEAD_BROKEN = "queue.head.broken"
HEAD_RECOVERED = "queue.head.recovered"
HEAD_VALIDATED = "queue.head.validated"
REQUEST_STUCK = "queue.request.stuck"
# Only notify itself emits them; they concern operators.
FOR_OPERATORS = frozenset({SYNC_FAILING, STATUS_DEAD, REQUEST_STUCK})
# Types of events whose topic is no change list.
_ABOUT_OTHERS = ("queue.", "source.", "status.")
# The actor of what notify itself has found.
OURSELVES = "notify"


def is_about_change_list(event_type: str) -> bool:
    """Whether the topic of such an event is a change list's link, rather than a forge, a repository or a queue."""
    return not event_type.startswith(_ABOUT_OTHERS)


def topic_name(event_type: str, topic: str) -> str:
    """The topic as people call it: a change list's link; of another topic what follows its kind: ``queue:main``."""
    return topic if is_about_change_list(event_type) else topic.partition(":")[2] or topic


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeList:
    """
    A change list in the directory.

    ``link`` is the short name people use (``CL-4821``). ``first_title`` and ``first_repository`` are used in the
    thread's subject, which never changes; None: the current ones. Any other None: unknown.
    """

    link: str
    title: str | None = None
    url: str | None = None
    repository: str | None = None
    author: str | None = None
    reviewers: tuple[str, ...] = ()
    owners: tuple[str, ...] = ()
    first_title: str | None = None
    first_repository: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One stored event.

    ``payload`` has the object that the event type adds to the common fields, named as in the API: ``comment``,
    ``review``, ``request`` or ``change``. ``occurred_at`` is aware UTC. ``age_seconds`` is its age when it was read.
    ``traceparent`` is the trace that emitted it; None: none. ``is_withdrawn``: nobody more is to be told.
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
    is_withdrawn: bool = False

    @property
    def is_about_change_list(self) -> bool:
        """Whether its topic is a change list's link."""
        return is_about_change_list(self.type)

    def payload_object(self, name: str) -> Mapping[str, Any]:
        """One object of the payload; empty if the event type has none of this name."""
        found: Mapping[str, Any] = self.payload.get(name) or {}
        return found

    @property
    def requested_reviewers(self) -> tuple[str, ...]:
        """The people whose review it requests."""
        return tuple(self.payload_object("request").get("reviewers", ()))

    @property
    def suspects(self) -> Mapping[str, Sequence[str]]:
        """Who has commits in the broken head: their hashes, by username."""
        authors: Mapping[str, Sequence[str]] = self.payload_object("queue").get("authors", {})
        return authors

    @property
    def texts(self) -> tuple[str, ...]:
        """All Markdown that the actor wrote: the comment, or the review and its comments."""
        review = self.payload_object("review")
        written = (self.payload_object("comment"), review, *review.get("comments", ()))
        return tuple(one["body"] for one in written if one.get("body"))
