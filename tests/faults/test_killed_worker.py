"""A worker killed during a drain strands no email and repeats no more than it had in flight."""

import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from notify.delivery.recorder import MOST_ROWS
from notify.store.database import Database
from tests.support import fork_server
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import Received, ScriptedRelay
from tests.support.wait import until
from tests.support.worker import worker

EVENTS, PEOPLE = 50, 20
EMAILS = EVENTS * PEOPLE
SESSIONS = 8
OPEN = "SELECT count(*) FROM notify.email_jobs WHERE status = 'pending'"
BY_STATUS = "SELECT status, count(*) FROM notify.email_jobs GROUP BY status"


def test_all_emails_arrive_although_a_process_is_killed_while_it_sends(
    database: Database,
    environment: Mapping[str, str],
    relay: ScriptedRelay,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    harness = WorkerHarness(database, relay.url)
    for number in range(EVENTS):
        harness.pending_emails(*usernames(PEOPLE), key=f"event-{number}", link=f"CL-{number}")
    expected = {name for (name,) in harness.execute("SELECT message_id FROM notify.email_jobs")}
    assert len(expected) == EMAILS
    changed = {"NOTIFY_SMTP_URL": relay.url, "NOTIFY_LEASE_SECONDS": "3", "NOTIFY_SMTP_SESSIONS": str(SESSIONS)}

    with worker({**environment, **changed}, tmp_path, start=fork_server.start) as running:
        relay.wait_for(EMAILS // 5, timeout=60)
        running.kill_one_child()
        killed_at = len(relay.emails)
        until(lambda: harness.execute(OPEN) == [(0,)], seconds=120)

    arrived = Counter(message_id(email) for email in relay.emails)
    repeats = arrived.total() - len(arrived)
    lapsed, most = harness.execute("SELECT count(*), max(lapses) FROM jobs WHERE lapses > 0")[0]
    with capsys.disabled():
        sys.stdout.write(
            f"\nkilled after {killed_at} of {EMAILS}: {repeats} repeated, {lapsed} lapsed, at most {most} times\n"
        )
    assert killed_at < EMAILS
    assert set(arrived) == expected
    assert harness.execute(BY_STATUS) == [("sent", EMAILS)]
    assert repeats <= SESSIONS + MOST_ROWS


def message_id(email: Received) -> str:
    """The email's Message-ID without brackets."""
    lines = email.content.split(b"\r\n\r\n", 1)[0].split(b"\r\n")
    return next(line[11:].strip(b" <>").decode() for line in lines if line.lower().startswith(b"message-id:"))
