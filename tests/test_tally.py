"""What a process counts reaches the table, late rather than not at all."""

from contextlib import closing
from threading import Event, Thread
from uuid import UUID

from notify.domain.measures import BUCKETS, Measure, Role, bucket
from notify.store.database import Database
from notify.store.operations import process_totals
from notify.store.operations.process_totals import Total
from notify.tally import Tally
from tests.support.proxy import Proxy, database_target, through
from tests.support.statements import statements
from tests.support.wait import until

ONE = UUID(int=1)


def read(database: Database) -> dict[str, dict[str, Total]]:
    with database.begin() as connection:
        return process_totals.read(connection)


def test_many_counts_are_written_in_one_statement(database: Database) -> None:
    tally = Tally(database, process=ONE, role=Role.WORKER)
    for _ in range(1000):
        tally.count(Measure.SMTP, "rcpt", 0.5)
        tally.count(Measure.SWEEP, "deliver")
    with statements(database) as sent:
        tally.flush()

    assert len(sent) == 1
    assert read(database) == {
        "smtp": {"rcpt": Total(1000, 500)},
        "sweep": {"deliver": Total(1000, 0)},
        "flush": {"worker": Total(1, 0)},
    }


def test_nothing_is_counted_twice(database: Database) -> None:
    tally = Tally(database, process=ONE, role=Role.API)
    tally.count(Measure.DOORBELL_SENT, "fan_out")
    tally.flush()
    tally.flush()
    assert read(database)["doorbell_sent"] == {"fan_out": Total(1, 0)}


def test_concurrent_counts_of_all_threads_are_kept_even_after_they_end(database: Database) -> None:
    tally = Tally(database, process=ONE, role=Role.WORKER)
    ended, goes_on = Event(), Event()

    def count(*, stays: bool) -> None:
        for _ in range(10_000):
            tally.count(Measure.SMTP, "rcpt", 0.5)
        if stays:
            ended.set()
            goes_on.wait()
            tally.count(Measure.SMTP, "rcpt", 0.5)

    threads = [Thread(target=count, kwargs={"stays": number == 0}, daemon=True) for number in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads[1:]):
        tally.flush()
    ended.wait()
    tally.flush()
    assert read(database)["smtp"] == {"rcpt": Total(40_000, 20_000)}

    goes_on.set()
    threads[0].join()
    tally.flush()
    tally.flush()
    assert read(database)["smtp"] == {"rcpt": Total(40_001, 20_000.5)}


def test_counts_made_during_a_database_outage_are_written_afterwards(database: Database) -> None:
    with Proxy(database_target(database.url)) as line:
        distant = Database(through(line, database.url))
        tally = Tally(distant, process=ONE, role=Role.WORKER)
        line.refuse()
        tally.count(Measure.SMTP, "data", 0.25)
        tally.flush()
        assert read(database) == {}
        line.heal()
        tally.count(Measure.SMTP, "data", 0.25)
        tally.flush()
        distant.close()

    assert read(database)["smtp"] == {"data": Total(2, 0.5)}


def test_a_schema_older_than_the_code_stops_nobody(unmigrated_database_url: str) -> None:
    with closing(Database(unmigrated_database_url)) as old:
        tally = Tally(old, process=ONE, role=Role.WORKER)
        tally.start()
        tally.stop()


def test_a_process_is_registered_at_once_and_writes_everything_before_it_stops(
    database: Database,
) -> None:
    tally = Tally(database, process=ONE, role=Role.WORKER, every_seconds=3_600)
    tally.start()
    until(lambda: "flush" in read(database))
    tally.count(Measure.SWEEP, "deliver")
    tally.stop()
    tally.stop()

    assert read(database)["sweep"] == {"deliver": Total(1, 0)}


def test_each_duration_is_in_the_bucket_of_the_next_higher_bound() -> None:
    assert [bucket(seconds) for seconds in (0, 0.1, 0.11, 3600, 86_400, 86_401)] == [
        "0.1", "0.1", "0.25", "3600", "86400", "+Inf",
    ]  # fmt: skip
    assert len(set(BUCKETS)) == len(BUCKETS)
