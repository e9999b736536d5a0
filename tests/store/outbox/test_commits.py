"""What became of a transaction, asked by its name from another session."""

from notify.store.database import Database
from notify.store.outbox import commits


def test_a_transaction_is_known_by_its_name_for_what_became_of_it(database: Database) -> None:
    with database.engine.connect() as asking, database.engine.connect() as working:
        taken = commits.name(working)
        assert commits.took_place(asking, taken) is None
        working.commit()
        assert commits.took_place(asking, taken) is True

        undone = commits.name(working)
        working.rollback()
        assert commits.took_place(asking, undone) is False


def test_a_name_that_this_server_has_not_given_yet_is_that_of_nothing_that_took_place(database: Database) -> None:
    with database.begin() as asking:
        assert commits.took_place(asking, "9000000000000") is False
        assert commits.name(asking)
