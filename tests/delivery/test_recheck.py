"""An email rendered for somebody who asks what a person gets."""

import pytest

from notify.delivery.recheck import NoEmail, email_of
from notify.domain.jobs import EmailFacts
from notify.domain.retention import RetentionPeriods
from notify.store.database import Database
from notify.store.operations import upkeep
from notify.store.outbox.retry_cancel_replay import Action, act_on
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay


def show(database: Database, job_id: int) -> EmailFacts:
    with database.begin() as connection:
        return email_of(connection, job_id)


def job_id_of(harness: WorkerHarness, username: str, key: str = "k1") -> int:
    """The id of the job about this event to this person."""
    found: int = next(job.id for job in harness.jobs(key) if job.username == username)
    return found


def bundled(database: Database, relay_url: str | None = None) -> WorkerHarness:
    """One email about one event is sent to ann, and one about two more is pending."""
    harness = WorkerHarness(database, relay_url, changes={"bundle_seconds": 600})
    for key in ("k1", "k2", "k3"):
        harness.pending_emails("ann", key=key)
    return harness


def test_a_sent_email_is_shown_as_it_was_sent(harness: WorkerHarness, database: Database) -> None:
    harness.pending_emails("ann")
    before = harness.jobs()
    email = show(database, job_id_of(harness, "ann"))
    assert (email.to_email, email.event.key) == ("ann@example.com", "k1")
    assert harness.jobs() == before
    harness.drain()
    harness.execute("INSERT INTO notify.user_notification_settings (username, enabled) VALUES ('ann', false)")
    assert show(database, job_id_of(harness, "ann")).message_id == email.message_id


def test_a_bundle_is_shown_whole(database: Database) -> None:
    harness = bundled(database)
    assert job_id_of(harness, "ann", "k2") == job_id_of(harness, "ann", "k3")
    assert [one.event.key for one in show(database, job_id_of(harness, "ann", "k3")).entries] == ["k2", "k3"]
    assert show(database, job_id_of(harness, "ann", "k1")).entries == ()


def test_dropped_notifications_are_not_shown(database: Database, relay: ScriptedRelay) -> None:
    harness = bundled(database, relay.url)
    job_id = job_id_of(harness, "ann", "k2")
    harness.execute("UPDATE notify.events SET actor = 'ann' WHERE key = 'k2'")
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver'")
    harness.drain()
    email = show(database, job_id)
    assert (email.event.key, email.entries) == ("k3", ())


def test_a_replay_is_shown_with_all_notifications_of_its_original(database: Database, relay: ScriptedRelay) -> None:
    harness = bundled(database, relay.url)
    original = job_id_of(harness, "ann", "k2")
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver'")
    harness.drain()
    with database.begin() as connection:
        again = act_on(connection, Action.REPLAY, original)
    assert again is not None
    repeated = show(database, again)
    assert [one.event.key for one in repeated.entries] == ["k2", "k3"]
    assert repeated.message_id != show(database, original).message_id


def test_a_person_who_was_skipped_has_no_email_to_show(harness: WorkerHarness, database: Database) -> None:
    harness.pending_emails("ann")
    assert [job.id for job in harness.jobs() if job.username == "somebody"] == [None]
    with pytest.raises(NoEmail):
        show(database, 999_999)


def test_an_email_whose_text_was_pruned_cannot_be_shown(harness: WorkerHarness, database: Database) -> None:
    harness.pending_emails("ann")
    harness.drain()
    harness.execute(
        "UPDATE notify.events SET (created_at, finished_at) = (now() - interval '9 days', now() - interval '9 days')"
    )
    kept = RetentionPeriods(bodies=RetentionPeriods().sent / 2)
    with database.begin() as connection:
        assert upkeep.empty_events(connection, kept, limit=10).deleted == 1
    with pytest.raises(NoEmail):
        show(database, job_id_of(harness, "ann"))


def test_a_bundle_with_one_pruned_event_cannot_be_shown(database: Database, relay: ScriptedRelay) -> None:
    harness = bundled(database, relay.url)
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver'")
    harness.drain()
    harness.execute("UPDATE notify.events SET payload = '{}', emptied_at = now() WHERE key = 'k3'")
    with pytest.raises(NoEmail):
        show(database, job_id_of(harness, "ann", "k2"))
