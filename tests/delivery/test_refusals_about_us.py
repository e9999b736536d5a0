"""A refusal that concerns us, not an email or its reader: no email is charged or dead, and the next relay is tried."""

from collections.abc import Callable, Iterator

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import DATA, DOT, EXTENSIONS, RCPT, ClientLine, ScriptedRelay

TIME_PASSES = """
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open';
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8
"""
DUE_AGAIN = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8"
BREAKERS = "SELECT state, reason, cardinality(suspects) FROM notify.endpoints"
NOT_OWNED = "553 5.7.1 <notify@example.com>: Sender address rejected: not owned by user notify"
NOT_RELAYED = "554 5.7.1 <ann@example.com>: Relay access denied"
NOT_VERIFIED = "554 Message rejected: Email address is not verified."
POLICY = "554 5.7.1 not today"


@pytest.fixture
def second() -> Iterator[ScriptedRelay]:
    """The fallback relay."""
    with ScriptedRelay() as scripted:
        yield scripted


@pytest.fixture(params=[EXTENSIONS, EXTENSIONS[1:]], ids=["pipelining", "in turn"])
def relay(request: pytest.FixtureRequest) -> Iterator[ScriptedRelay]:
    """One relay that offers PIPELINING and one that does not."""
    with ScriptedRelay(extensions=request.param) as scripted:
        yield scripted


@pytest.mark.parametrize(
    ("step", "reply", "reason"),
    [
        (RCPT, NOT_OWNED, "sender_refused"),
        (RCPT, NOT_RELAYED, "relaying_denied"),
        (DATA, "550 5.7.60 SMTP; Client does not have permissions to send as this sender", "sender_refused"),
        (DOT, NOT_VERIFIED, "sender_refused"),
        (DOT, "554 5.2.252 SendAsDenied; not allowed to send as", "sender_refused"),
    ],
)
def test_a_refusal_about_us_costs_no_email_anything_and_the_next_relay_takes_them_all(
    database: Database, relay: ScriptedRelay, second: ScriptedRelay, step: str, reply: str, reason: str
) -> None:
    relay.answers[step] = reply
    harness = WorkerHarness(database, relay.url, {"smtp_fallback_urls": second.url})
    harness.pending_emails(*usernames(20))

    sent = harness.drain()["sent"]
    harness.execute(DUE_AGAIN)
    sent += harness.drain()["sent"]

    assert (sent, len(second.emails), relay.emails) == (20, 20, [])
    assert endings(harness) == {("sent", 0)}
    assert harness.execute(BREAKERS) == [("open", f"configuration: {reason}", 0)]


def test_once_the_relay_accepts_us_again_all_waiting_emails_arrive(database: Database, relay: ScriptedRelay) -> None:
    relay.answers[RCPT] = NOT_OWNED
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails(*usernames(20))
    for _ in range(5):
        report = harness.drain()
        assert (report["retried"], report["dead"]) == (0, 0)
        harness.execute(TIME_PASSES)
    assert endings(harness) == {("pending", 0)}

    relay.answers.clear()

    assert harness.drain()["sent"] == len(relay.emails) == 20
    assert endings(harness) == {("sent", 0)}


def test_a_recipient_refused_for_policy_gets_three_attempts_while_others_get_their_emails(
    database: Database, relay: ScriptedRelay
) -> None:
    relay.reply_by_recipient["ann@example.com"] = POLICY
    harness = WorkerHarness(database, relay.url)
    statuses = []
    for number in range(3):
        harness.pending_emails("ann", "bob", key=f"k{number}", link=f"CL-{number}")
        harness.drain()
        statuses.append(state_of(harness, "ann"))
        harness.execute(TIME_PASSES)

    assert statuses == [("pending", 1), ("pending", 2), ("dead", 3)]
    assert [one.recipient for one in relay.emails] == ["bob@example.com"] * 3
    assert {state for state, _, _ in harness.execute(BREAKERS)} == {"closed"}


@pytest.mark.parametrize("step", [RCPT, DATA, DOT])
def test_three_recipients_in_a_row_refused_for_policy_are_treated_as_a_refusal_of_us(
    database: Database, relay: ScriptedRelay, step: str
) -> None:
    relay.answers[step] = POLICY
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(20))
    for _ in range(5):
        harness.drain()
        assert harness.execute(BREAKERS) == [("open", "configuration: policy", 3)]
        harness.execute(TIME_PASSES)
    charged = sorted(failures for _, failures in (state_of(harness, name) for name in usernames(20)))
    assert charged == [0] * 18 + [1] * 2

    relay.answers.clear()

    assert harness.drain()["sent"] == 20
    assert harness.execute(BREAKERS) == [("closed", "configuration: policy", 0)]


@pytest.mark.parametrize(("step", "reply"), [(RCPT, "550 5.3.4 too big"), (DOT, "552 5.3.4 message file too big")])
def test_an_unannounced_size_limit_kills_no_ordinary_email(
    database: Database, relay: ScriptedRelay, step: str, reply: str
) -> None:
    relay.extensions = tuple(one for one in relay.extensions if not one.startswith("SIZE"))
    relay.answers[step] = reply
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(20))
    for _ in range(5):
        harness.drain()
        assert harness.execute(BREAKERS) == [("open", "configuration: oversize", 3)]
        harness.execute(TIME_PASSES)

    relay.answers.clear()

    assert harness.drain()["sent"] == 20


def test_a_mailbox_that_refuses_an_email_for_its_size_does_not_open_the_breaker(
    database: Database, relay: ScriptedRelay
) -> None:
    relay.reply_by_recipient = {f"{name}@example.com": "552 5.2.3 too large for this mailbox" for name in usernames(4)}
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(6))

    harness.drain()

    assert endings(harness) == {("dead", 0), ("sent", 0)}


def test_an_accepted_email_in_between_resets_the_count_of_refused_recipients(
    database: Database, relay: ScriptedRelay
) -> None:
    refused = {f"person-{number:04}@example.com" for number in range(20) if number % 3}
    relay.answers[RCPT] = policy_for(refused)
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": 1})
    harness.pending_emails(*usernames(20))

    harness.drain()

    assert endings(harness) == {("sent", 0), ("pending", 1)}
    assert {state for state, _, _ in harness.execute(BREAKERS)} == {"closed"}


def test_refused_recipients_are_counted_across_workers(database: Database, relay: ScriptedRelay) -> None:
    relay.answers[RCPT] = POLICY
    harness = WorkerHarness(database, relay.url)
    for name in ("ann", "bob", "cid"):
        assert harness.execute("SELECT 1 FROM notify.endpoints WHERE state = 'open'") == []
        harness.pending_emails(name, key=name, link=f"CL-{name}")
        harness.drain()  # one worker each

    assert [state_of(harness, name) for name in ("ann", "bob", "cid")] == [
        ("pending", 1),
        ("pending", 1),
        ("pending", 0),
    ]
    assert harness.execute(BREAKERS) == [("open", "configuration: policy", 3)]


def test_a_refusal_about_us_marks_no_address_as_undeliverable(database: Database, relay: ScriptedRelay) -> None:
    relay.answers[RCPT] = "553 5.1.1 Sorry, that domain isn't in my list of allowed rcpthosts."
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    harness.drain()

    assert harness.execute("SELECT undeliverable_at FROM notify.people") == [(None,)]
    assert endings(harness) == {("pending", 0)}


def policy_for(recipients: set[str]) -> Callable[[ClientLine], str | None]:
    return lambda said: POLICY if said.line.partition("<")[2].partition(">")[0] in recipients else None


def endings(harness: WorkerHarness) -> set[tuple[str, int]]:
    """The statuses of all emails, with their failures."""
    rows = harness.execute("SELECT DISTINCT status, failures FROM jobs WHERE message_id IS NOT NULL")
    return {(status, failures) for status, failures in rows}


def state_of(harness: WorkerHarness, username: str) -> tuple[str, int]:
    """The status and failures of this person's first email."""
    statement = """
        SELECT status, failures FROM jobs
         WHERE username = :username AND message_id IS NOT NULL ORDER BY id LIMIT 1
    """
    ((status, failures),) = harness.execute(statement, username=username)
    return status, failures
