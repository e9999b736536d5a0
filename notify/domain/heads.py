"""Queues whose heads are validated: requests, their builds, what was found out, and the decisions about them."""

from dataclasses import dataclass, replace
from datetime import datetime
from enum import StrEnum
from re import compile as pattern
from urllib.parse import quote, unquote

from notify.domain.errors import NotifyError

# As in the forges file.
QUEUE_NAME = pattern(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")
SHA = r"[0-9a-f]{40}"
URI = pattern(rf"git://(?P<remote>[^\s?#]+)/(?P<ref>refs%2F[^/\s?#]+)/(?P<sha>{SHA})")
REQUEST_ID = pattern(rf"request/(?P<queue>{QUEUE_NAME.pattern})/(?P<number>[1-9][0-9]{{0,17}})")
MAX_URI = 2_000
WHOLE = ""
"""The project that stands for the whole repository."""
GREEN, BROKEN = 0.0, 1.0


class InvalidUri(NotifyError):
    """Not a head; expected git://host/path/<percent-encoded full ref>/<40 hexadecimal digits>."""


class QueuesDiffer(NotifyError):
    """Requests of two queues have no order."""


class RequestState(StrEnum):
    """The state of a request; all but the first two are final."""

    ACCEPTED = "accepted"
    PROCESSING = "processing"
    SUPERSEDED = "superseded"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"

    @property
    def is_final(self) -> bool:
        return self not in {RequestState.ACCEPTED, RequestState.PROCESSING}


class BuildStatus(StrEnum):
    """What a runner says of a build; all but the first are final."""

    RUNNING = "running"
    SUCCESS = "success"
    FAILURE = "failure"
    TIMED_OUT = "timed_out"
    SKIPPED = "skipped"
    CANCELLED = "cancelled"
    UNEXPECTED_ERROR = "unexpected_error"

    @property
    def is_final(self) -> bool:
        return self is not BuildStatus.RUNNING


class Strategy(StrEnum):
    """Whether everything is built, or only what changed since the last green commit."""

    FULL = "full"
    INCREMENTAL = "incremental"


@dataclass(frozen=True, slots=True)
class RequestId:
    """
    The name of a request, which counts from 1 within its queue.

    Ids of one queue are ordered by their numbers; comparing ids of two queues raises ``QueuesDiffer``.
    """

    queue: str
    number: int

    def __str__(self) -> str:
        return f"request/{self.queue}/{self.number}"

    def __lt__(self, other: "RequestId") -> bool:
        if self.queue != other.queue:
            raise QueuesDiffer(one=self, other=other)
        return self.number < other.number

    @classmethod
    def parse(cls, text: str) -> "RequestId | None":
        """None: it names no request."""
        found = REQUEST_ID.fullmatch(text)
        return cls(found["queue"], int(found["number"])) if found else None


@dataclass(frozen=True, slots=True)
class Head:
    """
    One commit of a ref, which its URI locates.

    Only source control interprets a URI; the rest of notify compares and stores it.
    """

    remote: str
    ref: str
    sha: str

    @property
    def uri(self) -> str:
        return f"git://{self.remote}/{quote(self.ref, safe='')}/{self.sha}"

    @classmethod
    def parse(cls, uri: str) -> "Head":
        """
        Raises:
            InvalidUri: It is no URI, or not in its one canonical form. It is never normalised.
        """
        found = URI.fullmatch(uri) if len(uri) <= MAX_URI else None
        if found is None:
            raise InvalidUri(uri=uri[:MAX_URI])
        head = cls(found["remote"], unquote(found["ref"]), found["sha"])
        if head.uri != uri:
            raise InvalidUri(uri=uri)
        return head


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """
    What is known of a queue.

    Args:
        last_green_uri: None (like *last_green_request_id*): no head of it was green yet.
        in_flight: Numbers of the requests that have a slot.
        latest_request_id: The newest request's number; 0: there is none.
        version: Rises by one at every write.
    """

    name: str
    last_green_uri: str | None = None
    last_green_request_id: int | None = None
    in_flight: frozenset[int] = frozenset()
    latest_request_id: int = 0
    version: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """
    One validation of one queue at one commit.

    Args:
        strategy: None: not decided yet.
        base_uri: The last green head that an incremental build starts from; None: a full build, or not decided yet.
        forced: It failed because it could not be validated; nothing is known of its head.
        version: Rises by one at every write.
    """

    id: RequestId
    uri: str
    state: RequestState = RequestState.ACCEPTED
    strategy: Strategy | None = None
    base_uri: str | None = None
    forced: bool = False
    version: int = 1

    @property
    def is_retriable(self) -> bool:
        """Whether it is at its end, nothing was found out about its head, and no newer head was the reason."""
        return self.forced or self.state is RequestState.CANCELLED

    @property
    def is_replaceable(self) -> bool:
        """Whether another request may have its head: nothing was found out about it, for whatever reason."""
        return self.is_retriable or self.state is RequestState.SUPERSEDED


@dataclass(frozen=True, slots=True)
class ProjectResult:
    """How broken one project is: 0 green to 1 fully broken."""

    name: str
    degree: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Build:
    """
    A runner's build of a request.

    Args:
        id: The runner's name for it.
        url: Its page; None: it has none.
        projects: What the runner said of each, once the build has ended.
    """

    id: str
    request: RequestId
    status: BuildStatus = BuildStatus.RUNNING
    url: str | None = None
    projects: tuple[ProjectResult, ...] = ()
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildReport:
    """What a runner answers about a build. ``projects`` is empty where it says nothing of each."""

    status: BuildStatus
    url: str | None = None
    projects: tuple[ProjectResult, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """What was found out about a commit, once and for ever. ``project`` is empty for the whole repository."""

    queue: str
    uri: str
    project: str
    degree: float
    request: RequestId
    created_at: datetime | None = None


def facts_of(request: Request, report: BuildReport) -> tuple[Fact, ...]:
    """
    The facts that a finished build establishes: none where nothing was validated, else one for the whole repository
    and one for each project.

    The whole is as broken as its most broken project. A build that failed is broken, whatever its projects say; one
    that succeeded is green only if none of them says otherwise.
    """
    if report.status not in {BuildStatus.SUCCESS, BuildStatus.FAILURE, BuildStatus.TIMED_OUT}:
        return ()
    worst = max((one.degree for one in report.projects), default=GREEN)
    whole = worst if report.status is BuildStatus.SUCCESS or worst > GREEN else BROKEN
    degrees = {WHOLE: whole} | {one.name: one.degree for one in report.projects if one.name != WHOLE}
    return tuple(
        Fact(queue=request.id.queue, uri=request.uri, project=name, degree=degree, request=request.id)
        for name, degree in degrees.items()
    )


def decided(request: Request, report: BuildReport) -> Request:
    """The request as a finished build leaves it; it succeeded only with a green fact."""
    whole = next((one.degree for one in facts_of(request, report) if one.project == WHOLE), None)
    if whole is not None:
        return replace(request, state=RequestState.SUCCEEDED if whole == GREEN else RequestState.FAILED)
    if report.status is BuildStatus.UNEXPECTED_ERROR:
        return replace(request, state=RequestState.FAILED, forced=True)
    return replace(request, state=RequestState.CANCELLED)


def strategy_of(last_green_uri: str | None, *, descends: bool) -> tuple[Strategy, str | None]:
    """
    How a head is built, and from which base.

    Args:
        descends: Whether the head is a descendant of the last green one; False: history was rewritten.
    """
    if last_green_uri is None or not descends:
        return Strategy.FULL, None
    return Strategy.INCREMENTAL, last_green_uri
