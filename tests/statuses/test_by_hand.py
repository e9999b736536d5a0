"""What operators see of statuses and do to them, and how long they are kept."""

from datetime import timedelta

import pytest

from notify.delivery.retention import Pruning
from notify.domain.forge_answers import Refused, Unavailable
from notify.domain.retention import RetentionPeriods
from notify.domain.statuses import TargetStatus
from notify.store.operations import upkeep
from notify.store.statuses import by_hand, listing
from notify.store.statuses.listing import StatusFilter
from tests.support.statuses import MemoryForge, StatusHarness, check_run, refuses, wanted

DEAD = refuses(Refused(reason="invalid", words="No such state"), status=422)


def listed(statuses: StatusHarness, limit: int = 10, below: int | None = None, **conditions: object) -> list[str]:
    """The contexts of the targets that match, newest first."""
    with statuses.database.begin() as connection:
        found = listing.newest(connection, StatusFilter(**conditions), below=below, limit=limit)  # type: ignore[arg-type]
    return [one.context for one in found]


def test_statuses_are_listed_by_what_they_are_and_what_became_of_them(
    statuses: StatusHarness, forge: MemoryForge
) -> None:
    forge.before = [DEAD]
    statuses.publish(wanted(context="dead"))
    statuses.drain()
    statuses.publish(wanted(context="shown", repository="acme/Web"))
    statuses.drain()
    (waiting,) = statuses.publish(wanted(context="waiting", sha="b" * 40))

    assert listed(statuses) == ["waiting", "shown", "dead"]
    assert listed(statuses, limit=1, below=waiting.id) == ["shown"]
    assert listed(statuses, status=TargetStatus.DEAD) == ["dead"]
    assert listed(statuses, status=TargetStatus.PENDING) == ["waiting"]
    assert listed(statuses, status=TargetStatus.APPLIED) == ["shown"]
    assert listed(statuses, repository="ACME/web") == ["shown"]
    assert listed(statuses, sha="b" * 40) == ["waiting"]
    assert listed(statuses, context="dead", forge="github", reason="invalid") == ["dead"]
    assert listed(statuses, reason="gone") == []
    with statuses.database.begin() as connection:
        assert listing.counted(connection).by_status == {"dead": 1, "applied": 1, "pending": 1}


def test_a_status_is_shown_with_its_attempts(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.before = [refuses(Unavailable(reason="server_error", words="Oops"), status=502)]
    (receipt,) = statuses.publish(check_run(output={"title": "T", "summary": "S"}))
    statuses.drain()

    with statuses.database.begin() as connection:
        seen = listing.view(connection, receipt.id)
        attempts = listing.attempts_of(connection, receipt.id)
        output = listing.output_of(connection, receipt.id)
        assert listing.view(connection, 0) is None
    assert seen is not None
    assert (seen.status, seen.attempts, seen.failures, seen.last_code) == (TargetStatus.PENDING, 1, 1, 502)
    assert seen.due_at is not None
    assert [(one.outcome, one.code, one.text, one.version) for one in attempts] == [
        ("retry: server_error", 502, "Oops", 1)
    ]
    assert output == {"title": "T", "summary": "S", "text": None, "annotations": []}


def retry(statuses: StatusHarness, *ids: int) -> list[int]:
    with statuses.database.begin() as connection:
        return by_hand.retry(connection, ids)


def cancel(statuses: StatusHarness, *ids: int) -> list[int]:
    with statuses.database.begin() as connection:
        return by_hand.cancel(connection, ids)


def test_a_dead_status_is_shown_when_somebody_retries_it(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.before = [DEAD]
    (receipt,) = statuses.publish(wanted())
    statuses.drain()

    assert retry(statuses, receipt.id) == [receipt.id]
    statuses.drain()
    assert statuses.targets("status", "attempts") == [("applied", 2)]
    assert retry(statuses, receipt.id) == []


def test_one_that_waits_for_its_next_attempt_is_shown_at_once(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.before = [refuses(Unavailable(reason="timeout"))]
    (receipt,) = statuses.publish(wanted())
    statuses.drain()
    assert not statuses.stage.is_due()

    assert retry(statuses, receipt.id) == [receipt.id]
    statuses.drain()
    assert statuses.targets("status") == [("applied",)]


def test_a_cancelled_status_is_not_shown_until_more_is_published(statuses: StatusHarness, forge: MemoryForge) -> None:
    (receipt,) = statuses.publish(check_run())
    statuses.execute("UPDATE notify.work_items SET attempt = 4")
    assert cancel(statuses, receipt.id) == [receipt.id]
    assert cancel(statuses, receipt.id) == []
    statuses.drain()
    assert forge.calls == []
    assert statuses.targets("status", "outcome_reason") == [("cancelled", "by_hand")]

    statuses.publish(check_run(state="success"))
    statuses.drain()
    assert statuses.targets("status", "attempts") == [("applied", 5)]
    assert [call.look for call in forge.calls] == [True]


KEPT = RetentionPeriods(dead=timedelta(days=90), statuses=timedelta(days=7))


@pytest.mark.parametrize(
    ("status", "days", "gone"),
    [("applied", 8, 1), ("applied", 6, 0), ("skipped", 8, 1), ("dead", 91, 1), ("dead", 89, 0), ("cancelled", 91, 1)],
)
def test_a_status_is_deleted_as_long_after_its_end_as_its_status_says(
    statuses: StatusHarness, forge: MemoryForge, status: str, days: int, gone: int
) -> None:
    forge.before = [DEAD]
    statuses.publish(wanted())
    statuses.drain()
    statuses.execute(
        f"UPDATE notify.commit_statuses SET status = '{status}', applied_version = 1, applied_state = 'success',"  # noqa: S608
        f" applied_at = now(), created_at = now() - interval '{days} days',"
        f" finished_at = now() - interval '{days} days'"
    )
    with statuses.database.begin() as connection:
        assert upkeep.old(connection, KEPT).statuses == gone
    assert Pruning(statuses.database, KEPT).run().statuses == gone
    assert len(statuses.items()) == len(statuses.execute("SELECT 1 FROM notify.status_attempts")) == 1 - gone


def test_a_status_that_waits_is_kept_however_old_it_is(statuses: StatusHarness) -> None:
    statuses.publish(wanted())
    statuses.execute("UPDATE notify.commit_statuses SET created_at = now() - interval '1 year'")
    assert Pruning(statuses.database, KEPT).run().statuses == 0
