"""What the embedded forge keeps of repositories and pull requests, and of what was said on them."""

from dataclasses import dataclass, field
from datetime import datetime


@dataclass(slots=True)
class Comment:
    """
    What somebody said on a pull request.

    ``path`` None: on the whole of it; ``review_id`` None: not in a review.
    """

    id: int
    login: str
    body: str
    created_at: datetime
    path: str | None = None
    line: int | None = None
    review_id: int | None = None


@dataclass(slots=True)
class Review:
    """A finished review; ``state`` as GitHub's REST API spells it: APPROVED, CHANGES_REQUESTED, COMMENTED."""

    id: int
    login: str
    state: str
    body: str
    submitted_at: datetime
    commit: str


@dataclass(slots=True)
class Pull:
    """
    A pull request; ``merge_commit`` and ``merged_by`` None unless merged.

    ``fork`` is the repository whose branch ``head`` is, which is not kept here; None: it is a branch of this one.

    ``commits`` are those at which its head was, the oldest first.
    """

    id: int
    number: int
    title: str
    body: str
    login: str
    head: str
    head_sha: str
    base: str
    base_sha: str
    draft: bool
    created_at: datetime
    updated_at: datetime
    state: str = "open"
    merged_at: datetime | None = None
    closed_at: datetime | None = None
    merge_commit: str | None = None
    merged_by: str | None = None
    reviewers: list[str] = field(default_factory=list)
    teams: list[str] = field(default_factory=list)
    comments: list[Comment] = field(default_factory=list)
    reviews: list[Review] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    commits: list[str] = field(default_factory=list)
    fork: str | None = None

    @property
    def shown_on(self) -> str:
        """The commit whose statuses people want to see."""
        return self.merge_commit or self.head_sha

    def has(self, sha: str) -> bool:
        """Whether it brings or brought this commit."""
        return sha in (self.head_sha, self.merge_commit) or sha in self.commits


@dataclass(slots=True)
class Run:
    """
    One run of a workflow, which ``file`` defines.

    ``title`` is what GitHub lists it under; ``conclusion`` None: it has not ended.
    """

    id: int
    number: int
    workflow_id: int
    file: str
    workflow: str
    title: str
    login: str
    branch: str
    sha: str
    created_at: datetime
    updated_at: datetime
    inputs: dict[str, str] = field(default_factory=dict)
    conclusion: str | None = None


@dataclass(slots=True)
class Repository:
    """
    ``files`` are those of the default branch, by path; ``labels`` have their ids.

    ``runs`` are those of its workflows, by id, the oldest first.
    ``commits`` are all to which a branch ever pointed; if it ``is_git``, also those below them.
    """

    id: int
    full_name: str
    created_at: datetime
    pushed_at: datetime
    default_branch: str = "main"
    branches: dict[str, str] = field(default_factory=dict)
    pulls: dict[int, Pull] = field(default_factory=dict)
    files: dict[str, str] = field(default_factory=dict)
    former_names: list[str] = field(default_factory=list)
    commits: set[str] = field(default_factory=set)
    labels: dict[str, int] = field(default_factory=dict)
    runs: dict[int, Run] = field(default_factory=dict)
    is_git: bool = False

    @property
    def owner(self) -> str:
        return self.full_name.partition("/")[0]

    @property
    def name(self) -> str:
        return self.full_name.partition("/")[2]
