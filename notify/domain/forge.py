"""Values for what a forge says, the same for GitHub and Gitea: repositories, changes and events."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")

# This account stands for all deleted ones; GitHub also states null.
GHOST = "ghost"


class ChangeState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class Verdict(StrEnum):
    """The verdict of a review, spelled as in the payload of ``cl.review.submitted``."""

    APPROVED = "approved"
    CHANGES_REQUESTED = "changes_requested"
    COMMENTED = "commented"


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """A person or a program on a forge. ``is_bot``: the forge says so, or the configuration's ``bots``."""

    login: str
    is_bot: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Repository:
    """
    A repository. The id survives renames and transfers; ``full_name`` is the present ``owner/name``.

    ``pushed_at`` is when anything was last pushed to it; None: not stated.
    """

    id: int
    full_name: str
    url: str
    default_branch: str
    archived: bool = False
    pushed_at: datetime | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class BranchHead:
    """One side of a change. ``repository`` is None when the fork was deleted."""

    ref: str
    sha: str
    repository: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """
    A pull request.

    Args:
        opener: None: the account was deleted.
        head: None (like *base*): not stated, as in GitHub's payload of a comment.
        merge_commit: Only of merged changes.
        requested: Logins whose review is requested now; *requested_teams* has slugs of teams, without the owner.
        files: None (like *added* and *removed*): not stated, as in listings.
    """

    number: int
    title: str
    description: str
    url: str
    state: ChangeState
    draft: bool
    opener: Account | None
    head: BranchHead | None
    base: BranchHead | None
    merge_commit: str | None
    created_at: datetime
    updated_at: datetime
    closed_at: datetime | None
    merged_by: Account | None = None
    requested: tuple[str, ...] = ()
    requested_teams: tuple[str, ...] = ()
    files: int | None = None
    added: int | None = None
    removed: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reviewer:
    """
    One reviewer of a change.

    Args:
        requested: Whether their review is requested now.
        verdict: Of their last review that was not withdrawn; None: they have not reviewed.
        team: The team through which they were asked; None: by name, or unasked.
    """

    login: str
    requested: bool
    verdict: Verdict | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeReading:
    """
    A change as the forge has it now, with its repository under its present name.

    ``unread_teams`` are requested teams whose members we may not see.
    """

    repository: Repository
    change: Change
    reviewers: tuple[Reviewer, ...]
    unread_teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """
    A comment on a change, or on a line of it. ``line`` is None where the line no longer exists.

    ``code`` is the commented lines; ``review_id`` is the review that it belongs to; None: none.
    """

    id: int
    author: Account | None
    body: str
    url: str
    created_at: datetime
    path: str | None = None
    line: int | None = None
    code: str | None = None
    review_id: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Review:
    """
    A submitted review and the comments made in it.

    ``id`` is 0 if it is not known, as in Gitea's deliveries; ``ForgeReader.complete`` finds it.
    """

    id: int
    author: Account | None
    verdict: Verdict
    body: str
    url: str
    submitted_at: datetime
    comments: tuple[Comment, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewRequest:
    """The person or the team whose review is requested."""

    login: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeEvent:
    """
    Something that happened on a change and concerns people.

    Args:
        type: As in ``notify.domain.events``.
        key: The same from a signed body and from the forge's answer. Do not use it if the event is not certain.
        actor: None: the account was deleted.
        change: As stated with the event.
        certain: False: a delivery that may turn out to be another event, or none. ``ForgeReader.complete``
            decides; while the forge does not answer, nothing may be told, and the delivery is due again.
            True: complete it if the forge answers (a review gets its comments), else tell it as it is.
        comment: Of ``cl.comment.created``, of no other; *review* and *request* likewise.
        retargeted_from: The base branch until now, of a ``cl.updated`` that is about a new base.
    """

    type: str
    key: str
    repository: Repository
    change: Change
    actor: Account | None
    occurred_at: datetime
    certain: bool = True
    comment: Comment | None = None
    review: Review | None = None
    request: ReviewRequest | None = None
    retargeted_from: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeTouched:
    """The change must be read again, but nobody is told; ``reason`` says why."""

    repository: Repository
    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryMoved:
    """A repository has a new name or owner. ``old_name`` is None if the delivery does not state it."""

    repository: Repository
    old_name: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Commits were pushed to a branch; never a tag or a deletion. ``ref`` is the full one."""

    repository: Repository
    ref: str
    before: str
    after: str
    actor: Account | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunEnded:
    """A run of a workflow has ended; how, only the forge is believed. ``name`` is what it is listed under."""

    repository: Repository
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The forge tests its webhook."""

    hook_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """A delivery that does not concern notify; not an error. There are few reasons, so that they can be counted."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The body does not fit the event's name, or is not JSON. Trying again cannot help."""

    reason: str


ParsedDelivery = ForgeEvent | ChangeTouched | RepositoryMoved | Push | RunEnded | Ping | Ignored | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    name: str
    sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFile:
    """
    A file of a folder. ``text`` None: unchanged (the caller knows this ``sha``), or unread because of ``fault``.

    ``sha`` names the content, not a commit.
    """

    path: str
    sha: str
    text: str | None
    fault: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedDelivery:
    """A webhook delivery that did not arrive here. ``guid`` is the delivery id in its headers."""

    id: int
    guid: str
    event: str
    delivered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkflowRun:
    """One run of a workflow. ``conclusion`` None: it has not ended."""

    id: int
    name: str
    url: str
    conclusion: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing(Generic[T]):
    """
    A listing that is read page by page while it is iterated, once.

    Only an iteration that ends without ``ForgeFault`` was complete; items before a fault are valid.

    Args:
        etag: For the next call; None: the forge has none.
        unchanged: Whether nothing has changed since the given *etag*; then there are no items.
    """

    items: Iterator[T]
    etag: str | None = field(default=None)
    unchanged: bool = False

    def __iter__(self) -> Iterator[T]:
        return self.items
