"""Claims, renews, releases and records emails for the event loop; each call is a short transaction in a thread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from notify.checkpoints import EMAIL_CLAIMED, RECORD_COMMITTED, RECORD_WRITTEN, Checkpoint
from notify.delivery import recheck
from notify.delivery.recheck import Rechecked
from notify.delivery.recorder import CommitPending, Flush, outcome_of
from notify.delivery.routes.rate_limits import limit_domains
from notify.delivery.transactions import Transactions
from notify.domain.claims import Claim
from notify.domain.errors import NotifyError
from notify.domain.jobs import EmailAttempt, Job
from notify.domain.outcomes import JobStatus
from notify.domain.rates import Rate
from notify.domain.stages import DELIVER
from notify.store.database import UNAVAILABLE
from notify.store.directory import directory
from notify.store.directory.directory import RefusedAddress
from notify.store.outbox import bundles, commits, items, notifications, outbox, sent
from notify.store.outbox.items import Attempt, DueItems
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.outbox.sent import SentConnection, SentRow

NO_RATES: Mapping[str, Rate] = MappingProxyType({})


class ClaimUnconfirmed(NotifyError):
    """The database connection was lost while a claim was committed; whether the emails are ours is unknown."""

    def __init__(self, *, claims: Sequence[Claim]) -> None:
        super().__init__(emails=len(claims))
        self.claims = claims


@dataclass(frozen=True, slots=True)
class Claimed:
    """Claimed and rechecked jobs; ``full``: more may be due."""

    rechecked: Sequence[Rechecked]
    full: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """
    Claims, renews, releases and records emails for one worker process, at the rates of *domains*.

    A claim and its facts are loaded in one transaction: if the facts cannot be read, the claim is undone at once.

    Attributes:
        moved: Called before each claim and record, whether it succeeds or not.
        connection: For recording sent emails.
    """

    transactions: Transactions
    worker: UUID
    lease: timedelta
    checkpoint: Checkpoint
    moved: Callable[[], None]
    connection: SentConnection
    domains: Mapping[str, Rate] = field(default_factory=dict)

    async def due_items(self) -> DueItems:
        """Whether any email is due, and whether one has lapsed."""
        return await self.transactions.read(items.due_items, DELIVER)

    async def claim(self, limit: int) -> Claimed:
        """Claim and recheck up to *limit* due emails; those that must wait are deferred or postponed."""
        rows = 0

        def take(connection: Connection) -> list[Rechecked]:
            nonlocal rows
            jobs = outbox.claim(connection, limit=limit, lease=self.lease, worker=self.worker)
            rows = len(jobs)
            return self._rechecked(connection, jobs)

        return Claimed(await self._claimed(take), full=rows == limit)

    async def claim_lapsed(self) -> list[Rechecked]:
        """Claim and recheck one lapsed email; empty: none is due."""

        def take(connection: Connection) -> list[Rechecked]:
            job = outbox.claim_lapsed(connection, lease=self.lease, worker=self.worker)
            return self._rechecked(connection, [job] if job else [])

        return await self._claimed(take)

    async def bury_poison(self) -> int:
        """End the jobs whose leases lapsed three times; returns how many."""
        return await self.transactions.run(outbox.bury_poison, worker=self.worker)

    async def undo_claims(self, claims: Sequence[Claim]) -> None:
        """Undo claims whose commit was not confirmed."""
        await self.transactions.run(items.undo_claims, DELIVER, claims, worker=self.worker)

    async def extend(self, attempts: Sequence[Attempt]) -> set[int]:
        """Renew these leases; returns the ids whose lease is still ours."""
        return await self.transactions.run(items.extend, DELIVER, attempts, lease=self.lease)

    async def release(self, claims: Sequence[Claim]) -> None:
        """Make these due again, at their old times."""
        await self.transactions.run(items.settle, DELIVER, list(map(items.released, claims)))

    async def record(self, flush: Flush) -> None:
        """
        Record these outcomes and the addresses that were refused for good, and count them by name.

        Safe to repeat after an error: an unconfirmed commit is found, not repeated.

        Raises:
            CommitPending: The server is still working on the previous, interrupted transaction.
        """
        self.moved()
        if flush.sent:
            await self._record_sent(flush)
        if flush.outcomes:
            if not await self._is_recorded(flush):
                await self.transactions.run(self._write, flush)
            flush.counts += flush.written
        self.checkpoint(RECORD_COMMITTED)

    async def _record_sent(self, flush: Flush) -> None:
        """Record sent emails over ``connection``; those it does not confirm become outcomes, recorded individually."""
        if self.connection.is_wanted:
            await self.transactions.call(self.connection.connect)
        self.checkpoint(RECORD_WRITTEN)  # the statement is atomic
        confirmed = await self.connection.record(list(map(_row, flush.sent)))
        flush.unconfirmed, confirmed = confirmed is None, confirmed or set()
        flush.counts[JobStatus.SENT] += len(confirmed)
        late = [outcome_of(one) for one in flush.sent if (one.facts.claim.id, one.facts.claim.attempt) not in confirmed]
        flush.sent, flush.outcomes = (), [*flush.outcomes, *late]

    async def _is_recorded(self, flush: Flush) -> bool:
        """Whether the previous, unconfirmed transaction was committed and its rows are there."""
        before, attempts = flush.transaction, [one.name for one in flush.outcomes]
        if before is None:
            return False

        def asked(connection: Connection) -> bool | None:
            done = commits.is_committed(connection, before)
            return done and not items.any_leased(connection, DELIVER, attempts, worker=self.worker)

        done = await self.transactions.run(asked)
        if done is None:
            raise CommitPending(transaction=before)
        return done

    def _write(self, connection: Connection, flush: Flush) -> None:
        """Sets ``flush.transaction`` only while the transaction may have been committed."""
        flush.transaction = None
        transaction = commits.transaction_id(connection)
        ours: set[Attempt] = set()
        if flush.unconfirmed:
            ours = sent.already_recorded(connection, [one.sent_row for one in flush.outcomes if one.is_sent])
        outcomes = [one for one in flush.outcomes if not (one.is_sent and one.name in ours)]
        flush.written = outbox.record(connection, outcomes, worker=self.worker)
        flush.written[JobStatus.SENT] += len(ours)
        if wrong := _wrong_addresses(outcomes):
            directory.mark_undeliverable(connection, wrong)
        flush.transaction = transaction
        self.checkpoint(RECORD_WRITTEN)

    def _rechecked(self, connection: Connection, jobs: Sequence[Job]) -> list[Rechecked]:
        """Recheck these jobs: defer those that must wait, and store which notifications their emails leave out."""
        if any(map(recheck.may_wait, jobs)):
            now = bundles.now(connection)
            waits = recheck.waits(jobs, now=now)
            bundles.defer_again(
                connection, {job.claim: waits[job.claim.id] for job in jobs if job.claim.id in waits}, now=now
            )
            jobs = [job for job in jobs if job.claim.id not in waits]
        found: list[Rechecked] = []
        dropped: list[tuple[int, str]] = []
        for job in jobs:
            email, without = recheck.recheck(job)
            found.append((job, email))
            if not job.is_replay:
                dropped += [(one.id, one.why) for one in without]
        notifications.drop(connection, dropped)
        return limit_domains(connection, found, self.domains) if self.domains else found

    async def _claimed(self, take: Callable[[Connection], list[Rechecked]]) -> list[Rechecked]:
        """
        Raises:
            ClaimUnconfirmed: The connection was lost during the commit.
        """
        self.moved()
        found: list[Rechecked] = []
        try:
            await self.transactions.run(lambda connection: found.extend(take(connection)))
        except UNAVAILABLE as away:
            if found:
                raise ClaimUnconfirmed(claims=[job.claim for job, _ in found]) from away
            raise
        if found:
            self.checkpoint(EMAIL_CLAIMED)
        return found


def _wrong_addresses(outcomes: Sequence[AttemptOutcome]) -> list[RefusedAddress]:
    return [
        RefusedAddress(
            username=one.job.username,
            email=one.to_email or one.job.to_email,
            reply=one.update.answer.text if one.update.answer else "",
        )
        for one in outcomes
        if one.update.undeliverable
    ]


def _row(email: EmailAttempt) -> SentRow:
    claim = email.facts.claim
    return SentRow(
        claim.id,
        claim.attempt,
        email.job.event_type,
        email.code,
        email.enhanced_code,
        email.reply,
        email.facts.to_email,
        email.relay,
        round(email.seconds * 1000),
    )
