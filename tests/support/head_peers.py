"""Peers of heads for tests: a runner and a reporter in memory, and a fuse that ends the process at any call."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar, cast

from notify.domain.head_ports import NotFound
from notify.domain.heads import Build, BuildReport, BuildStatus, Fact, ProjectResult, Request, RequestId, RequestState

T = TypeVar("T")


@dataclass(slots=True)
class MemoryRunner:
    """A ``BuildRunner`` whose builds end when a test says so."""

    builds: dict[str, BuildReport] = field(default_factory=dict)
    started: dict[RequestId, str] = field(default_factory=dict)

    def start(self, request: Request) -> str:
        id_ = self.started.setdefault(request.id, f"build-{len(self.started) + 1}")
        self.builds.setdefault(id_, BuildReport(status=BuildStatus.RUNNING))
        return id_

    def report(self, build_id: str) -> BuildReport:
        if build_id not in self.builds:
            raise NotFound(build=build_id)
        return self.builds[build_id]

    def cancel(self, build_id: str) -> None:
        if not self.report(build_id).status.is_final:
            self.builds[build_id] = BuildReport(status=BuildStatus.CANCELLED)

    def end(self, build_id: str, status: BuildStatus, *projects: ProjectResult) -> None:
        if not self.report(build_id).status.is_final:
            self.builds[build_id] = BuildReport(status=status, projects=projects)

    def lose(self, build_id: str) -> None:
        del self.builds[build_id]


@dataclass(frozen=True, slots=True)
class Ended:
    """What was reported about a request at its end."""

    state: RequestState
    facts: frozenset[tuple[str, float]]


@dataclass(slots=True)
class MemoryReporter:
    """A ``Reporter`` that keeps everything that was said about each request."""

    shown: dict[RequestId, list[RequestState]] = field(default_factory=dict)
    ends: dict[RequestId, set[Ended]] = field(default_factory=dict)

    def progress(self, request: Request) -> None:
        self.shown.setdefault(request.id, []).append(request.state)

    def ended(self, request: Request, *, build: Build | None, facts: Sequence[Fact], last: bool = False) -> None:
        del build, last
        end = Ended(request.state, frozenset((one.project, one.degree) for one in facts))
        self.ends.setdefault(request.id, set()).add(end)


class Killed(BaseException):
    """The process ended here."""


@dataclass(slots=True)
class Fuse:
    """Ends the process after so many steps; None: never."""

    left: int | None = None

    def burn(self, _: str = "") -> None:
        if self.left is None:
            return
        if self.left == 0:
            self.left = None
            raise Killed
        self.left -= 1


def fused(inner: T, fuse: Fuse) -> T:
    """*inner*, each call of which burns the fuse before and after."""
    return cast("T", _Fused(inner, fuse))


@dataclass(frozen=True, slots=True)
class _Fused:
    inner: Any
    fuse: Fuse

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.inner, name)

        def call(*arguments: Any, **named: Any) -> Any:
            self.fuse.burn()
            answer = method(*arguments, **named)
            self.fuse.burn()
            return answer

        return call
