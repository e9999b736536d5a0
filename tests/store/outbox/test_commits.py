"""What became of a transaction, looked up from another session by its id."""

from notify.store.database import Database
from notify.store.outbox import commits


def test_a_transactions_fate_is_known_by_its_id(database: Database) -> None:
    with database.engine.connect() as asking, database.engine.connect() as working:
        taken = commits.transaction_id(working)
        assert commits.is_committed(asking, taken) is None
        working.commit()
        assert commits.is_committed(asking, taken) is True

        undone = commits.transaction_id(working)
        working.rollback()
        assert commits.is_committed(asking, undone) is False


def test_an_id_that_the_server_has_not_yet_assigned_did_not_commit(database: Database) -> None:
    with database.begin() as asking:
        assert commits.is_committed(asking, "9000000000000") is False
        assert commits.transaction_id(asking)
