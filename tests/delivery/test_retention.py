"""Pruning: all old rows go, one run at a time, and a run stops when told to."""

from datetime import timedelta
from typing import Any

from notify.delivery.retention import Pruned, Pruning
from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.tables.emails import email_jobs, events, notifications
from notify.store.webhooks import endpoints
from tests.support import rows
from tests.support.webhook_calls import DEAD, DELIVERED, FAILED, SKIPPED, Calls

KEPT = RetentionPeriods()


def put_old(database: Database, *statuses: str, **columns: Any) -> list[int]:
    """Emails that ended twenty days ago, each about an event of its own."""
    with database.begin() as connection:
        aged = rows.ago(days=20)
        about = [rows.event(connection, **rows.ended("done", at=aged)) for _ in statuses]
        return [
            rows.job(connection, event_id=event_id, **rows.ended(status, at=aged), **columns)
            for event_id, status in zip(about, statuses, strict=True)
        ]


def test_a_run_deletes_everything_old_however_small_the_batches(database: Database) -> None:
    put_old(database, "sent", "dead", "sent", "skipped", "sent", "dead")

    pruned = Pruning(database, KEPT, batch=2).run()

    assert pruned == Pruned(jobs=4, events=4)
    assert (rows.count_of(database, email_jobs), rows.count_of(database, events)) == (2, 2)


def test_an_old_bundle_is_deleted_with_all_its_notifications(database: Database) -> None:
    (bundle,) = put_old(database, "sent")
    with database.begin() as connection:
        for _ in range(2):
            event_id = rows.event(connection, **rows.ended("done", at=rows.ago(days=20)))
            rows.notification(connection, event_id=event_id, email_job_id=bundle)

    assert Pruning(database, KEPT, batch=2).run() == Pruned(jobs=1, events=3)
    assert rows.count_of(database, notifications) == 0


def test_due_emails_stay_and_do_not_stop_a_run(database: Database) -> None:
    put_old(database, "sent", "sent")
    with database.begin() as connection:
        rows.job(connection)

    assert Pruning(database, KEPT, batch=1).run() == Pruned(jobs=2, events=2)
    assert rows.count_of(database, email_jobs) == 1


def test_of_two_concurrent_runs_one_gives_way(database: Database) -> None:
    put_old(database, "sent", "sent")
    first = Pruning(database, KEPT, batch=1)

    batches = first.batches()
    next(batches)
    with database.begin() as connection:
        assert upkeep.try_lock(connection)
        late = Pruning(database, KEPT).run()
        for _ in batches:
            pass

    assert late == Pruned(elsewhere=True)
    assert first.pruned == Pruned(jobs=1, unfinished=True)
    assert Pruning(database, KEPT).run() == Pruned(jobs=1, events=2)


def test_an_aborted_run_releases_the_lock_for_the_next(database: Database) -> None:
    put_old(database, "sent", "sent")
    batches = Pruning(database, KEPT, batch=1).batches()
    next(batches)

    batches.close()

    assert Pruning(database, KEPT).run().jobs == 1


def test_a_run_told_to_stop_starts_no_further_batch_and_the_next_run_continues(database: Database) -> None:
    put_old(database, "sent", "sent", "sent")
    stopped = Pruning(database, KEPT, batch=1)

    for _ in stopped.batches():
        stopped.stop()

    assert stopped.pruned == Pruned(jobs=1, unfinished=True)
    assert Pruning(database, KEPT).run() == Pruned(jobs=2, events=3)


def test_a_run_stops_when_its_time_is_up(database: Database) -> None:
    put_old(database, "sent")

    assert Pruning(database, KEPT, at_most=timedelta(0)).run() == Pruned(unfinished=True)
    assert rows.count_of(database, email_jobs) == 1


def test_webhook_calls_go_when_they_ended_long_enough_ago_and_those_of_a_removed_endpoint_early(
    database: Database,
) -> None:
    calls = Calls(database)
    calls.endpoint()
    calls.endpoint("removed")
    results = (DELIVERED, SKIPPED, DEAD, FAILED)
    year_old, month_old = [calls.call(result=one) for one in results], [calls.call(result=one) for one in results]
    orphan = calls.call("removed", DEAD)
    young = [calls.call(result=one) for one in results]
    with database.begin() as connection:
        endpoints.remove(connection, "removed")
    for ids, days in ((year_old, 365), ([*month_old, orphan], 30), (young, 13)):
        for id_ in ids:
            calls.age(id_, timedelta(days=days))
    with database.begin() as connection:
        counted = upkeep.old(connection, KEPT)

    pruned = Pruning(database, KEPT, batch=2).run()

    assert (pruned.calls, counted.calls) == (6, 6)
    assert calls.left() == [year_old[3], *month_old[2:], *young]
    with database.begin() as connection:
        items = connection.exec_driver_sql("SELECT id FROM notify.work_items WHERE stage = 'webhooks' ORDER BY id")
        assert list(items.scalars()) == [year_old[3], *month_old[2:], *young[2:]]
