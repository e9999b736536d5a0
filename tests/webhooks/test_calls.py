"""What endpoints are told, and what their answers do."""

import json
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from standardwebhooks import Webhook
from standardwebhooks.webhooks import WebhookVerificationError
from structlog.testing import capture_logs

from notify.delivery.erasure import erase
from notify.domain.webhooks import MOST_ATTEMPTS
from notify.store.database import Database
from tests.support.harness import WorkerHarness
from tests.support.proxy import Proxy, database_target, through
from tests.support.smtp import ScriptedRelay
from tests.support.wait import until
from tests.support.webhooks import KEY, Called, Says, ScriptedEndpoint, WebhookHarness, webhook_stage

DEAD_LANE = 9
LEASES_END = "UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8"
OTHER_KEY = "o" * 32


def is_signed_by(call: Called, secret: str) -> bool:
    try:
        Webhook(secret).verify(call.body, dict(call.headers))
    except WebhookVerificationError:
        return False
    return True


def test_an_event_its_email_and_who_was_left_out_are_told_with_ids_only(
    worker: WorkerHarness, webhooks: WebhookHarness, endpoint: ScriptedEndpoint, relay: ScriptedRelay
) -> None:
    secret = webhooks.add(endpoint.url)
    (job, *_) = worker.pending_emails("ann")
    worker.drain()
    assert webhooks.drain()["claimed"] == 3

    assert len(relay.emails) == 1
    assert endpoint.outcomes() == [
        ("email.sent", "sent"),
        ("event.done", "done"),
        ("notification.skipped", "skipped"),
    ]
    by_type = {one.json["type"]: one for one in endpoint.calls}
    of_event = {"event_key": "k1", "event_type": "cl.comment.created", "topic": "CL-1"}
    assert by_type["email.sent"].data == {
        "job_id": job.id,
        "replay_of": None,
        "message_id": job.message_id,
        "username": "ann",
        "topic": "CL-1",
        "attempts": 1,
        "notification_count": 1,
        "notifications": [{"id": job.note_id, **of_event, "reason": "reviewer"}],
        "outcome": "sent",
        "why": None,
    }
    assert by_type["event.done"].data == {**of_event, "told": 1, "skipped": 1, "outcome": "done", "why": None}
    (skipped,) = worker.execute("SELECT id FROM notify.notifications WHERE decision = 'skipped'")
    assert by_type["notification.skipped"].data == {
        "notification_id": skipped.id,
        "username": "somebody",
        **of_event,
        "reason": "author",
        "outcome": "skipped",
        "why": "no_address",
    }
    for call in endpoint.calls:
        assert is_signed_by(call, secret)
        assert datetime.fromisoformat(call.json["timestamp"]).tzinfo is not None
        assert call.headers["content-type"] == "application/json"
        for private in (b"ann@example.com", b"The jitter", b"Cap the retry"):
            assert private not in call.body
    assert len({one.id for one in endpoint.calls}) == 3
    assert webhooks.items() == []
    assert webhooks.calls("status", "last_code", "last_error") == [("delivered", 204, None)] * 3


def test_an_endpoint_may_ask_for_addresses_and_payloads(
    worker: WorkerHarness, webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url, "email.sent", "event.done", include=["address", "payload"])
    worker.pending_emails("ann")
    worker.drain()
    webhooks.drain()
    by_type = {one.json["type"]: one.data for one in endpoint.calls}
    assert by_type["email.sent"]["to_email"] == "ann@example.com"
    assert by_type["email.sent"]["notifications"][0]["payload"]["comment"]["body"] == "The jitter comes after the cap."
    assert by_type["event.done"]["payload"]["comment"]["body"] == "The jitter comes after the cap."


@pytest.mark.usefixtures("job")
def test_a_call_that_fails_is_made_again_under_its_id_until_it_is_dead(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url)
    endpoint.always = Says(400, body=b"ann@example.com is not known here")
    webhooks.tell("dead")
    for attempt in range(MOST_ATTEMPTS):
        assert webhooks.items() == [(1, attempt, attempt, "http_400" if attempt else None)]
        webhooks.make_due()
        webhooks.drain()
    assert len(endpoint.calls) == MOST_ATTEMPTS
    assert len({one.id for one in endpoint.calls}) == 1
    assert webhooks.items() == [(DEAD_LANE, MOST_ATTEMPTS, MOST_ATTEMPTS, "http_400")]
    # What the endpoint says may be personal, and is not kept.
    found = webhooks.calls("status", "outcome_reason", "attempts", "last_code", "last_error")
    assert found == [("dead", "http_400", MOST_ATTEMPTS, 400, None)]
    webhooks.make_due()
    assert webhooks.drain()["claimed"] == 0


@pytest.mark.usefixtures("job")
def test_a_call_is_signed_with_both_secrets_while_one_is_rotated(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    old = webhooks.add(endpoint.url)
    new = webhooks.rotate(keep=timedelta(hours=1))
    webhooks.tell("during")
    webhooks.drain()
    webhooks.execute("UPDATE notify.webhook_endpoints SET old_secret_until = now()")
    webhooks.tell("after")
    webhooks.drain()
    during, after = endpoint.calls
    assert [is_signed_by(one, old) for one in (during, after)] == [True, False]
    assert [is_signed_by(one, new) for one in (during, after)] == [True, True]


@pytest.mark.usefixtures("job")
def test_a_former_secret_whose_key_is_gone_holds_no_call_back(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    former = webhooks.add(endpoint.url, key=OTHER_KEY)
    secret = webhooks.rotate(keep=timedelta(days=1))
    webhooks.tell("dead")
    webhooks.drain()
    (called,) = endpoint.calls
    assert [is_signed_by(called, one) for one in (secret, former)] == [True, False]


@pytest.mark.usefixtures("job")
def test_without_the_key_of_its_secret_an_endpoint_waits_and_no_attempt_is_charged(
    database: Database, webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url, key=OTHER_KEY)
    webhooks.tell("dead")
    webhooks.drain()
    assert endpoint.calls == []
    assert webhooks.items() == [(1, 1, 0, None)]
    webhooks.make_due()
    with webhook_stage(database, secret_keys=f"{KEY} {OTHER_KEY}") as complete:
        complete.drain()
    assert webhooks.calls("status") == [("delivered",)]


@pytest.mark.usefixtures("job")
def test_an_endpoint_that_is_gone_is_told_of_nothing_more(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint, worker: WorkerHarness
) -> None:
    webhooks.add(endpoint.url)
    endpoint.answers = [Says(410)]
    webhooks.tell("first")
    webhooks.drain()
    assert webhooks.execute("SELECT disabled_because FROM notify.webhook_endpoints") == [("gone",)]
    webhooks.tell("second")
    worker.drain()
    webhooks.drain()
    assert len(endpoint.calls) == 1
    assert webhooks.calls("outcome", "status", "outcome_reason") == [
        ("first", "dead", "gone"),
        ("second", "skipped", "disabled"),
    ]


@pytest.mark.parametrize("asked", ["seconds", "date"])
@pytest.mark.usefixtures("job")
def test_an_endpoint_that_limits_the_rate_is_not_called_for_as_long_as_it_asks_and_nothing_is_charged(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint, asked: str
) -> None:
    webhooks.add(endpoint.url)
    until_then = format_datetime(datetime.now(UTC) + timedelta(seconds=600), usegmt=True)
    endpoint.answers = [Says(429, {"Retry-After": "600" if asked == "seconds" else until_then})]
    webhooks.tell("first")
    webhooks.drain()
    webhooks.tell("second")
    webhooks.drain()
    assert len(endpoint.calls) == 1
    assert [(lane, failures) for lane, _, failures, _ in webhooks.items()] == [(1, 0), (1, 0)]
    (least,) = webhooks.execute(
        "SELECT extract(epoch FROM min(due_at) - now())::int FROM notify.work_items WHERE stage = 'webhooks'"
    )
    assert 590 <= least[0] <= 610
    webhooks.make_due()
    webhooks.drain()
    assert webhooks.calls("status") == [("delivered",)] * 2


@pytest.mark.usefixtures("job")
def test_after_five_failures_in_a_row_an_endpoint_is_tried_with_single_calls_and_nothing_else_is_charged(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url)
    endpoint.always = Says(503)
    webhooks.tell(*(f"outcome-{number}" for number in range(20)))
    webhooks.drain()
    first = len(endpoint.calls)
    assert 5 <= first <= 11
    webhooks.make_due()
    webhooks.drain()
    assert len(endpoint.calls) == first + 1
    assert sum(failures for _, _, failures, _ in webhooks.items()) == first + 1
    endpoint.always = Says()
    webhooks.make_due()
    webhooks.drain()
    webhooks.make_due()
    webhooks.drain()
    assert webhooks.items() == []
    assert webhooks.execute("SELECT state, failures FROM notify.endpoints") == [("closed", 0)]


def test_a_slow_endpoint_holds_up_no_other_and_has_few_calls_at_a_time(
    job: int, webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    with ScriptedEndpoint(always=Says(waits=True)) as slow:
        webhooks.add(slow.url, "email.dead", name="slow")
        webhooks.tell(*(f"outcome-{number}" for number in range(300)))
        webhooks.add(endpoint.url, "email.sent", name="fast")
        webhooks.execute(
            "WITH made AS (INSERT INTO notify.webhook_calls (endpoint_id, type, subject_id, outcome)"
            " SELECT id, 'email.sent', :job, 'sent' FROM notify.webhook_endpoints WHERE name = 'fast' RETURNING id)"
            " INSERT INTO notify.work_items (stage, id, lane, max_failures) SELECT 'webhooks', id, 1, 10 FROM made",
            job=job,
        )
        webhooks.stage.drain()
        assert len(endpoint.calls) == 1
        assert (slow.at_once, slow.most_at_once) == (6, 6)
        slow.go_on.set()
        slow.always = Says()
        webhooks.until_settled()
    assert {failures for _, _, failures, _ in webhooks.items()} == {0}


def test_calls_of_an_endpoint_that_was_removed_and_about_what_was_deleted_are_skipped(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url)
    webhooks.tell("deleted")
    webhooks.drain()
    webhooks.tell("removed")
    webhooks.execute("DELETE FROM notify.webhook_endpoints")
    webhooks.drain()
    assert endpoint.calls == []
    assert webhooks.calls("outcome", "status", "outcome_reason") == [
        ("deleted", "skipped", "pruned"),
        ("removed", "skipped", "disabled"),
    ]


@pytest.mark.usefixtures("job")
def test_a_call_that_waited_for_days_is_dead(webhooks: WebhookHarness, endpoint: ScriptedEndpoint) -> None:
    webhooks.add(endpoint.url)
    webhooks.tell("dead")
    webhooks.execute("UPDATE notify.webhook_calls SET created_at = now() - interval '6 days'")
    webhooks.drain()
    assert (endpoint.calls, webhooks.calls("status", "outcome_reason")) == ([], [("dead", "expired")])


@pytest.mark.usefixtures("job")
def test_a_call_that_killed_three_workers_is_dead(webhooks: WebhookHarness, endpoint: ScriptedEndpoint) -> None:
    webhooks.add(endpoint.url)
    webhooks.tell("dead")
    webhooks.execute("UPDATE notify.work_items SET lapses = 2, lane = 8, leased_by = gen_random_uuid()")
    webhooks.execute(LEASES_END)
    webhooks.drain()
    assert (endpoint.calls, webhooks.calls("status", "outcome_reason")) == ([], [("dead", "poison")])


@pytest.mark.usefixtures("job")
def test_what_a_worker_had_begun_when_it_stopped_is_called_by_another(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url)
    endpoint.always = Says(waits=True)
    webhooks.tell(*(f"outcome-{number}" for number in range(8)))
    webhooks.stage.drain()
    until(lambda: endpoint.at_once == 6)
    webhooks.stage.stop(at_most_seconds=0)
    endpoint.always = Says()
    endpoint.go_on.set()
    webhooks.execute(LEASES_END)
    with webhook_stage(webhooks.database) as other:
        other.drain()
    assert webhooks.calls("status") == [("delivered",)] * 8
    assert (len(endpoint.calls), len({one.id for one in endpoint.calls})) == (6 + 8, 8)


@pytest.mark.usefixtures("job")
def test_while_the_database_is_away_a_call_is_not_forgotten(
    webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    webhooks.add(endpoint.url)
    endpoint.answers = [Says(waits=True)]
    webhooks.tell("dead")
    with Proxy(database_target(webhooks.database.url)) as line, capture_logs() as logs:
        distant = Database(through(line, webhooks.database.url), connect_timeout_seconds=1)
        with webhook_stage(distant) as far:
            far.stage.drain()
            until(lambda: endpoint.calls)
            line.refuse()
            endpoint.go_on.set()
            until(lambda: [one for one in logs if one["event"] == "webhooks.not_written"])
            line.heal()
            webhooks.until_settled()
        distant.close()
    assert (len(endpoint.calls), webhooks.calls("status")) == (1, [("delivered",)])


def test_nothing_about_a_person_who_was_erased_is_in_a_call_or_told(
    worker: WorkerHarness, webhooks: WebhookHarness, endpoint: ScriptedEndpoint, database: Database
) -> None:
    webhooks.add(endpoint.url, include=["address", "payload"])
    worker.pending_emails("ann")
    worker.drain()
    assert list(erase(database, "ann"))
    webhooks.drain()
    ((calls,),) = webhooks.execute("SELECT jsonb_agg(to_jsonb(one))::text FROM notify.webhook_calls AS one")
    told = json.dumps([one.json for one in endpoint.calls if one.json["type"] == "email.sent"])
    for text in (calls, told):
        assert "ann" not in text
