"""Unrecorded outcomes never exceed what a killed worker may repeat."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from random import Random
from uuid import uuid4

import pytest
from sqlalchemy import text

from notify.checkpoints import no_checkpoint
from notify.delivery.engine import Engine
from notify.delivery.ledger import Ledger
from notify.delivery.recorder import MOST_ROWS, Flush, Recorder
from notify.delivery.transactions import Transactions
from notify.domain.jobs import EmailAttempt
from notify.domain.outcomes import Answer, JobUpdate, Outcome, OutcomeName, Phase, Sent
from notify.store.database import Database
from notify.store.outbox import commits, outbox
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.outbox.sent import SentConnection
from tests.support.emails import email_facts, job_of
from tests.support.harness import MINUTE, WorkerHarness, usernames
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until

EMAILS = 4 * MOST_ROWS


class SimultaneousChannel:
    """A channel whose relay accepts the emails of all sessions at the same instant."""

    relay = "relay.example:25"
    sessions = 8
    fleet_sessions = None
    open_sessions = 8
    rate = None

    def limit(self, sessions: int) -> None:
        """The number of sessions is fixed."""

    def __init__(self) -> None:
        self.begun = 0
        self._waiting: list[asyncio.Future[None]] = []

    async def open(self) -> None:
        """It is always open."""

    async def carry(
        self,
        first: EmailAttempt,
        *,
        following: Callable[[EmailAttempt], EmailAttempt | None],  # noqa: ARG002 - a session for each email
        sent: Callable[[EmailAttempt], None],  # noqa: ARG002 - the careful way is another
        ended: Callable[[EmailAttempt, Outcome], None],
    ) -> None:
        self.begun += 1
        taken = asyncio.get_running_loop().create_future()
        self._waiting.append(taken)
        if len(self._waiting) == self.sessions:
            batch, self._waiting = self._waiting, []
            for one in batch:
                one.set_result(None)
        await taken
        ended(first, Sent(answer=Answer(phase=Phase.FINAL_DOT, code=250)))

    async def close(self) -> None:
        """There is nothing to close."""


def ending(number: int) -> AttemptOutcome:
    """The outcome of a sent email."""
    return AttemptOutcome(job=job_of(email_facts(number)), update=JobUpdate(outcome=OutcomeName.SENT))


def test_an_outcome_counts_as_unrecorded_until_it_is_written() -> None:
    async def main() -> None:
        answer = asyncio.Event()

        async def write(flush: Flush) -> None:
            await answer.wait()
            flush.counts["sent"] += len(flush.outcomes)

        recorder = Recorder(write, on_written=lambda: None)
        running = asyncio.create_task(recorder.run())
        for number in range(MOST_ROWS):
            recorder.put(ending(number))
        assert recorder.unwritten == MOST_ROWS
        answer.set()
        recorder.close()
        await running
        assert (recorder.unwritten, recorder.counts) == (0, {"sent": MOST_ROWS})

    asyncio.run(main())


def test_a_slow_table_holds_back_new_emails(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 4})
    harness.pending_emails(*usernames(4 * MOST_ROWS))
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        with database.begin() as nobody_counts:
            nobody_counts.execute(text("LOCK TABLE notify.delivery_stats IN ACCESS EXCLUSIVE MODE"))
            draining = threads.submit(engine.drain)
            relay.wait_until(lambda: len(relay.emails) == 4 + MOST_ROWS)
            with pytest.raises(AssertionError):
                until(lambda: len(relay.emails) > 4 + MOST_ROWS, seconds=0.5)
        assert draining.result(20)["sent"] == 4 * MOST_ROWS


def test_emails_accepted_at_the_same_instant_do_not_each_start_another(database: Database) -> None:
    harness, channel = WorkerHarness(database, relay_url=None), SimultaneousChannel()
    harness.pending_emails(*usernames(EMAILS))
    harness.execute("UPDATE notify.people SET email = 'person@' || username || '.example.com'")
    engine = Engine(
        database,
        channels=[channel],
        doorbell=harness.doorbell,
        worker=uuid4(),
        lease=MINUTE,
        at_most=MINUTE,
        claim_size=EMAILS,
        rng=Random(1),
    )
    most = channel.sessions + MOST_ROWS
    try:
        with ThreadPoolExecutor(1) as threads:
            with database.begin() as nobody_counts:
                nobody_counts.execute(text("LOCK TABLE notify.delivery_stats IN ACCESS EXCLUSIVE MODE"))
                draining = threads.submit(engine.drain)
                until(lambda: channel.begun >= most, seconds=20)
                with pytest.raises(AssertionError):
                    until(lambda: channel.begun > most, seconds=0.5)
            assert draining.result(20)["sent"] == EMAILS
    finally:
        engine.stop()


def test_an_outcome_is_written_even_if_its_transaction_id_was_reused(database: Database) -> None:
    """A replica that was promoted before it received the transaction reuses its id."""
    worker, harness = uuid4(), WorkerHarness(database, None)
    harness.pending_emails("ann")
    with database.begin() as connection:
        (job,) = outbox.claim(connection, limit=1, lease=MINUTE, worker=worker)
        another = commits.transaction_id(connection)
    flush = Flush(outcomes=[replace(ending(1), job=job)], transaction=another)
    with ThreadPoolExecutor(1) as threads:
        ledger = Ledger(
            transactions=Transactions(database, threads),
            worker=worker,
            lease=MINUTE,
            checkpoint=no_checkpoint,
            moved=lambda: None,
            connection=SentConnection(database, worker=worker),
        )
        asyncio.run(ledger.record(flush))
    assert [one.status for one in harness.jobs() if one.username == "ann"] == ["sent"]
