"""The way of one request from accepted to its end, step by step; each step may be repeated."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from types import MappingProxyType

import structlog

from notify import checkpoints
from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import (
    AlreadyExists,
    BuildRunner,
    NotFound,
    Reporter,
    RunnerRefused,
    RunnerUnavailable,
    SourceControl,
    SourceControlUnavailable,
    Stores,
    VersionMismatch,
)
from notify.domain.heads import (
    Build,
    BuildReport,
    Fact,
    InvalidUri,
    Request,
    RequestState,
    decided,
    facts_of,
    strategy_of,
)
from notify.heads.queue_rows import advance_last_green, advance_latest, release_slot, take_slot

# A released slot makes waiting requests due at once; this is for what is lost.
WAIT_FOR_SLOT = timedelta(seconds=15)
WAIT_FOR_BUILD = timedelta(seconds=1)
MOVED: Mapping[RequestState, str] = MappingProxyType(
    {
        RequestState.PROCESSING: checkpoints.HEADS_PROCESSING,
        RequestState.SUPERSEDED: checkpoints.HEADS_SUPERSEDED,
        RequestState.SUCCEEDED: checkpoints.HEADS_SUCCEEDED,
        RequestState.FAILED: checkpoints.HEADS_FAILED,
        RequestState.CANCELLED: checkpoints.HEADS_CANCELLED,
    }
)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Steps:
    """
    What takes a request of one queue forward.

    Args:
        freed: Called when the request gave back its slot; others may be waiting for it.
    """

    queue: QueueSettings
    stores: Stores
    source: SourceControl
    runner: BuildRunner
    reporter: Reporter
    freed: Callable[[str], None]
    checkpoint: Checkpoint = no_checkpoint

    def advance(self, request: Request) -> timedelta | None:
        """
        Take the request as far as it goes now; after how long it is due again, None: it is at its end.

        Raises:
            SourceControlUnavailable: Later.
            RunnerUnavailable: Later.
            RunnerRefused: It cannot be validated.
            NotFound: It cannot either: the commit or the build is nowhere to be found any more.
        """
        if request.state is RequestState.ACCEPTED:
            request = self._process(request)
        if request.state is RequestState.ACCEPTED:
            self.reporter.progress(request)
            return WAIT_FOR_SLOT
        build = None
        if request.state is RequestState.PROCESSING:
            request, build = self._build(request)
        if request.state is RequestState.PROCESSING:
            return WAIT_FOR_BUILD
        self._finish(request, build or self._known_build(request))
        return None

    def fail_closed(self, request: Request) -> None:
        """The request could not be validated, which is not the same as broken; its build is not waited for."""
        self._free(request)
        if not request.state.is_final:
            request = self._move(replace(request, state=RequestState.FAILED, forced=True))
        self._finish(request, self._known_build(request), last=True)

    def _process(self, request: Request) -> Request:
        """Superseded, or with a slot and on its way; accepted still: there is no slot."""
        queue = advance_latest(self.stores.queues, request.id)
        if request.id.number < queue.latest_request_id:
            return self._move(replace(request, state=RequestState.SUPERSEDED))
        last_green = queue.last_green_uri
        descends = last_green is not None and self._descends(request, last_green)
        strategy, base = strategy_of(last_green, descends=descends)
        if not take_slot(self.stores, request.id, queue=queue, most=self.queue.max_concurrent):
            return request
        self.checkpoint(checkpoints.HEADS_SLOT_TAKEN)
        moved = self._move(replace(request, state=RequestState.PROCESSING, strategy=strategy, base_uri=base))
        if moved.state is not RequestState.PROCESSING:
            self._free(request)
        return moved

    def _descends(self, request: Request, last_green: str) -> bool:
        try:
            return self.source.is_ancestor(last_green, request.uri)
        except InvalidUri:  # of the queue's former remote or ref
            return False
        except SourceControlUnavailable:
            self.reporter.progress(request)
            raise

    def _build(self, request: Request) -> tuple[Request, Build]:
        """Start the build, or look at it; record its end."""
        build = self._started(request)
        if not build.status.is_final:
            build = self._recorded(build, self.runner.report(build.id))
        if not build.status.is_final:
            return request, build
        self.checkpoint(checkpoints.HEADS_BUILD_RECORDED)
        self._free(request)
        return self._move(decided(request, _report(build))), build

    def _started(self, request: Request) -> Build:
        try:
            return self.stores.builds.of_request(request.id)
        except NotFound:
            self.reporter.progress(request)
            id_ = self.runner.start(request)
        self.checkpoint(checkpoints.HEADS_BUILD_STARTED)
        build = Build(id=id_, request=request.id)
        try:
            self.stores.builds.create(build)
        except AlreadyExists:
            return self.stores.builds.of_request(request.id)
        self.checkpoint(checkpoints.HEADS_BUILD_CREATED)
        return build

    def _recorded(self, build: Build, report: BuildReport) -> Build:
        """The build as the runner reports it; the first final status stands."""
        known = replace(build, status=report.status, url=report.url or build.url, projects=report.projects)
        return build if known == build else record_build(self.stores, known)

    def _finish(self, request: Request, build: Build | None, *, last: bool = False) -> None:
        """
        Everything that follows from a final state; events last.

        Args:
            last: Nobody will try again; what cannot be promoted or asked for now is left out.
        """
        self._free(request)
        if request.forced and build is not None and not build.status.is_final:
            self._cancel(build)
        facts = self._established(request, build)
        self.checkpoint(checkpoints.HEADS_FACTS_RECORDED)
        fault = None
        if request.state is RequestState.SUCCEEDED and advance_last_green(self.stores.queues, request):
            self.checkpoint(checkpoints.HEADS_GREEN_RECORDED)
            fault = self._promote(request)
            self.checkpoint(checkpoints.HEADS_PROMOTED)
        self.reporter.ended(request, build=build, facts=facts, last=last)
        self.checkpoint(checkpoints.HEADS_TOLD)
        if fault is not None and not last:
            raise fault

    def _cancel(self, build: Build) -> None:
        """Ask for the end of a build that nobody waits for, if its runner can be asked. Its row stays as it is."""
        try:
            self.runner.cancel(build.id)
        except (RunnerUnavailable, RunnerRefused, NotFound) as error:
            reason = type(error).__name__
            log.warning("heads.not_cancelled", request=str(build.request), build=build.id, reason=reason)
        except Exception:
            # Perhaps what it was given up for; it is told all the same.
            log.exception("heads.not_cancelled", request=str(build.request), build=build.id)
        else:
            self.checkpoint(checkpoints.HEADS_BUILD_CANCELLED)

    def _promote(self, request: Request) -> SourceControlUnavailable | None:
        """Why it was not promoted, which is no reason to tell nobody that it is green."""
        try:
            self.source.promote(request.uri)
        except NotFound:  # rewritten away meanwhile
            return None
        except SourceControlUnavailable as error:
            return error
        return None

    def _known_build(self, request: Request) -> Build | None:
        try:
            return self.stores.builds.of_request(request.id)
        except NotFound:
            return None

    def _established(self, request: Request, build: Build | None) -> Sequence[Fact]:
        """The facts of the build that decided the request; there are none where something else did."""
        validated = request.state in {RequestState.SUCCEEDED, RequestState.FAILED} and not request.forced
        facts = facts_of(request, _report(build)) if build and validated else ()
        for fact in facts:
            self.stores.facts.create(fact)
        return facts

    def _free(self, request: Request) -> None:
        if release_slot(self.stores.queues, request.id):
            self.checkpoint(checkpoints.HEADS_SLOT_RELEASED)
            self.freed(request.id.queue)

    def _move(self, request: Request) -> Request:
        """The request in its new state, or as another has left it."""
        try:
            self.stores.requests.update(request, old_version=request.version, new_version=request.version + 1)
        except VersionMismatch:
            return self.stores.requests.get(request.id)
        self.checkpoint(MOVED[request.state])
        return replace(request, version=request.version + 1)


def record_build(stores: Stores, build: Build) -> Build:
    """The build with what was found out about it; a final status that was recorded before stands."""
    try:
        stores.builds.update(build, old_version=build.version, new_version=build.version + 1)
    except VersionMismatch:
        stored = stores.builds.get(build.request.queue, build.id)
        if stored.status.is_final or not build.status.is_final:
            return stored
        return record_build(stores, replace(build, version=stored.version))
    return replace(build, version=build.version + 1)


def _report(build: Build) -> BuildReport:
    return BuildReport(status=build.status, url=build.url, projects=build.projects)
