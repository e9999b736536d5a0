"""Sends emails over many sessions with one relay, and hands each outcome to the recorder."""

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
from notify.delivery.recorder import Flush, Recorder, outcome_of
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
    """The emails being sent over one session, and the relay failures met there."""

    emails: list[EmailAttempt] = field(default_factory=list)
    failures: list[Released] = field(default_factory=list)


class Sender:
    """
    Sends the emails that it is given until ``stop`` is called. Lives in one event loop.

    Attributes:
        breaker_opened: Whether it stopped because the relay's breaker is open.

    Args:
        record: Writes outcomes.
        lookahead: Wakes ``wait`` when fewer emails than this are queued, so that more are claimed.
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
        self.breaker_opened = False
        self.stopping = False
        self.queues = DomainQueues()
        self.recorder = Recorder(record, on_written=self.dispatch, most=record_rows)
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
                self._record(AttemptOutcome(job=job, update=settle(rechecked, job.claim, rng=self._rng)))
        self.dispatch()

    def stop(self) -> None:
        """Begin no further email; those being sent are finished."""
        self.stopping = True
        self.wake()

    def wake(self) -> None:
        """Wake ``wait``."""
        self._progress.set()

    def dispatch(self) -> None:
        """Start emails on all free sessions."""
        while not self._is_paused and (email := self.queues.take(sessions=self._route.sessions)):
            self._under_way += 1
            self._start(self._send(email))

    async def wait(self, *, at_most: float | None = None) -> None:
        """Wait until an email has ended, more can be claimed, or ``wake`` is called."""
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._progress.wait()

    async def all_begun(self) -> None:
        """Wait until every claimed email is begun, or ``stop`` is called."""
        while self.queues and not self.stopping:
            await self.wait()

    async def all_ended(self) -> None:
        """Wait until no email is being sent."""
        while self._tasks:
            await self.wait()

    def stop_for_breaker(self) -> None:
        """Stop because the breaker is open."""
        self.breaker_opened = True
        self.stop()

    @property
    def _is_paused(self) -> bool:
        """
        Whether no further email may begin: it is stopping, or recording is slower than the relay.

        A killed process repeats the emails being sent and those not recorded yet: at most one per session and one
        batch, however slow the database is.
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
            for outcome in session.failures:
                if await self._route.breaker.failed(outcome):
                    self.stop_for_breaker()
            self._sessions -= 1
            self.queues.free(first)

    def _begin(self, email: EmailAttempt, session: _Session) -> bool:
        """Whether the email may be sent; if too little of its lease is left, its attempt ends here."""
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
        """The next email on this session; None: end the session."""
        while not (self._is_paused or session.failures) and self._sessions <= self._route.sessions:
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
        """The relay accepted the email."""
        self._checkpoint(EMAIL_ANSWERED)
        now = monotonic()
        email.seconds = now - email.begun_at
        self._drop(email, session)
        self._journal.sent(email)
        self.recorder.put(email)
        self._count_age(Measure.TO_SENT, email, now)
        if self._route.took():
            self._start(self._route.breaker.report_success())

    def _ended(self, session: _Session, email: EmailAttempt, outcome: Outcome) -> None:
        """The attempt ended with this outcome, on the slower path."""
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
                session.failures.append(outcome)
            case _:
                return

    async def _suspect(self, refusal: Retry, email: EmailAttempt) -> None:
        """Report a refusal that may be about us; stop if it opened the breaker."""
        if await self._route.breaker.report_suspect(refusal, recipient=email.facts.to_email):
            self.stop_for_breaker()

    def _count_age(self, measure: Measure, email: EmailAttempt, now: float) -> None:
        """Count the time since the event was received."""
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
        self._record(outcome_of(email, update))

    def _record(self, outcome: AttemptOutcome) -> None:
        self._journal.ended(outcome)
        self.recorder.put(outcome)
