"""Every end of an email and an event, and every notification that is skipped, is told exactly once."""

from collections.abc import Callable
from datetime import timedelta
from uuid import uuid4

import pytest
from sqlalchemy import text

import notify
from notify.domain.outcomes import JobUpdate, OutcomeName
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.outbox import outbox
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.outbox.retry_cancel_replay import Action, act_on
from tests.support import rows
from tests.support.harness import WorkerHarness, comment
from tests.support.roles import PASSWORD, administer, as_role, roles
from tests.support.smtp import RCPT, ScriptedRelay
from tests.support.statements import statements
from tests.support.webhooks import WebhookHarness

URL = "https://hooks.example/notify"
SENT, DEAD, SKIPPED, DONE = "email.sent", "email.dead", "notification.skipped", "event.done"
MUTE_ANN = "INSERT INTO notify.user_notification_settings (username, enabled) VALUES ('ann', false)"
LEASES_END = "UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay, webhooks: WebhookHarness) -> WorkerHarness:
    """A worker, and an endpoint that asks for everything."""
    webhooks.add(URL)
    return WorkerHarness(database, relay.url)


def told(webhooks: WebhookHarness) -> list[tuple[str, str, str | None]]:
    """Type, outcome and why of each call that waits, sorted; forgets them."""
    found = sorted(webhooks.calls("type", "outcome", "why"), key=str)
    items = webhooks.items()
    assert items == [(1, 0, 0, None)] * len(found)
    webhooks.execute("DELETE FROM notify.work_items WHERE stage = 'webhooks'")
    webhooks.execute("DELETE FROM notify.webhook_calls")
    return found


def sent(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001 - nothing is refused
    harness.drain()


def refused(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    relay.answers[RCPT] = "550 5.1.1 No such mailbox"
    harness.drain()


def expired(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    harness.execute("UPDATE notify.email_jobs SET expires_at = now() - interval '1 s'")
    harness.drain()


def cancelled(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    ((job,),) = harness.execute("SELECT id FROM notify.email_jobs")
    with harness.database.begin() as connection:
        act_on(connection, Action.CANCEL, job)


def poisoned(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    harness.execute("UPDATE notify.work_items SET lane = 8, lapses = 2, leased_by = gen_random_uuid()")
    harness.execute(LEASES_END)
    harness.drain()


def withdrawn(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    with harness.database.begin() as connection:
        notify.withdraw(connection, "k1")


def muted(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    with harness.database.begin() as connection:
        connection.execute(text(MUTE_ANN))
    harness.drain()


def ended_by_a_late_worker(harness: WorkerHarness, relay: ScriptedRelay) -> None:  # noqa: ARG001
    with harness.database.begin() as connection:
        (job,) = outbox.claim(connection, limit=1, lease=timedelta(minutes=1), worker=uuid4())
    harness.execute("UPDATE notify.work_items SET attempt = attempt + 1")
    with harness.database.begin() as connection:
        outbox.record(connection, [AttemptOutcome(job=job, update=JobUpdate(outcome=OutcomeName.SENT))], worker=uuid4())


@pytest.mark.parametrize(
    ("end", "tells"),
    [
        (sent, [(SENT, "sent", None)]),
        (ended_by_a_late_worker, [(SENT, "sent", None)]),
        (refused, [(DEAD, "dead", "refused")]),
        (expired, [(DEAD, "expired", "expires_at")]),
        (cancelled, [(DEAD, "cancelled", "by_hand")]),
        (poisoned, [(DEAD, "dead", "poison")]),
        (withdrawn, [(DEAD, "withdrawn", None), (DONE, "withdrawn", None)]),
        (muted, [(DEAD, "skipped", "muted_all"), (SKIPPED, "skipped", "muted_all")]),
    ],
)
def test_each_end_of_an_email_is_told_once(
    harness: WorkerHarness,
    relay: ScriptedRelay,
    webhooks: WebhookHarness,
    end: Callable[[WorkerHarness, ScriptedRelay], None],
    tells: list[tuple[str, str, str | None]],
) -> None:
    harness.pending_emails("ann")
    told(webhooks)
    end(harness, relay)
    assert told(webhooks) == tells


def test_an_event_that_was_fanned_out_is_told_and_whom_it_left_out(
    harness: WorkerHarness, webhooks: WebhookHarness
) -> None:
    harness.pending_emails("ann")
    assert told(webhooks) == [(DONE, "done", None), (SKIPPED, "skipped", "no_address")]
    harness.execute(rows.FAN_OUT_AGAIN)
    told(webhooks)
    harness.fan_out()
    assert told(webhooks) == [(DONE, "done", None)]


def test_an_event_that_cannot_be_fanned_out_is_told_once_it_is_dead(
    harness: WorkerHarness, webhooks: WebhookHarness
) -> None:
    with harness.database.begin() as connection:
        receive(connection, [parse({**comment(), "cl": {"link": "CL-unknown"}})])
    harness.fan_out()
    assert told(webhooks) == []
    harness.execute("UPDATE notify.work_items SET due_at = now(), failures = max_failures - 1")
    harness.fan_out()
    assert told(webhooks) == [(DONE, "dead", "unknown_topic")]


def test_an_event_whose_workers_die_is_told_as_dead(harness: WorkerHarness, webhooks: WebhookHarness) -> None:
    with harness.database.begin() as connection:
        receive(connection, [parse(comment())])
    poisoned_items = "UPDATE notify.work_items SET lane = 8, lapses = 2, leased_by = gen_random_uuid()"
    harness.execute(poisoned_items)
    harness.execute(LEASES_END)
    harness.fan_out()
    assert told(webhooks) == [(DONE, "dead", "poison")]


def test_an_email_that_is_retried_by_hand_is_told_again_when_it_ends_again(
    harness: WorkerHarness, webhooks: WebhookHarness, relay: ScriptedRelay
) -> None:
    (job, *_) = harness.pending_emails("ann")
    told(webhooks)
    refused(harness, relay)
    assert told(webhooks) == [(DEAD, "dead", "refused")]
    relay.answers.clear()
    with harness.database.begin() as connection:
        act_on(connection, Action.RETRY, job.id)
    assert told(webhooks) == []
    harness.execute("DELETE FROM notify.people WHERE username = 'ann'")
    harness.pending_emails("ann", key="k2", link="CL-2")
    told(webhooks)
    harness.drain()
    assert told(webhooks) == [(SENT, "sent", None)] * 2


def test_a_notification_that_the_recheck_leaves_out_of_a_bundle_is_told(
    database: Database, relay: ScriptedRelay, webhooks: WebhookHarness
) -> None:
    webhooks.add(URL)
    harness = WorkerHarness(database, relay.url, {"bundle_seconds": 600})
    harness.pending_emails("ann", key="k1")
    harness.drain()
    harness.pending_emails("ann", key="k2")
    harness.pending_emails("ann", key="k3")
    told(webhooks)
    notice = "UPDATE notify.notifications SET event_type = 'cl.merged' WHERE email_job_id IS NOT NULL AND id = (%s)"
    harness.execute(notice % "SELECT max(id) FROM notify.notifications WHERE username = 'ann'")
    harness.execute(
        "INSERT INTO notify.user_notification_preferences (username, event_type_code, enabled)"
        " VALUES ('ann', 'cl.merged', false)"
    )
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver'")
    harness.drain()
    assert told(webhooks) == [(SENT, "sent", None), (SKIPPED, "skipped", "muted_event")]


def test_each_enabled_endpoint_is_told_of_what_it_asks_for(
    database: Database, relay: ScriptedRelay, webhooks: WebhookHarness
) -> None:
    harness = WorkerHarness(database, relay.url)
    webhooks.add(URL, SENT, name="one")
    webhooks.add(URL, SENT, DONE, name="two")
    webhooks.add(URL, name="disabled")
    webhooks.execute(
        "UPDATE notify.webhook_endpoints SET disabled_at = now(), disabled_because = 'x' WHERE name = 'disabled'"
    )
    harness.pending_emails("ann")
    harness.drain()
    found = webhooks.execute(
        "SELECT name, type FROM notify.webhook_calls JOIN notify.webhook_endpoints AS e ON e.id = endpoint_id"
    )
    assert sorted(found) == [("one", SENT), ("two", SENT), ("two", DONE)]


def test_without_an_endpoint_nothing_is_written(
    database: Database, relay: ScriptedRelay, webhooks: WebhookHarness
) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    harness.drain()
    assert len(relay.emails) == 1
    assert (webhooks.calls("id"), webhooks.items()) == ([], [])


def test_an_endpoint_adds_no_statement_to_those_that_record_outcomes(
    database: Database, relay: ScriptedRelay, webhooks: WebhookHarness
) -> None:
    harness = WorkerHarness(database, relay.url)

    def sent_for(key: str) -> list[str]:
        with statements(database) as found:
            harness.pending_emails("ann", key=key, link=f"CL-{key}")
            with database.begin() as connection:
                (job,) = outbox.claim(connection, limit=1, lease=timedelta(minutes=1), worker=uuid4())
                update = JobUpdate(outcome=OutcomeName.SENT)
                outbox.record(connection, [AttemptOutcome(job=job, update=update)], worker=uuid4())
        return [one.sql for one in found]

    without = sent_for("k1")
    webhooks.add(URL)
    assert sent_for("k2") == without
    assert told(webhooks) == [(SENT, "sent", None), (DONE, "done", None), (SKIPPED, "skipped", "no_address")]


def test_what_is_rolled_back_is_not_told(harness: WorkerHarness, webhooks: WebhookHarness) -> None:
    harness.pending_emails("ann")
    told(webhooks)
    with harness.database.begin() as connection:
        notify.withdraw(connection, "k1")
        connection.rollback()
    assert told(webhooks) == []


def test_an_application_that_withdraws_needs_no_right_to_the_calls(
    harness: WorkerHarness, webhooks: WebhookHarness
) -> None:
    harness.pending_emails("ann")
    told(webhooks)
    url, role = harness.database.url, "withdrawing_application"
    with roles(url, [role]):
        administer(
            url,
            f"CREATE ROLE {role} LOGIN PASSWORD '{PASSWORD}'",
            f"GRANT USAGE ON SCHEMA notify TO {role}",
            f"GRANT SELECT, UPDATE ON notify.events, notify.email_jobs, notify.notifications TO {role}",
            f"GRANT SELECT, UPDATE, DELETE ON notify.work_items TO {role}",
        )
        application = Database(as_role(url, role))
        with application.begin() as connection:
            notify.withdraw(connection, "k1")
        application.close()
    assert told(webhooks) == [(DEAD, "withdrawn", None), (DONE, "withdrawn", None)]
