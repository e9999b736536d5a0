"""From due rows to recorded outcomes, over a real conversation with a relay."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import ScriptedRelay
from tests.support.statements import statements
from tests.support.wait import until

MAKE_DUE = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9"
STATS = "SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY outcome ORDER BY outcome"


def test_every_due_email_arrives_once_and_its_row_says_so(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = harness.pending_emails("ann", "bob", "cy")
    written = [job for job in waiting if job.status == "pending"]

    report = harness.drain()

    assert report["claimed"] == report["sent"] == 3
    assert sorted(one.recipient for one in relay.emails) == [f"{name}@example.com" for name in ("ann", "bob", "cy")]
    sent = {f"<{job.message_id}>".encode() for job in written}
    assert sent == {_message_id(one.content) for one in relay.emails}
    after = [job for job in harness.jobs() if job.to_email]
    assert {(job.status, job.last_code, job.attempt, job.failures) for job in after} == {("sent", 250, 1, 0)}
    assert all(job.finished_at and job.due_at is None for job in after)
    assert all(row.relay_reply for row in harness.execute("SELECT relay_reply FROM notify.email_jobs"))


def test_a_second_drain_sends_nothing_again(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    harness.drain()

    assert harness.drain()["claimed"] == 0
    assert len(relay.emails) == 1


@pytest.mark.parametrize(
    ("step", "reply", "status", "failures"),
    [
        ("RCPT", "450 4.2.0 greylisted, come back", "pending", 1),
        ("DOT", "451 4.3.0 try again later", "pending", 1),
        ("RCPT", "550 5.4.4 no way there", "dead", 0),
        ("RCPT", "550 5.7.1 not wanted here", "pending", 1),
        ("DOT", "554 5.6.0 content refused", "dead", 0),
        ("DATA", "421 4.3.2 shutting down", "pending", 0),
    ],
)
def test_the_relays_answer_decides_the_jobs_status(
    harness: WorkerHarness, relay: ScriptedRelay, step: str, reply: str, status: str, failures: int
) -> None:
    relay.answers[step] = reply
    harness.pending_emails("ann")

    harness.drain()

    (job,) = (job for job in harness.jobs() if job.username == "ann")
    assert (job.status, job.failures) == (status, failures)
    ((outcome, code),) = harness.execute(
        "SELECT outcome, code FROM notify.email_attempts WHERE job_id = :id", id=job.id
    )[:1]
    assert outcome.split(":")[0] == {"dead": "dead", "pending": "retry" if failures else "released"}[status]
    assert code == int(reply[:3])


def test_a_greylisted_email_waits_at_least_five_minutes(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    relay.answers["RCPT"] = "450 4.7.1 greylisted"
    harness.pending_emails("ann")

    harness.drain()

    assert harness.execute(
        "SELECT due_at - now() > interval '4 minutes 50 seconds' FROM jobs WHERE username = 'ann'"
    ) == [(True,)]


def test_an_address_refused_for_good_gets_no_email_about_the_next_event(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    relay.reply_by_recipient["ann@example.com"] = "550 5.1.1 no such user"
    harness.pending_emails("ann", "bob")
    harness.drain()

    following = {
        job.username: (job.status, job.outcome_reason) for job in harness.pending_emails("ann", "bob", key="k2")
    }

    assert following["ann"] == ("skipped", "no_address")
    assert following["bob"] == ("pending", None)


def test_a_dropped_connection_after_the_final_dot_repeats_the_email_under_the_same_message_id(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    relay.drop_at.add("DOT")
    harness.pending_emails("ann")
    harness.drain()
    relay.drop_at.clear()
    harness.execute(MAKE_DUE)

    harness.drain()

    first, second = relay.emails
    assert _message_id(first.content) == _message_id(second.content)
    assert harness.attempts() == [("sent", 2, 1)]
    assert harness.execute(STATS) == [("ambiguous", 1), ("retry", 1), ("sent", 1)]


def test_a_possible_duplicate_is_counted_even_when_the_budget_is_spent(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    relay.drop_at.add("DOT")
    harness.pending_emails("ann")
    harness.execute("UPDATE notify.work_items SET max_failures = 1 WHERE stage = 'deliver'")

    harness.drain()

    assert harness.execute(STATS) == [("ambiguous", 1), ("dead", 1)]


def test_one_session_carries_many_emails(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails(*usernames(60))

    harness.drain()

    assert len(relay.emails) == 60
    assert relay.connections <= harness.settings.smtp_sessions


def test_a_session_is_reused_by_the_next_drain(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    with harness.engine() as engine:
        for number in range(3):
            harness.pending_emails("ann", key=f"k{number}", link=f"CL-{number}")
            assert engine.drain()["sent"] == 1

    assert (len(relay.emails), relay.connections) == (3, 1)


def test_a_person_who_mutes_after_fan_out_gets_no_email(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann", "bob")
    harness.execute("INSERT INTO notify.user_notification_settings (username, enabled) VALUES ('ann', false)")

    assert harness.drain()["skipped"] == 1

    assert [one.recipient for one in relay.emails] == ["bob@example.com"]
    assert {job.username: job.outcome_reason for job in harness.jobs() if job.to_email} == {
        "ann": "muted_all",
        "bob": None,
    }


def test_an_email_goes_to_the_persons_current_address(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    harness.execute("UPDATE notify.people SET email = 'new@example.com' WHERE username = 'ann'")

    harness.drain()

    assert [one.recipient for one in relay.emails] == ["new@example.com"]
    assert [job.to_email for job in harness.jobs() if job.username == "ann"] == ["new@example.com"]


def test_an_expired_email_is_not_sent(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    harness.execute("UPDATE notify.email_jobs SET expires_at = now() WHERE username = 'ann'")

    harness.drain()

    assert relay.emails == []
    assert [job.status for job in harness.jobs() if job.username == "ann"] == ["expired"]


def test_without_mail_configured_nothing_is_claimed(database: Database) -> None:
    harness = WorkerHarness(database, None)
    harness.pending_emails("ann")

    with harness.engine() as engine:
        assert not engine.is_due()
        assert engine.drain()["claimed"] == 0

    assert [(job.status, job.attempt) for job in harness.jobs() if job.username == "ann"] == [("pending", 0)]


def test_stopping_finishes_what_is_in_flight_and_releases_the_rest(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(6))
    gate = relay.pause_at("DOT")
    with harness.engine() as engine, ThreadPoolExecutor(2) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        stopping = threads.submit(engine.stop)
        until(lambda: _statuses(harness).count("pending") == 4)
        gate.release()
        stopping.result(60)
        report = draining.result(60)

    assert (report["sent"], report["released"]) == (2, 4)
    assert len(relay.emails) == 2
    given_back = [job for job in harness.jobs() if job.status == "pending"]
    assert {(job.attempt, job.failures, job.lapses) for job in given_back} == {(1, 0, 0)}
    assert harness.drain()["sent"] == 4


def test_a_full_batch_rings_once_for_idle_workers(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"claim_size": 10})
    harness.pending_emails(*usernames(35))
    harness.doorbell.rings.clear()

    assert harness.drain()["sent"] == 35

    assert harness.doorbell.rings == ["deliver"]
    assert len(relay.emails) == 35


def test_a_drain_takes_few_statements_however_many_emails_it_sends(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(100))
    with statements(harness.database) as sent:
        harness.drain()
    assert len(relay.emails) == 100
    assert len(sent) < len(relay.emails)


def _statuses(harness: WorkerHarness) -> list[str]:
    return [job.status for job in harness.jobs() if job.to_email]


def _message_id(content: bytes) -> bytes:
    return next(line[12:].strip() for line in content.split(b"\r\n") if line.lower().startswith(b"message-id: "))
