"""Shows what becomes of a request on its commit, and tells people."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass

from sqlalchemy import Connection

from notify.domain.events import HEAD_BROKEN, HEAD_RECOVERED, HEAD_VALIDATED, REQUEST_STUCK
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import Commit, NotFound, SourceControl, SourceControlUnavailable
from notify.domain.heads import Build, Fact, Head, Request, RequestState
from notify.domain.ports import Doorbell
from notify.domain.queue_events import queue_event
from notify.domain.stages import FAN_OUT, STATUSES
from notify.domain.statuses import StatusState
from notify.intake.own_events import emit_own
from notify.statuses.publish import publish
from notify.statuses.schema import StatusIn
from notify.store.database import Database
from notify.store.heads import people, queues, requests
from notify.store.statuses import listing
from notify.store.statuses.listing import StatusFilter

MOST_SUSPECTS = 1_000

WORDS = {
    RequestState.ACCEPTED: "Waits to be validated",
    RequestState.PROCESSING: "Is being validated",
    RequestState.SUPERSEDED: "Not validated: a newer head came first",
    RequestState.SUCCEEDED: "Green",
    RequestState.FAILED: "Broken",
    RequestState.CANCELLED: "Not validated: the build was cancelled or skipped",
}
STATES = {
    RequestState.ACCEPTED: StatusState.PENDING,
    RequestState.PROCESSING: StatusState.PENDING,
    RequestState.SUPERSEDED: StatusState.ERROR,
    RequestState.SUCCEEDED: StatusState.SUCCESS,
    RequestState.FAILED: StatusState.FAILURE,
    RequestState.CANCELLED: StatusState.ERROR,
}
FORCED = "Could not be validated"


@dataclass(frozen=True, slots=True)
class CommitAndMail:
    """A ``Reporter``: a status on the commit, and an event for those whom it concerns."""

    database: Database
    queue: QueueSettings
    source: SourceControl
    doorbell: Doorbell

    def progress(self, request: Request) -> None:
        with self.database.begin() as connection:
            is_news = requests.is_unchanged(connection, request) and self._show(connection, request)
        if is_news:
            self.doorbell.ring(STATUSES)

    def ended(self, request: Request, *, build: Build | None, facts: Sequence[Fact], last: bool = False) -> None:
        commits: Sequence[Commit] = ()
        if facts and request.state is RequestState.FAILED:
            with suppress(SourceControlUnavailable) if last else nullcontext():
                commits = self._suspected(request)
        with self.database.begin() as connection:
            queues.lock(connection, self.queue.name)
            if not request.is_replaceable or requests.has_head(connection, request):
                self._show(connection, request, build)
            is_told = self._tell(connection, request, build=build, facts=facts, commits=commits)
        self.doorbell.ring(STATUSES)
        if is_told:
            self.doorbell.ring(FAN_OUT)

    def _show(self, connection: Connection, request: Request, build: Build | None = None) -> bool:
        """Show its state on its commit; whether that is news."""
        status = StatusIn(
            forge=self.queue.forge,
            repository=self.queue.repository,
            sha=Head.parse(request.uri).sha,
            context=f"notify/{self.queue.name}",
            state=StatusState.ERROR if request.forced else STATES[request.state],
            description=FORCED if request.forced else WORDS[request.state],
            target_url=build.url if build else None,
        )
        if _is_wanted(connection, status):
            return False
        publish(connection, [status])
        return True

    def _tell(
        self,
        connection: Connection,
        request: Request,
        *,
        build: Build | None,
        facts: Sequence[Fact],
        commits: Sequence[Commit],
    ) -> bool:
        """Whether there is an event; none if something is known of a newer head already: then this is no news."""
        event_type = self._event_type(connection, request)
        if event_type is None or (facts and people.is_known_after(connection, request.id)):
            return False
        event = queue_event(
            event_type,
            self.queue,
            request,
            build=build,
            facts=facts,
            suspects=people.suspects(connection, commits, forge=self.queue.forge),
        )
        emit_own(connection, [event])
        return True

    def _event_type(self, connection: Connection, request: Request) -> str | None:
        if request.forced:
            return REQUEST_STUCK
        match request.state:
            case RequestState.FAILED:
                return HEAD_BROKEN
            case RequestState.SUCCEEDED:
                was_broken = bool(people.degree_before(connection, request.id))
                return HEAD_RECOVERED if was_broken else HEAD_VALIDATED
            case _:
                return None

    def _suspected(self, request: Request) -> Sequence[Commit]:
        """The commits since the base; where history was rewritten, the head's own."""
        try:
            return self.source.between(request.base_uri, request.uri, limit=MOST_SUSPECTS)
        except NotFound:
            pass
        try:
            return [self.source.change_info(request.uri)]
        except NotFound:
            return ()


def _is_wanted(connection: Connection, status: StatusIn) -> bool:
    """Whether the commit is to show this already."""
    target = StatusFilter(forge=status.forge, repository=status.repository, sha=status.sha, context=status.context)
    known = listing.newest(connection, target, limit=1)
    shown = (status.state, status.description, status.target_url)
    return any((one.state, one.description, one.target_url) == shown for one in known)
