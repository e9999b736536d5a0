"""An ordinary Postfix as the relay: its refusals about us cost no email anything."""

from pathlib import Path

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.postfix import needs_postfix, passwords, postfix
from tests.support.smtp import Certificate, ScriptedRelay

pytestmark = needs_postfix

TRUSTED = "127.0.0.0/8"
ENDINGS = "SELECT status, failures, count(*) FROM jobs WHERE status <> 'skipped' GROUP BY 1, 2"
BREAKERS = "SELECT endpoint, state, reason FROM notify.endpoints"
TIME_PASSES = """
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open';
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8
"""


def test_emails_through_a_real_postfix_arrive(database: Database, relay: ScriptedRelay) -> None:
    with postfix(mynetworks=TRUSTED, default_transport=f"smtp:[127.0.0.1]:{relay.port}") as mta:
        harness = WorkerHarness(database, mta.url)
        harness.pending_emails(*usernames(20))

        assert harness.drain()["sent"] == 20
        relay.wait_for(20)

    assert {one.recipient for one in relay.emails} == {f"{name}@example.com" for name in usernames(20)}


def test_a_postfix_that_does_not_relay_for_us_kills_no_email(database: Database) -> None:
    with postfix() as mta:
        harness = WorkerHarness(database, mta.url)
        harness.pending_emails(*usernames(20))
        report = harness.drain()

        assert "Relay access denied" in mta.log
        assert (report["sent"], report["retried"], report["dead"]) == (0, 0, 0)
        assert harness.execute(ENDINGS) == [("pending", 0, 20)]
        assert harness.execute(BREAKERS) == [(mta.name, "open", "configuration: relaying_denied")]

        mta.change(mynetworks=TRUSTED)
        harness.execute(TIME_PASSES)
        assert harness.drain()["sent"] == 20


@pytest.mark.parametrize("user", ["notify", None], ids=["another's", "not logged in"])
def test_a_postfix_that_gives_our_sender_to_another_user_kills_no_email(
    database: Database, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, user: str | None
) -> None:
    trusted = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(trusted.file))
    with (
        passwords({"notify": "right"}) as asked,
        postfix(
            **asked,
            mynetworks=TRUSTED,
            smtpd_tls_chain_files=str(trusted.file),
            smtpd_tls_security_level="may",
            smtpd_sender_login_maps="inline:{{notify@example.com = somebody}}",
            smtpd_sender_restrictions="reject_sender_login_mismatch",
        ) as mta,
    ):
        url = mta.url if user is None else mta.url.replace("//", f"//{user}:right@") + "?starttls=required"
        harness = WorkerHarness(database, url, {"smtp_fallback_urls": relay.url})
        harness.pending_emails(*usernames(20))
        sent = harness.drain()["sent"]
        harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8")
        sent += harness.drain()["sent"]

        assert "Sender address rejected: not" in mta.log
        assert harness.execute(BREAKERS) == [(mta.name, "open", "configuration: sender_refused")]
    assert sent == len(relay.emails) == 20
    assert harness.execute(ENDINGS) == [("sent", 0, 20)]
