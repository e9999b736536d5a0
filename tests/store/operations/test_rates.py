"""Token buckets shared by all workers."""

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import partial

import pytest
from sqlalchemy import Connection, text, update
from sqlalchemy.exc import OperationalError

from notify.domain.rates import Bucket, Rate
from notify.store.database import Database
from notify.store.operations import rates
from notify.store.tables.operations import rate_buckets

NAMES = ["relay mx:25", "domain example.com"]
HOUR = timedelta(hours=1)


def test_an_unused_bucket_is_full_and_keeps_what_is_written(connection: Connection) -> None:
    assert rates.lock(connection, NAMES) == dict.fromkeys(NAMES, Bucket())

    rates.store(connection, {NAMES[0]: Bucket(owed=7.25, queued=30.5)})

    found = rates.lock(connection, NAMES)
    assert (found[NAMES[0]].owed, found[NAMES[0]].queued) == (7.25, 30.5)
    assert found[NAMES[1]] == Bucket()


def test_a_bucket_refills_as_time_passes(connection: Connection) -> None:
    rates.lock(connection, NAMES)
    rates.store(connection, {NAMES[0]: Bucket(owed=7, queued=30)})
    row = rate_buckets.c
    connection.execute(update(rate_buckets).values(spent_until=row.spent_until - timedelta(seconds=5)))
    assert rates.lock(connection, NAMES)[NAMES[0]] == Bucket(owed=2, queued=30)
    connection.execute(update(rate_buckets).values(queued_until=row.queued_until - HOUR))
    assert rates.lock(connection, NAMES)[NAMES[0]] == Bucket(owed=2)


def test_a_bucket_is_locked_while_somebody_draws_from_it(database: Database) -> None:
    with database.begin() as connection:
        rates.lock(connection, NAMES)
    with database.engine.connect() as first, database.engine.connect() as second:
        rates.lock(first, NAMES[:1])
        second.execute(text("SET LOCAL lock_timeout = '100ms'"))
        assert rates.lock(second, NAMES[1:])
        with pytest.raises(OperationalError, match="lock timeout"):
            rates.lock(second, NAMES[:1])


def test_concurrent_draws_get_no_more_than_the_bucket_holds(database: Database) -> None:
    rate = Rate(each=1000, burst=20)

    def draw(_: int) -> int:
        with database.begin() as connection:
            bucket = rates.lock(connection, NAMES[:1])[NAMES[0]]
            emails = min(3, rate.free(bucket.owed))
            rates.store(connection, {NAMES[0]: Bucket(owed=rate.spent(bucket.owed, emails))})
            return emails

    with ThreadPoolExecutor(4) as threads:
        assert sum(threads.map(draw, range(12))) == 20


def test_drawing_from_the_same_buckets_in_another_order_is_no_deadlock(database: Database) -> None:
    def both(names: list[str], _: int) -> None:
        with database.begin() as connection:
            rates.store(connection, rates.lock(connection, names))

    with ThreadPoolExecutor(4) as threads:
        for turn in (NAMES, NAMES[::-1]):
            for done in [threads.submit(partial(both, turn), number) for number in range(20)]:
                done.result(30)
