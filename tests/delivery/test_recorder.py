"""Outcomes that wait to be written are never so many that a killed worker would repeat more than it may."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import text

from notify.delivery.recorder import MOST_ROWS, Flush, Recorder
from notify.domain.audience import Reason
from notify.domain.events import COMMENT_CREATED
from notify.domain.jobs import Claim, Job
from notify.domain.settlement import Settlement
from notify.store.database import Database
from notify.store.outbox import Ending
from tests.support.office import Office, many
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until


def ending(number: int) -> Ending:
    """A letter that was sent."""
    job = Job(
        claim=Claim(id=number, attempt=1, failures=0, max_failures=12, lapses=0),
        event_id=number,
        event_type=COMMENT_CREATED,
        cl_link="CL-1",
        username="alice",
        to_email="alice@example.com",
        reason=Reason.AUTHOR,
        message_id=f"letter-{number}@example.com",
        expired=False,
    )
    return Ending(job=job, settlement=Settlement(verdict="sent", status="sent"))


def test_what_is_not_written_yet_is_counted_until_it_is() -> None:
    async def main() -> None:
        answer = asyncio.Event()

        async def write(flush: Flush) -> Counter[str]:
            await answer.wait()
            return Counter(sent=len(flush.endings))

        recorder = Recorder(write, relieved=lambda: None)
        running = asyncio.create_task(recorder.run())
        for number in range(MOST_ROWS):
            recorder.put(ending(number))
        assert recorder.unwritten == MOST_ROWS
        answer.set()
        recorder.close()
        await running
        assert (recorder.unwritten, recorder.counts) == (0, {"sent": MOST_ROWS})

    asyncio.run(main())


def test_a_table_that_is_slower_than_the_relay_holds_the_letters_back(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"smtp_sessions": 4})
    office.letters_wait(*many(4 * MOST_ROWS))
    with office.engine() as engine, ThreadPoolExecutor(1) as threads:
        with database.begin() as nobody_counts:
            nobody_counts.execute(text("LOCK TABLE notify.delivery_stats IN ACCESS EXCLUSIVE MODE"))
            draining = threads.submit(engine.drain)
            relay.wait_until(lambda: len(relay.letters) == 4 + MOST_ROWS)
            with pytest.raises(AssertionError):
                until(lambda: len(relay.letters) > 4 + MOST_ROWS, seconds=0.5)
        assert draining.result(20).sent == 4 * MOST_ROWS
