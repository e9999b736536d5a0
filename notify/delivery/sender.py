"""Emails over many sessions with one relay at once, and what is noted of each attempt."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random
from time import monotonic

import structlog

from notify.checkpoints import EMAIL_ANSWERED, Checkpoint
from notify.delivery.domain_queues import DomainQueues
from notify.delivery.journal import Journal
from notify.delivery.leases import LeasedEmails
from notify.delivery.recheck import Rechecked
from notify.delivery.recorder import Flush, Recorder, ending_of
from notify.delivery.routes.route import Route
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.measures import Count, Measure, bucket
from notify.domain.outcomes import (
    INTERNAL_ERROR,
    LEASE_LOST,
    Answer,
    Blame,
    Outcome,
    Phase,
    Released,
    Retry,
    Sent,
    settle,
)
from notify.store.outbox.outbox import AttemptOutcome

log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Session:
    """Emails one after another: those that are under way, and failures of the relay."""

    emails: list[EmailAttempt] = field(default_factory=list)
    trouble: list[Released] = field(default_factory=list)


class Sender:
    """
    Sends the emails that it takes until ``stop`` is called. Lives in one event loop.

    Attributes:
        gave_out: Whether the relay's breaker was found open, which stops it too.

    Args:
        record: Writes outcomes.
        lookahead: When fewer emails than this wait, whoever waits is woken, to claim more.
    """

    def __init__(
        self,
        *,
        route: Route,
        leases: LeasedEmails,
        record: Callable[[Flush], Awaitable[None]],
        record_rows: int,
        lookahead: int,
        rng: Random,
        checkpoint: Checkpoint,
        count: Count,
        journal: Journal,
    ) -> None:
        self.gave_out = False
        self.stopping = False
        self.queues = DomainQueues()
        self.recorder = Recorder(record, relieved=self.dispatch, most=record_rows)
        self._route = route
        self._channel = route.channel
        self._relay = route.channel.relay
        self._most_unrecorded = route.channel.sessions + record_rows
        self._leases = leases
        self._lookahead = lookahead
        self._rng = rng
        self._checkpoint = checkpoint
        self._count = count
        self._journal = journal
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()
        self._sessions = 0
        self._under_way = 0

    def take(self, found: Sequence[Rechecked], *, claimed_at: float) -> None:
        """Send these emails, and record why the others are not sent."""
        for job, rechecked in found:
            if isinstance(rechecked, EmailFacts):
                self.queues.put(self._leases.take(job, rechecked, claimed_at=claimed_at))
            else:
                self._note(AttemptOutcome(job=job, update=settle(rechecked, job.claim, rng=self._rng)))
        self.dispatch()

    def stop(self) -> None:
        """Begin no further email; what is under way is finished."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """End a ``wait``."""
        self._progress.set()

    def dispatch(self) -> None:
        """Begin as many emails as there are sessions for."""
        while not self._is_held_back and (email := self.queues.take(sessions=self._route.sessions)):
            self._under_way += 1
            self._start(self._send(email))

    async def wait(self, *, at_most: float | None = None) -> None:
        """Wait until an email has ended, more can be claimed, or ``wake`` is called."""
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._progress.wait()

    async def all_begun(self) -> None:
        """Wait until every claimed email is under way or has ended; not once it is time to stop."""
        while self.queues and not self.stopping:
            await self.wait()

    async def all_ended(self) -> None:
        """Wait until nothing is under way."""
        while self._tasks:
            await self.wait()

    def give_out(self) -> None:
        """The breaker is open."""
        self.gave_out = True
        self.stop()

    @property
    def _is_held_back(self) -> bool:
        """
        Whether no further email may begin: it is time to stop, or the table is slower than the relay.

        A killed process repeats what it has under way and what is not written yet: at most one
        email a session and one batch, however slow the table is.
        """
        if self.stopping:
            return True
        if self._under_way + self.recorder.unwritten < self._most_unrecorded:
            return False
        self.recorder.hurry()
        return True

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._progress.set()
        self.dispatch()

    async def _send(self, first: EmailAttempt) -> None:
        """Send emails one after another, on one session."""
        session = _Session()
        self._sessions += 1
        try:
            begun = first if self._begin(first, session) else self._follow(session, first)
            if begun:
                await self._channel.carry(
                    begun,
                    following=partial(self._follow, session),
                    sent=partial(self._sent, session),
                    ended=partial(self._ended, session),
                )
        except Exception as bug:
            log.exception("emails.failed", jobs=[one.job.claim.id for one in session.emails])
            answer = Answer(phase=Phase.RENDER, text=type(bug).__name__)
            for email in tuple(session.emails):
                self._end(email, session, Retry(reason=INTERNAL_ERROR, answer=answer, max_failures=3, ambiguous=True))
        finally:
            for outcome in session.trouble:
                if await self._route.breaker.failed(outcome):
                    self.give_out()
            self._sessions -= 1
            self.queues.free(first)

    def _begin(self, email: EmailAttempt, session: _Session) -> bool:
        """Whether the email may go; if too little of its lease is left, its attempt has ended."""
        email.begun_at = now = monotonic()
        email.relay = self._relay
        session.emails.append(email)
        if not self._leases.lasts(email, now=now):
            self._end(email, session, Released(reason=LEASE_LOST))
            return False
        if email.facts.claim.attempt == 1:
            self._count_age(Measure.TO_FIRST_ATTEMPT, email, now)
        return True

    def _follow(self, session: _Session, email: EmailAttempt) -> EmailAttempt | None:
        """The email after this one on the same session; None when the session should be free."""
        while not (self._is_held_back or session.trouble) and self._sessions <= self._route.sessions:
            following = self.queues.follow(email)
            if len(self.queues) < self._lookahead:
                self._progress.set()
            if following is None:
                return None
            self._under_way += 1
            if self._begin(following, session):
                return following
            email = following
        return None

    def _sent(self, session: _Session, email: EmailAttempt) -> None:
        """The relay took the email with a plain yes."""
        self._checkpoint(EMAIL_ANSWERED)
        now = monotonic()
        email.seconds = now - email.begun_at
        self._drop(email, session)
        self._journal.sent(email)
        self.recorder.put(email)
        self._count_age(Measure.TO_SENT, email, now)
        if self._route.took():
            self._start(self._route.breaker.worked())

    def _ended(self, session: _Session, email: EmailAttempt, outcome: Outcome) -> None:
        """The attempt ended otherwise, or the yes came in another way."""
        if isinstance(outcome, Sent):
            answer = outcome.answer
            email.code, email.enhanced_code, email.reply = answer.code, answer.enhanced, answer.text
            self._sent(session, email)
            return
        self._checkpoint(EMAIL_ANSWERED)
        if isinstance(outcome, Retry) and outcome.suspicious:
            refusal, outcome = outcome, self._route.breaker.judge(outcome, recipient=email.facts.to_email)
            self._start(self._suspect(refusal, email))
        self._end(email, session, outcome)
        match outcome:
            case Released(blame=Blame.THROTTLE) if self._route.throttled(outcome, begun=email.begun_at):
                log.warning("relay.throttles", relay=self._relay, sessions=self._route.sessions)
            case Released(blame=blame) if blame is not Blame.NOBODY:
                session.trouble.append(outcome)
            case _:
                return

    async def _suspect(self, refusal: Retry, email: EmailAttempt) -> None:
        if await self._route.breaker.suspect(refusal, recipient=email.facts.to_email):
            self.give_out()

    def _count_age(self, measure: Measure, email: EmailAttempt, now: float) -> None:
        """Count how long ago the event was received."""
        age = email.facts.event.age_seconds + now - email.claimed_at
        self._count(measure, bucket(age), age)

    def _drop(self, email: EmailAttempt, session: _Session) -> None:
        session.emails.remove(email)
        self._under_way -= 1
        self._leases.drop(email)

    def _end(self, email: EmailAttempt, session: _Session, outcome: Outcome) -> None:
        self._drop(email, session)
        update = settle(outcome, email.facts.claim, rng=self._rng)
        email.seconds = monotonic() - email.begun_at
        self._note(ending_of(email, update))

    def _note(self, ending: AttemptOutcome) -> None:
        self._journal.ended(ending)
        self.recorder.put(ending)
