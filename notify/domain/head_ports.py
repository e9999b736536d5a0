"""What heads need of stores, of source control and of runners."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, TypeVar

from notify.domain.errors import NotifyError
from notify.domain.heads import Build, BuildReport, Fact, Queue, Request, RequestId

T = TypeVar("T")


class NotFound(NotifyError):
    """There is no such thing."""


class AlreadyExists(NotifyError):
    """It exists already, and was left as it is."""


class VersionMismatch(NotifyError):
    """The stored version is another, or there is no such row; nothing was written."""


class SourceControlUnavailable(NotifyError):
    """Source control did not answer; nothing is known, and nothing was changed."""


class RunnerUnavailable(NotifyError):
    """The runner did not answer, or not in words that can be read; whether it did what was asked is unknown."""


class RunnerRefused(NotifyError):
    """The runner does not do what was asked, and trying again cannot help."""


class RequestStore(Protocol):
    """
    Requests, each call on its own: no transaction spans two calls, so that a key-value store could stand behind.

    Versions are the caller's: it passes the version that it read and the one to be stored.
    """

    def create(self, request: Request) -> None:
        """
        Raises:
            AlreadyExists: A request has this id.
        """

    def get(self, id_: RequestId) -> Request:
        """
        Raises:
            NotFound: There is no such request.
        """

    def update(self, request: Request, *, old_version: int, new_version: int) -> None:
        """
        Raises:
            VersionMismatch: The stored version is not *old_version*, or there is no such request.
        """


class RequestUriStore(Protocol):
    """Which request has a URI: the claim that makes one request for one head."""

    def create(self, queue: str, uri: str, id_: RequestId) -> None:
        """
        Raises:
            AlreadyExists: Another request has claimed this URI; that signals a duplicate.
        """

    def get_id_by_uri(self, queue: str, uri: str) -> RequestId:
        """
        Raises:
            NotFound: No request has claimed it.
        """

    def move(self, queue: str, uri: str, *, old: RequestId, new: RequestId) -> None:
        """
        Raises:
            VersionMismatch: Another request than *old* has claimed this URI, or none has.
        """


class QueueStore(Protocol):
    def get(self, name: str) -> Queue:
        """The queue; one that was never written is empty and has version 0."""

    def update(self, queue: Queue, *, old_version: int, new_version: int) -> None:
        """
        Writes the whole queue; *old_version* 0 creates it.

        Raises:
            VersionMismatch: The stored version is not *old_version*.
        """


class BuildStore(Protocol):
    def create(self, build: Build) -> None:
        """
        Raises:
            AlreadyExists: The queue has a build of this id.
        """

    def get(self, queue: str, id_: str) -> Build:
        """
        Raises:
            NotFound: There is no such build.
        """

    def of_request(self, id_: RequestId) -> Build:
        """
        The newest build of a request.

        Raises:
            NotFound: It has none.
        """

    def update(self, build: Build, *, old_version: int, new_version: int) -> None:
        """
        Raises:
            VersionMismatch: The stored version is not *old_version*, or there is no such build.
        """


class FactStore(Protocol):
    def create(self, fact: Fact) -> None:
        """
        Store a fact; storing it again for the same request changes nothing.

        Raises:
            AlreadyExists: Another request has found out about this commit and project.
        """

    def get(self, queue: str, uri: str, project: str) -> Fact:
        """
        Raises:
            NotFound: It is not recorded, which does not mean green.
        """


class CounterStore(Protocol):
    def next(self, queue: str, domain: str) -> int:
        """The next value, from 1; each is given once, and one may be burnt."""


@dataclass(frozen=True, slots=True)
class Page(Generic[T]):
    """Part of a listing. ``next_cursor`` None: this was the end."""

    items: Sequence[T]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Commit:
    """
    One commit of a queue's history.

    Args:
        uri: Of the commit as a head of the queue.
        author_email: As the commit states it; empty: it states none.
    """

    uri: str
    sha: str
    title: str
    author_name: str
    author_email: str
    committed_at: datetime


class SourceControl(Protocol):
    """
    The history of one queue.

    Every method may raise ``SourceControlUnavailable``; *uri* is one of this queue, else ``InvalidUri`` is raised.
    """

    def latest(self) -> str:
        """
        The newest commit's URI.

        Raises:
            NotFound: The ref does not exist.
        """

    def is_ancestor(self, ancestor: str, descendant: str) -> bool:
        """
        Whether *descendant* contains *ancestor*, which is also true of a commit and itself.

        False where history was rewritten, also when the old commit is nowhere to be found any more.

        Raises:
            NotFound: *descendant* does not exist.
        """

    def history(self, cursor: str | None = None, *, limit: int) -> Page[Commit]:
        """
        Commits of the ref, newest first.

        Args:
            cursor: Of the page before; None: begin with the newest.

        Raises:
            NotFound: The ref, or the commit that the cursor names, does not exist.
        """

    def between(self, base: str | None, head: str, *, limit: int) -> Sequence[Commit]:
        """
        Commits in (base, head], newest first, at most *limit*; None: only the head's own.

        Raises:
            NotFound: One of them does not exist.
        """

    def change_info(self, uri: str) -> Commit:
        """
        Raises:
            NotFound: There is no such commit.
        """

    def promote(self, uri: str) -> bool:
        """
        Point the promotion ref at this commit; False: history was rewritten, and the ref does not move.

        Safe to repeat; never moves the ref back.

        Raises:
            NotFound: There is no such commit.
        """


class BuildRunner(Protocol):
    """Starts builds elsewhere. Every method may raise ``RunnerUnavailable`` or ``RunnerRefused``."""

    def start(self, request: Request) -> str:
        """The build's id; starting a request again gives the same build."""

    def report(self, build_id: str) -> BuildReport:
        """
        Raises:
            NotFound: The runner has no such build.
        """

    def cancel(self, build_id: str) -> None:
        """
        Ask for its end; a build that has ended stays as it is.

        Raises:
            NotFound: The runner has no such build.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Stores:
    """Every store of heads."""

    requests: RequestStore
    uris: RequestUriStore
    queues: QueueStore
    builds: BuildStore
    facts: FactStore
    counters: CounterStore


class Reporter(Protocol):
    """Tells people and forges what became of a request. Calls may be repeated, and raise what is worth a retry."""

    def progress(self, request: Request) -> None:
        """It is accepted or being built."""

    def ended(self, request: Request, *, build: Build | None, facts: Sequence[Fact], last: bool = False) -> None:
        """
        It is at its end.

        Args:
            facts: What was found out; empty for a failed request: it could not be validated.
            last: Nobody will call again; what cannot be found out now is left out.
        """
