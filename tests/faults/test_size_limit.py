"""A real Postfix whose size limit is below an ordinary email."""

import asyncio

from notify.channels.email.smtp.relay import Relay
from notify.channels.email.smtp.relay_check import check_relay
from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.postfix import needs_postfix, postfix

pytestmark = needs_postfix

TIME_PASSES = """
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open';
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8
"""


def test_a_postfix_that_announces_too_low_a_size_limit_is_detected_and_kills_no_email(
    database: Database,
) -> None:
    with postfix(mynetworks="127.0.0.0/8", message_size_limit="3000") as mta:
        examined = asyncio.run(check_relay(Relay.from_url(mta.url)))
        assert examined.refused is not None
        assert examined.refused.reason == "size_limit"
        harness = WorkerHarness(database, mta.url)
        harness.pending_emails(*usernames(20))

        assert harness.drain()["claimed"] == 0

        assert {(job.status, job.failures) for job in harness.jobs() if job.to_email} == {("pending", 0)}
        assert harness.execute("SELECT state, reason FROM notify.endpoints") == [("open", "configuration: size_limit")]
        mta.change(message_size_limit="10240000")
        harness.execute(TIME_PASSES)
        assert harness.drain()["sent"] == 20


def test_a_postfix_that_does_not_announce_its_size_limit_kills_no_ordinary_email_either(database: Database) -> None:
    hidden = {"message_size_limit": "3000", "smtpd_discard_ehlo_keywords": "size"}
    with postfix(mynetworks="127.0.0.0/8", **hidden) as mta:
        harness = WorkerHarness(database, mta.url)
        harness.pending_emails(*usernames(20))

        harness.drain()

        assert {job.status for job in harness.jobs() if job.to_email} == {"pending"}
        assert harness.execute("SELECT state, reason FROM notify.endpoints") == [("open", "configuration: oversize")]
        mta.change(message_size_limit="10240000")
        harness.execute(TIME_PASSES)
        assert harness.drain()["sent"] == 20
