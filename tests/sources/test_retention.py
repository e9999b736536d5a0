"""How long webhook deliveries are kept."""

from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from notify.delivery.retention import Pruning
from notify.domain.claims import Lane
from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.forges import identities
from notify.store.operations import upkeep
from tests.support import rows

KEPT = RetentionPeriods(dead=timedelta(days=90), deliveries=timedelta(days=7))
PUT = text("""
    INSERT INTO notify.webhook_deliveries
        (forge, delivery_id, event, content_type, body, status, outcome_reason, created_at, finished_at)
    VALUES ('github', 'd1', 'ping', 'application/json', '{}', :status, 'x', now() - :age, now() - :age) RETURNING id""")


@pytest.mark.parametrize(
    ("status", "days", "gone"),
    [("done", 8, 1), ("done", 6, 0), ("ignored", 8, 1), ("ignored", 6, 0), ("dead", 91, 1), ("dead", 89, 0)],
)
def test_a_delivery_is_deleted_as_long_after_its_end_as_its_status_says(
    database: Database, status: str, days: int, gone: int
) -> None:
    with database.begin() as connection:
        id_ = connection.execute(PUT, {"status": status, "age": timedelta(days=days)}).scalar_one()
        rows.item(connection, "inbox", id_, lane=Lane.DEAD, reason="x")
        assert upkeep.old(connection, KEPT).deliveries == gone
    assert Pruning(database, KEPT).run().deliveries == gone
    assert (rows.item_of(database, "inbox", id_) is None) == bool(gone)


def test_a_delivery_that_waits_is_kept_however_old_it_is(database: Database) -> None:
    with database.begin() as connection:
        id_ = connection.execute(PUT, {"status": "done", "age": timedelta(days=100)}).scalar_one()
        connection.execute(text("UPDATE notify.webhook_deliveries SET status = 'pending', finished_at = NULL"))
        rows.item(connection, "inbox", id_)
    assert Pruning(database, KEPT).run().deliveries == 0


def test_a_login_that_is_nobodys_is_forgotten_once_it_has_missed_nothing_for_long(database: Database) -> None:
    now = datetime.now(UTC)
    with database.begin() as connection:
        for login, days in (("old", 91), ("recent", 89)):
            identities.miss(connection, "github", [login], event_key="k", at=now - timedelta(days=days))
        assert upkeep.old(connection, KEPT).logins == 1
    assert Pruning(database, KEPT).run().logins == 1
    with database.begin() as connection:
        assert [one.login for one in identities.unmapped(connection)] == ["recent"]
