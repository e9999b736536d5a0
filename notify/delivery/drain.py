"""One drain: claim ahead, send over many sessions at once, record as outcomes come; no barrier between batches."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from functools import partial
from random import Random
from time import monotonic

import structlog

from notify.checkpoints import EMAIL_ANSWERED, Checkpoint
from notify.delivery.journal import Journal
from notify.delivery.lanes import Lanes
from notify.delivery.leases import LeasedEmails
from notify.delivery.ledger import ClaimUnheard, Ledger
from notify.delivery.recheck import Rechecked
from notify.delivery.recorder import PAUSE_SECONDS, Flush, Recorder, ending_of
from notify.delivery.routes.rate_limits import Allowance
from notify.delivery.routes.route import Route
from notify.domain.claims import Claim
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
    Verdict,
    settle,
)
from notify.store.database import AWAY
from notify.store.outbox.items import Outlook
from notify.store.outbox.outbox import Ending

LOOK_AGAIN_SECONDS = 1.0
ASK_AGAIN_SECONDS = 0.25

log = structlog.get_logger(__name__)


@dataclass(slots=True, kw_only=True)
class DrainReport:
    """What a drain did, in emails; ``skipped`` counts the expired too, ``released`` the lost leases."""

    claimed: int = 0
    sent: int = 0
    retried: int = 0
    dead: int = 0
    skipped: int = 0
    released: int = 0
    seconds: float = 0.0


@dataclass(slots=True)
class _Run:
    """Emails one after another on one session: those that are under way, and what was held against the relay."""

    emails: list[EmailAttempt] = field(default_factory=list)
    trouble: list[Released] = field(default_factory=list)


class Drain:
    """
    Emails to one relay, for as long as it takes them, in one event loop; made anew for each time.

    ``unfinished`` says that the time was up first, ``gave_out`` that the relay's breaker was open first.

    Args:
        route: To a relay that has just taken a session.
        report: Is added to.
        ring: Calls other idle workers, once, when there is more than one batch.
        at_most: So long after the relay was reached nothing more is claimed, unless an email claimed by
            then has not ended: nobody waits behind a server that has gone silent. What is claimed is
            finished.
    """

    def __init__(
        self,
        *,
        route: Route,
        ledger: Ledger,
        report: DrainReport,
        rng: Random,
        claim_size: int,
        record_rows: int,
        at_most: timedelta,
        ring: Callable[[], None],
        checkpoint: Checkpoint,
        count: Count,
        journal: Journal,
    ) -> None:
        self.unfinished = False
        self.gave_out = False
        self._route = route
        self._channel = route.channel
        self._relay = route.channel.relay
        self._most_unrecorded = route.channel.sessions + record_rows
        self._ledger = ledger
        self._report = report
        self._rng = rng
        self._claim_size = claim_size
        self._at_most = at_most.total_seconds()
        self._ends = 0.0
        self._in_time: frozenset[EmailAttempt] | None = None
        self._ring = ring
        self._checkpoint = checkpoint
        self._count = count
        self._journal = journal
        self._stopping = False
        self._nudged = False
        self._lanes = Lanes()
        self._leases = LeasedEmails(ledger.extend, lease=ledger.lease)
        self._unheard: Sequence[Claim] = ()
        self._tasks: set[asyncio.Task[None]] = set()
        self._progress = asyncio.Event()
        self._recorder = Recorder(self._record, relieved=self._dispatch, most=record_rows)
        self._runs = 0
        self._under_way = 0
        self._asked = monotonic()

    async def run(self, outlook: Outlook) -> None:
        """Drain until nothing is due, the time is up, the relay gives out or ``stop`` is called."""
        self._ends = monotonic() + self._at_most
        self._route.resized = self._dispatch
        renewal = asyncio.create_task(self._leases.renew())
        recording = asyncio.create_task(self._recorder.run())
        try:
            if outlook.alone:
                await self._lapsed_alone()
            await self._stream()
            await self._begun()
        except ClaimUnheard as error:
            self._unheard = error.claims
            log.warning("claim.unheard", emails=len(error.claims))
        except AWAY as error:
            log.warning("claim.failed", error=type(error).__name__)
        finally:
            self.stop()
            await self._give_back()
            await self._finished()
            renewal.cancel()
            self._recorder.close()
            await recording
            self._route.rest()
            self._tally(self._recorder.counts)

    def stop(self) -> None:
        """Claim nothing more and give back what is not begun; what is on its way is finished."""
        self._stopping = True
        self._progress.set()

    def nudge(self) -> None:
        """Something may have come due: look now rather than in a moment."""
        self._nudged = True
        self._progress.set()

    async def _lapsed_alone(self) -> None:
        """Emails of which some worker vanished, one at a time: one of them may be what killed it."""
        self._report.dead += await self._ledger.bury_poison()
        while self._may_claim():
            began = monotonic()
            found = await self._ledger.claim_lapsed()
            if not found:
                return
            await self._route.rate.spend(1)
            self._take(found, began)
            await self._begun()
            await self._finished()

    async def _stream(self) -> None:
        """
        Claim ahead of the sessions; and, while an email is on its way, look for those that come meanwhile.

        The breaker is asked before a claim: another worker or an operator may have opened it.
        """
        rung = False
        while self._may_claim():
            if len(self._lanes) >= self._claim_size:
                await self._wait()
                continue
            if await self._relay_is_off():
                self._give_out()
                return
            allowed = await self._route.rate.draw(self._claim_size)
            full = await self._claim(allowed) if allowed.emails else await self._soon(allowed)
            if not full and not await self._still_busy():
                return
            if full and allowed.emails == self._claim_size and not rung:
                self._ring()
                rung = True
        self.unfinished = monotonic() >= self._ends

    async def _claim(self, allowed: Allowance) -> bool:
        """Claim as many emails as are allowed; whether more may be due."""
        began = monotonic()
        claimed = await self._ledger.claim(allowed.emails)
        self._take(claimed.rechecked, began)
        await self._route.rate.spend(sum(isinstance(one, EmailFacts) for _, one in claimed.rechecked) - allowed.emails)
        return claimed.full

    async def _soon(self, allowed: Allowance) -> bool:
        """Wait until the relay's rate allows an email; False where that takes longer than a sweep's pause."""
        if allowed.seconds > LOOK_AGAIN_SECONDS:
            return False
        ends = monotonic() + max(allowed.seconds, ASK_AGAIN_SECONDS)
        while not self._stopping and monotonic() < ends:
            await self._wait(at_most=ends - monotonic())
        return True

    async def _relay_is_off(self) -> bool:
        """Whether the breaker is open; asked at most every quarter of a second."""
        if monotonic() < self._asked + ASK_AGAIN_SECONDS:
            return False
        self._asked = monotonic()
        return (await self._route.breaker.state()).is_open

    def _give_out(self) -> None:
        """The breaker is open."""
        self.gave_out = True
        self.stop()

    def _may_claim(self) -> bool:
        if self._stopping or self._recorder.stuck:
            return False
        if monotonic() < self._ends:
            return True
        if self._in_time is None:
            self._in_time = self._leases.all()
        return self._leases.any_of(self._in_time)

    async def _still_busy(self) -> bool:
        """Wait a moment, or until somebody nudges; False once there is no email left here to wait for."""
        self._nudged = False
        ends = monotonic() + LOOK_AGAIN_SECONDS
        while self._leases and not self._nudged and not self._stopping and monotonic() < ends:
            await self._wait(at_most=ends - monotonic())
        return bool(self._leases)

    def _take(self, found: Sequence[Rechecked], began: float) -> None:
        self._report.claimed += len(found)
        for job, rechecked in found:
            if isinstance(rechecked, EmailFacts):
                self._lanes.put(self._leases.take(job, rechecked, claimed_at=began))
            else:
                self._note(Ending(job=job, settlement=settle(rechecked, job.claim, rng=self._rng)))
        self._dispatch()

    def _dispatch(self) -> None:
        while not self._holds_back and (email := self._lanes.take(sessions=self._route.sessions)):
            self._under_way += 1
            self._start(self._run(email))

    @property
    def _holds_back(self) -> bool:
        """
        Whether no further email sets out: it is time to stop, or the table is slower than the relay.

        A killed process repeats what it has on its way and what is not written yet: at most one
        email a session and one batch, however slow the table is.
        """
        if self._stopping:
            return True
        if self._under_way + self._recorder.unwritten < self._most_unrecorded:
            return False
        self._recorder.hurry()
        return True

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._task_done)

    def _task_done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._progress.set()
        self._dispatch()

    async def _run(self, first: EmailAttempt) -> None:
        """Emails one after another, on one session."""
        run = _Run()
        self._runs += 1
        try:
            begun = first if self._begin(first, run) else self._follow(run, first)
            if begun:
                await self._channel.carry(
                    begun,
                    following=partial(self._follow, run),
                    sent=partial(self._sent, run),
                    ended=partial(self._ended, run),
                )
        except Exception as bug:
            log.exception("emails.failed", jobs=[one.job.claim.id for one in run.emails])
            answer = Answer(phase=Phase.RENDER, text=type(bug).__name__)
            for email in tuple(run.emails):
                self._end(email, run, Retry(reason=INTERNAL_ERROR, answer=answer, max_failures=3, ambiguous=True))
        finally:
            for outcome in run.trouble:
                if await self._route.breaker.failed(outcome):
                    self._give_out()
            self._runs -= 1
            self._lanes.free(first)

    def _begin(self, email: EmailAttempt, run: _Run) -> bool:
        """Whether the email may go; if too little of its lease is left, that was its end."""
        email.begun_at = now = monotonic()
        email.relay = self._relay
        run.emails.append(email)
        if not self._leases.lasts(email, now=now):
            self._end(email, run, Released(reason=LEASE_LOST))
            return False
        if email.facts.claim.attempt == 1:
            self._count_age(Measure.TO_FIRST_ATTEMPT, email, now)
        return True

    def _follow(self, run: _Run, email: EmailAttempt) -> EmailAttempt | None:
        """What goes after this email on the same session; None when that is to be free."""
        while not (self._holds_back or run.trouble) and self._runs <= self._route.sessions:
            following = self._lanes.follow(email)
            if len(self._lanes) < self._claim_size:
                self._progress.set()
            if following is None:
                return None
            self._under_way += 1
            if self._begin(following, run):
                return following
            email = following
        return None

    def _sent(self, run: _Run, email: EmailAttempt) -> None:
        """The relay has the email, which is all that there is to say of it."""
        self._checkpoint(EMAIL_ANSWERED)
        now = monotonic()
        email.seconds = now - email.begun_at
        self._drop(email, run)
        self._journal.sent(email)
        self._recorder.put(email)
        self._count_age(Measure.TO_SENT, email, now)
        if self._route.took():
            self._start(self._route.breaker.worked())

    def _ended(self, run: _Run, email: EmailAttempt, outcome: Outcome) -> None:
        """Anything else became of the email than a plain yes, or it was heard in another way."""
        if isinstance(outcome, Sent):
            answer = outcome.answer
            email.code, email.enhanced_code, email.reply = answer.code, answer.enhanced, answer.text
            self._sent(run, email)
            return
        self._checkpoint(EMAIL_ANSWERED)
        if isinstance(outcome, Retry) and outcome.suspicious:
            refusal, outcome = outcome, self._route.breaker.judge(outcome, recipient=email.facts.to_email)
            self._start(self._suspect(refusal, email))
        self._end(email, run, outcome)
        match outcome:
            case Released(blame=Blame.THROTTLE) if self._route.throttled(outcome, begun=email.begun_at):
                log.warning("relay.throttles", relay=self._relay, sessions=self._route.sessions)
            case Released(blame=blame) if blame is not Blame.NOBODY:
                run.trouble.append(outcome)
            case _:
                return

    async def _suspect(self, refusal: Retry, email: EmailAttempt) -> None:
        if await self._route.breaker.suspect(refusal, recipient=email.facts.to_email):
            self._give_out()

    async def _record(self, flush: Flush) -> None:
        self._journal.flush()
        await self._ledger.record(flush)

    def _count_age(self, measure: Measure, email: EmailAttempt, now: float) -> None:
        """How long ago the event was received that the email tells of."""
        age = email.facts.event.age_seconds + now - email.claimed_at
        self._count(measure, bucket(age), age)

    def _drop(self, email: EmailAttempt, run: _Run) -> None:
        run.emails.remove(email)
        self._under_way -= 1
        self._leases.drop(email)

    def _end(self, email: EmailAttempt, run: _Run, outcome: Outcome) -> None:
        self._drop(email, run)
        settlement = settle(outcome, email.facts.claim, rng=self._rng)
        email.seconds = monotonic() - email.begun_at
        self._note(ending_of(email, settlement))

    def _note(self, ending: Ending) -> None:
        self._journal.ended(ending)
        self._recorder.put(ending)

    async def _begun(self) -> None:
        """Wait until every claimed email is on its way or has ended; not once it is time to stop."""
        while self._lanes and not self._stopping:
            await self._wait()

    async def _finished(self) -> None:
        """Wait until nothing is on its way."""
        while self._tasks:
            await self._wait()

    async def _wait(self, *, at_most: float | None = None) -> None:
        self._progress.clear()
        with suppress(TimeoutError):
            async with asyncio.timeout(at_most):
                await self._progress.wait()

    async def _give_back(self) -> None:
        """What was never begun goes back, due at once, heard of or not; however long the database is away."""
        waiting = self._lanes.clear()
        for one in waiting:
            self._leases.drop(one)
        claims = [one.facts.claim for one in waiting]
        self._report.released += len(claims)
        await self._insist(self._ledger.release, claims)
        await self._insist(self._ledger.take_back, self._unheard)

    async def _insist(self, give_back: Callable[[Sequence[Claim]], Awaitable[object]], claims: Sequence[Claim]) -> None:
        while claims:
            try:
                await give_back(claims)
            except AWAY as error:
                log.warning("release.waiting", emails=len(claims), error=type(error).__name__)
                await asyncio.sleep(PAUSE_SECONDS)
            else:
                return

    def _tally(self, counts: Counter[str]) -> None:
        self._report.sent += counts[Verdict.SENT] + counts[Verdict.LATE_SUCCESS] + counts[Verdict.DUPLICATE_SENT]
        self._report.retried += counts[Verdict.RETRY]
        self._report.dead += counts[Verdict.DEAD]
        self._report.skipped += counts[Verdict.SKIPPED] + counts[Verdict.EXPIRED]
        self._report.released += counts[Verdict.RELEASED] + counts[Verdict.LEASE_LOST]
