"""From due rows to recorded outcomes, over a real conversation with a relay."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from notify.store.database import Database
from tests.support.office import Office, many
from tests.support.smtp import ScriptedRelay
from tests.support.statements import statements
from tests.support.wait import until

MAKE_DUE = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9"
STATS = "SELECT outcome, sum(count) FROM notify.delivery_stats GROUP BY outcome ORDER BY outcome"


def test_every_waiting_email_arrives_once_and_its_row_says_so(office: Office, relay: ScriptedRelay) -> None:
    waiting = office.letters_wait("ann", "bob", "cy")
    written = [job for job in waiting if job.status == "pending"]

    report = office.drain()

    assert report["claimed"] == report["sent"] == 3
    assert sorted(one.recipient for one in relay.letters) == [f"{name}@example.com" for name in ("ann", "bob", "cy")]
    sent = {f"<{job.message_id}>".encode() for job in written}
    assert sent == {_message_id(one.content) for one in relay.letters}
    after = [job for job in office.jobs() if job.to_email]
    assert {(job.status, job.last_code, job.attempt, job.failures) for job in after} == {("sent", 250, 1, 0)}
    assert all(job.finished_at and job.due_at is None for job in after)
    assert all(row.relay_reply for row in office.now("SELECT relay_reply FROM notify.email_jobs"))


def test_a_second_drain_sends_nothing_again(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait("ann")
    office.drain()

    assert office.drain()["claimed"] == 0
    assert len(relay.letters) == 1


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
def test_what_the_relay_answers_decides_what_becomes_of_the_row(
    office: Office, relay: ScriptedRelay, step: str, reply: str, status: str, failures: int
) -> None:
    relay.answers[step] = reply
    office.letters_wait("ann")

    office.drain()

    (job,) = (job for job in office.jobs() if job.username == "ann")
    assert (job.status, job.failures) == (status, failures)
    ((verdict, code),) = office.now("SELECT verdict, code FROM notify.email_attempts WHERE job_id = :id", id=job.id)[:1]
    assert verdict.split(":")[0] == {"dead": "dead", "pending": "retry" if failures else "released"}[status]
    assert code == int(reply[:3])


def test_a_greylisted_email_waits_at_least_five_minutes(office: Office, relay: ScriptedRelay) -> None:
    relay.answers["RCPT"] = "450 4.7.1 greylisted"
    office.letters_wait("ann")

    office.drain()

    assert office.now("SELECT due_at - now() > interval '4 minutes 50 seconds' FROM jobs WHERE username = 'ann'") == [
        (True,)
    ]


def test_an_address_refused_for_good_gets_no_email_about_the_next_event(office: Office, relay: ScriptedRelay) -> None:
    relay.reply_by_recipient["ann@example.com"] = "550 5.1.1 no such user"
    office.letters_wait("ann", "bob")
    office.drain()

    following = {job.username: (job.status, job.outcome_reason) for job in office.letters_wait("ann", "bob", key="k2")}

    assert following["ann"] == ("skipped", "no_address")
    assert following["bob"] == ("pending", None)


def test_a_drop_after_the_final_dot_repeats_the_email_under_the_same_message_id(
    office: Office, relay: ScriptedRelay
) -> None:
    relay.drop_at.add("DOT")
    office.letters_wait("ann")
    office.drain()
    relay.drop_at.clear()
    office.now(MAKE_DUE)

    office.drain()

    first, second = relay.letters
    assert _message_id(first.content) == _message_id(second.content)
    assert office.tries() == [("sent", 2, 1)]
    assert office.now(STATS) == [("ambiguous", 1), ("retry", 1), ("sent", 1)]


def test_what_may_be_out_is_counted_although_its_budget_is_spent(office: Office, relay: ScriptedRelay) -> None:
    relay.drop_at.add("DOT")
    office.letters_wait("ann")
    office.now("UPDATE notify.work_items SET max_failures = 1 WHERE stage = 'deliver'")

    office.drain()

    assert office.now(STATS) == [("ambiguous", 1), ("dead", 1)]


def test_sessions_are_used_for_many_emails(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait(*many(60))

    office.drain()

    assert len(relay.letters) == 60
    assert relay.connections <= office.settings.smtp_sessions


def test_a_session_serves_the_next_drain_too(office: Office, relay: ScriptedRelay) -> None:
    with office.engine() as engine:
        for number in range(3):
            office.letters_wait("ann", key=f"k{number}", link=f"CL-{number}")
            assert engine.drain()["sent"] == 1

    assert (len(relay.letters), relay.connections) == (3, 1)


def test_a_person_who_mutes_after_the_fan_out_gets_no_email(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait("ann", "bob")
    office.now("INSERT INTO notify.user_notification_settings (username, enabled) VALUES ('ann', false)")

    assert office.drain()["skipped"] == 1

    assert [one.recipient for one in relay.letters] == ["bob@example.com"]
    assert {job.username: job.outcome_reason for job in office.jobs() if job.to_email} == {
        "ann": "muted_all",
        "bob": None,
    }


def test_an_email_goes_to_the_address_of_today(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait("ann")
    office.now("UPDATE notify.people SET email = 'new@example.com' WHERE username = 'ann'")

    office.drain()

    assert [one.recipient for one in relay.letters] == ["new@example.com"]
    assert [job.to_email for job in office.jobs() if job.username == "ann"] == ["new@example.com"]


def test_an_email_that_is_too_old_is_not_sent(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait("ann")
    office.now("UPDATE notify.email_jobs SET expires_at = now() WHERE username = 'ann'")

    office.drain()

    assert relay.letters == []
    assert [job.status for job in office.jobs() if job.username == "ann"] == ["expired"]


def test_without_mail_configured_nothing_is_claimed(database: Database) -> None:
    office = Office(database, None)
    office.letters_wait("ann")

    with office.engine() as engine:
        assert not engine.is_due()
        assert engine.drain()["claimed"] == 0

    assert [(job.status, job.attempt) for job in office.jobs() if job.username == "ann"] == [("pending", 0)]


def test_stopping_finishes_what_is_on_its_way_and_gives_back_the_rest(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"smtp_sessions": 1})
    office.letters_wait(*many(6))
    gate = relay.hold("DOT")
    with office.engine() as engine, ThreadPoolExecutor(2) as threads:
        draining = threads.submit(engine.drain)
        gate.wait_until_reached()
        stopping = threads.submit(engine.stop)
        until(lambda: _statuses(office).count("pending") == 4)
        gate.release()
        stopping.result(60)
        report = draining.result(60)

    assert (report["sent"], report["released"]) == (2, 4)
    assert len(relay.letters) == 2
    given_back = [job for job in office.jobs() if job.status == "pending"]
    assert {(job.attempt, job.failures, job.lapses) for job in given_back} == {(1, 0, 0)}
    assert office.drain()["sent"] == 4


def test_a_full_batch_calls_the_idle_workers_once(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"claim_size": 10})
    office.letters_wait(*many(35))
    office.doorbell.rings.clear()

    assert office.drain()["sent"] == 35

    assert office.doorbell.rings == ["deliver"]
    assert len(relay.letters) == 35


def test_a_drain_costs_few_statements_however_many_emails_it_sends(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait(*many(100))
    with statements(office.database) as sent:
        office.drain()
    assert len(relay.letters) == 100
    assert len(sent) < len(relay.letters)


def _statuses(office: Office) -> list[str]:
    return [job.status for job in office.jobs() if job.to_email]


def _message_id(content: bytes) -> bytes:
    return next(line[12:].strip() for line in content.split(b"\r\n") if line.lower().startswith(b"message-id: "))
