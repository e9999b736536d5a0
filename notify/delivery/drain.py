"""One drain: claim ahead, send over many sessions, record outcomes as they come, without barriers between batches."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import timedelta
from random import Random
from time import monotonic
from types import MappingProxyType

import structlog

from notify.checkpoints import Checkpoint
from notify.delivery.journal import Journal
from notify.delivery.leases import LeasedEmails
from notify.delivery.ledger import ClaimUnconfirmed, Ledger
from notify.delivery.recheck import Rechecked
from notify.delivery.recorder import PAUSE_SECONDS, Flush
from notify.delivery.routes.rate_limits import Allowance
from notify.delivery.routes.route import Route
from notify.delivery.sender import Sender
from notify.domain.claims import Claim
from notify.domain.jobs import EmailAttempt, EmailFacts
from notify.domain.measures import Count
from notify.domain.outcomes import OutcomeName
from notify.store.database import UNAVAILABLE
from notify.store.outbox.items import DueItems

CLAIM_AGAIN_SECONDS = 1.0
ASK_AGAIN_SECONDS = 0.25
COUNTS = ("claimed", "sent", "retried", "dead", "skipped", "released")
"""What a drain reports, in emails."""
REPORTED_AS: Mapping[str, str] = MappingProxyType(
    {
        OutcomeName.SENT: "sent",
        OutcomeName.LATE_SUCCESS: "sent",
        OutcomeName.DUPLICATE_SENT: "sent",
        OutcomeName.RETRY: "retried",
        OutcomeName.DEAD: "dead",
        OutcomeName.SKIPPED: "skipped",
        OutcomeName.EXPIRED: "skipped",
        OutcomeName.WITHDRAWN: "skipped",
        OutcomeName.RELEASED: "released",
        OutcomeName.LEASE_LOST: "released",
    }
)

log = structlog.get_logger(__name__)


class Drain:
    """
    Sends due emails over one relay until none is left. Use each object once, in one event loop.

    Attributes:
        unfinished: Whether the time was up before the emails were.

    Args:
        route: To a relay that has just accepted a session.
        report: Counts are added to it, under ``COUNTS``.
        ring: Wakes other idle workers, once, when there is more than one batch.
        at_most: For how long to claim, extended while emails claimed in that time are still being sent, so that
            others do not wait behind a server that hangs. Claimed emails are finished.
    """

    def __init__(
        self,
        *,
        route: Route,
        ledger: Ledger,
        report: Counter[str],
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
        self._route = route
        self._ledger = ledger
        self._report = report
        self._claim_size = claim_size
        self._at_most = at_most.total_seconds()
        self._ends = 0.0
        self._claimed_in_time: frozenset[EmailAttempt] | None = None
        self._ring = ring
        self._journal = journal
        self._nudged = False
        self._leases = LeasedEmails(ledger.extend, lease=ledger.lease)
        self._unconfirmed: Sequence[Claim] = ()
        self._asked_at = monotonic()
        self._sender = Sender(
            route=route,
            leases=self._leases,
            record=self._record,
            record_rows=record_rows,
            lookahead=claim_size,
            rng=rng,
            checkpoint=checkpoint,
            count=count,
            journal=journal,
        )

    @property
    def breaker_opened(self) -> bool:
        """Whether the relay's breaker opened before all emails were sent."""
        return self._sender.breaker_opened

    async def run(self, due: DueItems) -> None:
        """Drain until nothing is due, the time is up, the breaker opens or ``stop`` is called."""
        self._ends = monotonic() + self._at_most
        self._route.resized = self._sender.dispatch
        renewal = asyncio.create_task(self._leases.renew())
        recording = asyncio.create_task(self._sender.recorder.run())
        try:
            if due.lapsed:
                await self._send_lapsed_alone()
            await self._stream()
            await self._sender.all_begun()
        except ClaimUnconfirmed as error:
            self._unconfirmed = error.claims
            log.warning("claim.outcome_unknown", emails=len(error.claims))
        except UNAVAILABLE as error:
            log.warning("claim.failed", error=type(error).__name__)
        finally:
            self.stop()
            await self._release()
            await self._sender.all_ended()
            renewal.cancel()
            self._sender.recorder.close()
            await recording
            self._route.rest()
            for outcome, name in REPORTED_AS.items():
                self._report[name] += self._sender.recorder.counts[outcome]

    def stop(self) -> None:
        """Claim nothing more and release emails that are not begun; those being sent are finished."""
        self._sender.stop()

    def nudge(self) -> None:
        """Claim now instead of after the pause: emails may have come due."""
        self._nudged = True
        self._sender.wake()

    async def _send_lapsed_alone(self) -> None:
        """Send lapsed emails one at a time: one of them may have killed its worker."""
        self._report["dead"] += await self._ledger.bury_poison()
        while self._may_claim():
            began = monotonic()
            found = await self._ledger.claim_lapsed()
            if not found:
                return
            await self._route.rate.spend(1)
            self._take(found, began)
            await self._sender.all_begun()
            await self._sender.all_ended()

    async def _stream(self) -> None:
        """
        Keep more emails claimed than there are sessions; while any is being sent, claim those that come due.

        Checks the breaker before a claim: another worker or an operator may have opened it.
        """
        rung = False
        while self._may_claim():
            if len(self._sender.queues) >= self._claim_size:
                await self._sender.wait()
                continue
            if await self._is_breaker_open():
                self._sender.stop_for_breaker()
                return
            allowed = await self._route.rate.draw(self._claim_size)
            full = await self._claim(allowed) if allowed.emails else await self._is_allowed_soon(allowed)
            if not full and not await self._has_emails_after_pause():
                return
            if full and allowed.emails == self._claim_size and not rung:
                self._ring()
                rung = True
        self.unfinished = monotonic() >= self._ends

    async def _claim(self, allowed: Allowance) -> bool:
        """Claim as many emails as the rate allows; whether more may be due."""
        began = monotonic()
        claimed = await self._ledger.claim(allowed.emails)
        self._take(claimed.rechecked, began)
        await self._route.rate.spend(sum(isinstance(one, EmailFacts) for _, one in claimed.rechecked) - allowed.emails)
        return claimed.full

    async def _is_allowed_soon(self, allowed: Allowance) -> bool:
        """Wait until the relay's rate allows an email; False: that takes longer than ``CLAIM_AGAIN_SECONDS``."""
        if allowed.seconds > CLAIM_AGAIN_SECONDS:
            return False
        ends = monotonic() + max(allowed.seconds, ASK_AGAIN_SECONDS)
        while not self._sender.stopping and monotonic() < ends:
            await self._sender.wait(at_most=ends - monotonic())
        return True

    async def _is_breaker_open(self) -> bool:
        """Asks the database at most every ``ASK_AGAIN_SECONDS``."""
        if monotonic() < self._asked_at + ASK_AGAIN_SECONDS:
            return False
        self._asked_at = monotonic()
        return (await self._route.breaker.state()).is_open

    def _may_claim(self) -> bool:
        if self._sender.stopping or self._sender.recorder.stuck:
            return False
        if monotonic() < self._ends:
            return True
        if self._claimed_in_time is None:
            self._claimed_in_time = self._leases.all()
        return self._leases.any_of(self._claimed_in_time)

    async def _has_emails_after_pause(self) -> bool:
        """Wait for a second or until ``nudge``; False: no email is being sent any more."""
        self._nudged = False
        ends = monotonic() + CLAIM_AGAIN_SECONDS
        while self._leases and not self._nudged and not self._sender.stopping and monotonic() < ends:
            await self._sender.wait(at_most=ends - monotonic())
        return bool(self._leases)

    def _take(self, found: Sequence[Rechecked], began: float) -> None:
        self._report["claimed"] += len(found)
        self._sender.take(found, claimed_at=began)

    async def _record(self, flush: Flush) -> None:
        self._journal.flush()
        await self._ledger.record(flush)

    async def _release(self) -> None:
        """Release emails that were not begun and undo unconfirmed claims, however long the database is unavailable."""
        waiting = self._sender.queues.clear()
        for one in waiting:
            self._leases.drop(one)
        claims = [one.facts.claim for one in waiting]
        self._report["released"] += len(claims)
        await _retry_until_done(self._ledger.release, claims)
        await _retry_until_done(self._ledger.undo_claims, self._unconfirmed)


async def _retry_until_done(release: Callable[[Sequence[Claim]], Awaitable[object]], claims: Sequence[Claim]) -> None:
    while claims:
        try:
            await release(claims)
        except UNAVAILABLE as error:
            log.warning("release.not_written", emails=len(claims), error=type(error).__name__)
            await asyncio.sleep(PAUSE_SECONDS)
        else:
            return
