"""The emails that a drain has leased, and the renewal of their leases."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from time import monotonic
from typing import NoReturn

import structlog

from notify.delivery.recorder import PAUSE_SECONDS
from notify.dns_names import of_address
from notify.domain.jobs import EmailAttempt, EmailFacts, Job
from notify.store.database import UNAVAILABLE
from notify.store.outbox.items import Attempt

# With less of its lease left an email is not begun: the relay's reply would come too late.
MIN_FRACTION_LEFT = 0.1
LOST = 0.0

Extend = Callable[[Sequence[Attempt]], Awaitable[set[int]]]

log = structlog.get_logger(__name__)


class LeasedEmails:
    """
    Leased emails; false while there are none. Lives in one event loop.

    Args:
        extend: Renews the leases of these attempts; returns the ids whose lease is still ours.
        lease: How long a lease lasts from its claim or renewal.
    """

    def __init__(self, extend: Extend, *, lease: timedelta) -> None:
        self._extend = extend
        self._lease = lease.total_seconds()
        self._least_left = self._lease * MIN_FRACTION_LEFT
        self._emails: set[EmailAttempt] = set()

    def __len__(self) -> int:
        return len(self._emails)

    def take(self, job: Job, facts: EmailFacts, *, claimed_at: float) -> EmailAttempt:
        """
        Add a claimed email.

        Args:
            claimed_at: Monotonic seconds before the claim; the lease began no earlier.
        """
        email = EmailAttempt(
            facts=facts,
            row=job,
            domain=of_address(facts.to_email),
            claimed_at=claimed_at,
            leased_until=claimed_at + self._lease,
        )
        self._emails.add(email)
        return email

    def drop(self, email: EmailAttempt) -> None:
        """Remove an email whose attempt ended or that was released."""
        self._emails.remove(email)

    def all(self) -> frozenset[EmailAttempt]:
        """The emails leased now."""
        return frozenset(self._emails)

    def any_of(self, emails: frozenset[EmailAttempt]) -> bool:
        """Whether any of these is still leased."""
        return not self._emails.isdisjoint(emails)

    def lasts(self, email: EmailAttempt, *, now: float) -> bool:
        """Whether enough of the lease is left to begin the email."""
        return now + self._least_left < email.leased_until

    async def renew(self) -> NoReturn:
        """
        Renew every third of a lease; an email whose lease is lost must not reach DATA.

        Decided: wait at most a third for the database, whatever its own timeout, so that a renewal over another
            connection may still succeed.
        """
        pause = third = self._lease / 3
        while True:
            await asyncio.sleep(pause)
            pause = third if await self._renewed(within=third) else min(PAUSE_SECONDS, third)

    async def _renewed(self, *, within: float) -> bool:
        """Whether the database answered in time."""
        began, emails = monotonic(), list(self._emails)
        try:
            async with asyncio.timeout(within):
                ours = await self._extend([(one.job.claim.id, one.job.claim.attempt) for one in emails])
        except (*UNAVAILABLE, TimeoutError) as error:
            log.warning("lease.not_renewed", emails=len(emails), error=type(error).__name__)
            return False
        for one in emails:
            one.leased_until = began + self._lease if one.job.claim.id in ours else LOST
        return True
