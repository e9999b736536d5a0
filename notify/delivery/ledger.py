"""The delivery's view of the table, for an event loop: each call is one short transaction in a thread."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from types import MappingProxyType
from uuid import UUID

from sqlalchemy import Connection

from notify.checkpoints import EMAIL_CLAIMED, RECORD_COMMITTED, RECORD_WRITTEN, Checkpoint
from notify.delivery import recheck
from notify.delivery.recheck import Rechecked
from notify.delivery.recorder import CommitUnsettled, Flush, ending_of
from notify.delivery.routes.rate_limits import within
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


class ClaimUnheard(NotifyError):
    """The database was lost while it committed a claim; nobody knows whether the emails are ours."""

    def __init__(self, *, claims: Sequence[Claim]) -> None:
        super().__init__(emails=len(claims))
        self.claims = claims


@dataclass(frozen=True, slots=True)
class Claimed:
    """Jobs that are ours, rechecked; ``full`` says that more may be due."""

    rechecked: Sequence[Rechecked]
    full: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Ledger:
    """
    Claims, renews, gives back and records emails under the name of one worker process, to *domains* at their rates.

    A claim and the facts for its recheck are one transaction: if the facts cannot be read, the
    claim is undone and nobody's lease has to run out.

    Attributes:
        moved: Called before each claim and each record, whatever comes of them.
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
        """Whether an email is due, and whether one has lapsed."""
        return await self.transactions.read(items.due_items, DELIVER)

    async def claim(self, limit: int) -> Claimed:
        """Claim up to *limit* due emails, rechecked; those that must wait are put off."""
        rows = 0

        def take(connection: Connection) -> list[Rechecked]:
            nonlocal rows
            jobs = outbox.claim(connection, limit=limit, lease=self.lease, worker=self.worker)
            rows = len(jobs)
            return self._rechecked(connection, jobs)

        return Claimed(await self._taken(take), full=rows == limit)

    async def claim_lapsed(self) -> list[Rechecked]:
        """Claim one email whose worker vanished, rechecked; empty when none is due."""

        def take(connection: Connection) -> list[Rechecked]:
            job = outbox.claim_lapsed(connection, lease=self.lease, worker=self.worker)
            return self._rechecked(connection, [job] if job else [])

        return await self._taken(take)

    async def bury_poison(self) -> int:
        """End the jobs that have outlived three workers; how many there were."""
        return await self.transactions.run(outbox.bury_poison, worker=self.worker)

    async def take_back(self, claims: Sequence[Claim]) -> None:
        """Undo a claim that was never answered."""
        await self.transactions.run(items.undo_claims, DELIVER, claims, worker=self.worker)

    async def extend(self, attempts: Sequence[Attempt]) -> set[int]:
        """Renew these leases; the ids that are still ours."""
        return await self.transactions.run(items.extend, DELIVER, attempts, lease=self.lease)

    async def release(self, claims: Sequence[Claim]) -> None:
        """Give these back; they keep their due times."""
        await self.transactions.run(items.settle, DELIVER, list(map(items.released, claims)))

    async def record(self, flush: Flush) -> None:
        """
        Write these outcomes and the addresses that proved wrong, and count them by verdict.

        Safe to repeat after an error: a commit that took place unheard is found, not made again.

        Raises:
            CommitUnsettled: The server has not noticed yet that the last attempt was cut off.
        """
        self.moved()
        if flush.sent:
            await self._record_sent(flush)
        if flush.endings:
            if not await self._recorded(flush):
                await self.transactions.run(self._write, flush)
            flush.counts += flush.written
        self.checkpoint(RECORD_COMMITTED)

    async def _record_sent(self, flush: Flush) -> None:
        """Write what was sent over the line; what it does not confirm becomes an ending, to be written with care."""
        if self.connection.is_wanted:
            await self.transactions.call(self.connection.connect)
        self.checkpoint(RECORD_WRITTEN)  # nothing of a statement is there before all of it is
        confirmed = await self.connection.record(list(map(_row, flush.sent)))
        flush.unheard, confirmed = confirmed is None, confirmed or set()
        flush.counts[JobStatus.SENT] += len(confirmed)
        late = [ending_of(one) for one in flush.sent if (one.facts.claim.id, one.facts.claim.attempt) not in confirmed]
        flush.sent, flush.endings = (), [*flush.endings, *late]

    async def _recorded(self, flush: Flush) -> bool:
        """Whether the last attempt was committed unheard: its transaction was, and what it wrote is there."""
        before, attempts = flush.transaction, [one.name for one in flush.endings]
        if before is None:
            return False

        def asked(connection: Connection) -> bool | None:
            done = commits.is_committed(connection, before)
            return done and not items.any_leased(connection, DELIVER, attempts, worker=self.worker)

        done = await self.transactions.run(asked)
        if done is None:
            raise CommitUnsettled(transaction=before)
        return done

    def _write(self, connection: Connection, flush: Flush) -> None:
        """What fails here was not committed; ``flush`` names the transaction only while it may have been."""
        flush.transaction = None
        transaction = commits.transaction_id(connection)
        ours: set[Attempt] = set()
        if flush.unheard:
            ours = sent.already_recorded(connection, [one.sent_row for one in flush.endings if one.is_sent])
        endings = [one for one in flush.endings if not (one.is_sent and one.name in ours)]
        flush.written = outbox.record(connection, endings, worker=self.worker)
        flush.written[JobStatus.SENT] += len(ours)
        if wrong := _wrong_addresses(endings):
            directory.mark_undeliverable(connection, wrong)
        flush.transaction = transaction
        self.checkpoint(RECORD_WRITTEN)

    def _rechecked(self, connection: Connection, jobs: Sequence[Job]) -> list[Rechecked]:
        """What the recheck says of these; those that must wait are put off, and what an email leaves out is written."""
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
        return within(connection, found, self.domains) if self.domains else found

    async def _taken(self, take: Callable[[Connection], list[Rechecked]]) -> list[Rechecked]:
        """
        Raises:
            ClaimUnheard: The database was lost while it committed.
        """
        self.moved()
        found: list[Rechecked] = []
        try:
            await self.transactions.run(lambda connection: found.extend(take(connection)))
        except UNAVAILABLE as away:
            if found:
                raise ClaimUnheard(claims=[job.claim for job, _ in found]) from away
            raise
        if found:
            self.checkpoint(EMAIL_CLAIMED)
        return found


def _wrong_addresses(endings: Sequence[AttemptOutcome]) -> list[RefusedAddress]:
    return [
        RefusedAddress(
            username=one.job.username,
            email=one.to_email or one.job.to_email,
            reply=one.update.answer.text if one.update.answer else "",
        )
        for one in endings
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
