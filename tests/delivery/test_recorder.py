"""Outcomes that wait to be written are never so many that a killed worker would repeat more than it may."""

import asyncio
from collections import Counter

from notify.delivery.recorder import MOST_UNWRITTEN, Flush, Recorder
from notify.domain.audience import Reason
from notify.domain.events import COMMENT_CREATED
from notify.domain.jobs import Claim, Job
from notify.domain.settlement import Settlement
from notify.store.outbox import Ending
from tests.support.wait import until_async


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


def test_two_batches_that_are_not_written_yet_are_enough() -> None:
    async def main() -> None:
        answer, relieved = asyncio.Event(), asyncio.Event()

        async def write(flush: Flush) -> Counter[str]:
            await answer.wait()
            return Counter(sent=len(flush.endings))

        recorder = Recorder(write, relieved=relieved.set)
        running = asyncio.create_task(recorder.run())
        full = []
        for number in range(MOST_UNWRITTEN):
            recorder.put(ending(number))
            full.append(recorder.full)
        assert full == [False] * (MOST_UNWRITTEN - 1) + [True]
        answer.set()
        await relieved.wait()
        await until_async(lambda: not recorder.full)
        recorder.close()
        await running
        assert recorder.counts == {"sent": MOST_UNWRITTEN}

    asyncio.run(main())
