"""Shows what becomes of a request on its commit, and tells people."""

from collections.abc import Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass
from datetime import timedelta

from sqlalchemy import Connection

from notify.domain.events import HEAD_BROKEN, HEAD_RECOVERED, HEAD_VALIDATED, REQUEST_STUCK
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import Commit, NotFound, SourceControl, SourceControlUnavailable
from notify.domain.heads import Build, Fact, Head, Request, RequestState
from notify.domain.ports import Doorbell
from notify.domain.queue_events import Suspect, queue_event
from notify.domain.stages import FAN_OUT, RECONCILE, STATUSES
from notify.domain.statuses import StatusState
from notify.intake.own_events import emit_own
from notify.statuses.publish import publish
from notify.statuses.schema import StatusIn
from notify.store.database import Database
from notify.store.heads import people, queues, requests
from notify.store.statuses import listing
from notify.store.statuses.listing import StatusFilter

MOST_SUSPECTS = 1_000
# Whose commit a merge is the mirror may learn a little later; by then somebody is to be told.
WAIT_FOR_MERGES = timedelta(seconds=0.5)
PATIENCE_FOR_MERGES = timedelta(seconds=30)

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

    def ended(
        self, request: Request, *, build: Build | None, facts: Sequence[Fact], last: bool = False
    ) -> timedelta | None:
        commits: Sequence[Commit] = ()
        if facts and request.state is RequestState.FAILED:
            with suppress(SourceControlUnavailable) if last else nullcontext():
                commits = self._suspected(request)
        with self.database.begin() as connection:
            queues.lock(connection, self.queue.name)
            if not request.is_replaceable or requests.has_head(connection, request):
                self._show(connection, request, build)
            suspects = people.suspects(connection, commits, forge=self.queue.forge)
            waits = not last and self._may_learn_more(connection, request, suspects)
            is_told = not waits and self._tell(connection, request, build=build, facts=facts, suspects=suspects)
        self.doorbell.ring(STATUSES)
        if waits:
            self.doorbell.ring(RECONCILE)
        if is_told:
            self.doorbell.ring(FAN_OUT)
        return WAIT_FOR_MERGES if waits else None

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
        suspects: Sequence[Suspect],
    ) -> bool:
        """Whether there is an event; none if something is known of a newer head already: then this is no news."""
        event_type = self._event_type(connection, request)
        if event_type is None or (facts and people.is_known_after(connection, request.id)):
            return False
        event = queue_event(event_type, self.queue, request, build=build, facts=facts, suspects=suspects)
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

    def _may_learn_more(self, connection: Connection, request: Request, suspects: Sequence[Suspect]) -> bool:
        """Whether one of these commits may have merged a change that the mirror does not know as merged yet."""
        return any(one.link is None for one in suspects) and people.look_for_merges(
            connection,
            request.id,
            forge=self.queue.forge,
            repository=self.queue.repository,
            patience=PATIENCE_FOR_MERGES,
        )

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
