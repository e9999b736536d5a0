"""What a forge says, in one form for GitHub and Gitea: repositories, changes, and what happened to them."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Generic, TypeVar

T = TypeVar("T")

# The account of this name stands for all that were deleted; GitHub states null as well.
GHOST = "ghost"


class ChangeState(StrEnum):
    OPEN = "open"
    CLOSED = "closed"
    MERGED = "merged"


class Verdict(StrEnum):
    """What a review says, spelled as in the payload of ``cl.review.submitted``."""

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
    A repository. The id outlives renames and transfers; ``full_name`` is ``owner/name`` as of now.

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
        head: None (like *base*): what this was read from does not state it, as the payload of a comment on GitHub.
        merge_commit: Only of merged changes.
        requested: Logins whose review is asked for now; *requested_teams* are their slugs, without the owner.
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
        requested: Whether their review is asked for now.
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
    One change as the forge knows it at this moment, with its repository under its present name.

    ``unread_teams`` were asked for a review, but the forge does not let us see their members.
    """

    repository: Repository
    change: Change
    reviewers: tuple[Reviewer, ...]
    unread_teams: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Comment:
    """
    A comment on a change, or on a line of it. ``line`` is None where the line no longer exists.

    ``code`` is the commented lines; ``review_id`` names the review that the forge counts it to, None: none.
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

    ``id`` is 0 in what Gitea delivers, which states none; ``ForgeReader.complete`` finds it.
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
    """Whose review is asked for: one person or one team."""

    login: str | None = None
    team: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ForgeEvent:
    """
    Something that happened on a change and concerns people.

    Args:
        type: As in ``notify.domain.events``.
        key: By meaning, from the signed body or from the forge's answer, and the same from both; that of
            an event which is not certain is of no use.
        actor: None: the account was deleted.
        change: As it was stated with the event.
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
    """A change is to be read again, and nobody is told; ``reason`` says why not."""

    repository: Repository
    number: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryMoved:
    """A repository has a new name or owner. ``old_name`` is None where the delivery does not state it."""

    repository: Repository
    old_name: str | None
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """Commits were pushed to a branch; never a tag, a deletion or the zero hash. ``ref`` is the full one."""

    repository: Repository
    ref: str
    before: str
    after: str
    actor: Account | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ping:
    """The forge tries out its webhook."""

    hook_id: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Ignored:
    """Nothing that concerns notify; no error. The reasons are few, fit to be counted by."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """The body is not what the event's name says, or no JSON at all. Trying again cannot help."""

    reason: str


ParsedDelivery = ForgeEvent | ChangeTouched | RepositoryMoved | Push | Ping | Ignored | Unreadable


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    name: str
    sha: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryFile:
    """
    A file of a folder. ``text`` is None: as it was (the caller knows this ``sha``), or ``fault`` says why it is unread.

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
class Listing(Generic[T]):
    """
    A listing that is read page by page while it is iterated, once.

    Only an iteration that ends without ``ForgeFault`` was complete; what came before a fault is true all the same.

    Args:
        etag: Give it to the next call; None: the forge offers none.
        unchanged: Nothing has changed since the *etag* that was given; there are no items.
    """

    items: Iterator[T]
    etag: str | None = field(default=None)
    unchanged: bool = False

    def __iter__(self) -> Iterator[T]:
        return self.items
