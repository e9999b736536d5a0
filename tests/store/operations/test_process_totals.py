"""Counts of processes add up, and never fall when processes end."""

from uuid import UUID

from sqlalchemy import func, select, update

from notify.domain.measures import Measure, Role
from notify.store.database import Database
from notify.store.operations import process_totals
from notify.store.operations.process_totals import Total
from notify.store.tables.operations import process_totals as table
from tests.support.rows import ago

ONE, OTHER = UUID(int=1), UUID(int=2)
RING = (Measure.DOORBELL_SENT, "deliver")
REPLY = (Measure.SMTP, "rcpt")
ALIVE = (Measure.FLUSH, Role.WORKER)


def add(database: Database, process: UUID, **counts: tuple[int, float]) -> None:
    named = {"rings": RING, "replies": REPLY, "alive": ALIVE}
    with database.begin() as connection:
        process_totals.add(connection, process=process, counts={named[name]: one for name, one in counts.items()})


def read(database: Database) -> dict[str, dict[str, Total]]:
    with database.begin() as connection:
        return process_totals.read(connection)


def fold(database: Database) -> int:
    """Fold finished processes into the totals; how many rows are left."""
    with database.begin() as connection:
        process_totals.fold(connection)
        return connection.scalar(select(func.count()).select_from(table)) or 0


def fall_silent(database: Database, process: UUID) -> None:
    with database.begin() as connection:
        connection.execute(update(table).where(table.c.process == process).values(changed_at=ago(hours=2)))


def test_counts_of_processes_add_up(database: Database) -> None:
    add(database, ONE, rings=(2, 0), replies=(4, 0.5))
    add(database, ONE, rings=(3, 0), replies=(1, 0.25))
    add(database, OTHER, rings=(10, 0))

    assert read(database) == {"doorbell_sent": {"deliver": Total(15, 0)}, "smtp": {"rcpt": Total(5, 0.75)}}


def test_totals_stay_when_a_process_is_gone_and_its_rows_are_folded(database: Database) -> None:
    for process in (ONE, OTHER):
        add(database, process, rings=(2, 0), replies=(4, 0.5))
    before = read(database)

    fall_silent(database, ONE)
    assert (fold(database), read(database)) == (4, before)
    fall_silent(database, OTHER)
    assert (fold(database), read(database)) == (2, before)


def test_a_process_that_writes_again_after_it_was_given_up_is_counted_further(database: Database) -> None:
    add(database, ONE, rings=(2, 0))
    fall_silent(database, ONE)
    fold(database)
    add(database, ONE, rings=(3, 0))

    assert read(database)["doorbell_sent"]["deliver"].count == 5


def test_totals_that_were_folded_long_ago_stay(database: Database) -> None:
    add(database, ONE, rings=(2, 0))
    fall_silent(database, ONE)
    fold(database)
    fall_silent(database, process_totals.GONE)
    fold(database)

    assert read(database)["doorbell_sent"]["deliver"].count == 2


def test_a_process_counts_as_alive_while_it_writes(database: Database) -> None:
    add(database, ONE, alive=(1, 0))
    add(database, OTHER, alive=(1, 0))
    fall_silent(database, OTHER)

    with database.begin() as connection:
        assert process_totals.alive(connection) == {"worker": 1}
    fold(database)
    with database.begin() as connection:
        assert process_totals.alive(connection) == {"worker": 1}
