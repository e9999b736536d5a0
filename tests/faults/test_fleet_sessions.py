"""Worker processes share a relay's few sessions, and one of them is killed."""

from collections.abc import Mapping
from pathlib import Path

from notify.store.database import Database
from tests.support.bare_worker import bare_worker
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import DOT, EHLO, ClientLine, ScriptedRelay
from tests.support.wait import until

CAP = 4
AT_HOME = "UPDATE notify.people SET email = username || '@' || username || '.test'"
SHARES = "SELECT sessions FROM notify.relay_shares WHERE until > now() ORDER BY sessions"
OPEN = "SELECT count(*) FROM notify.email_jobs WHERE status = 'pending'"
# The killed process does not renew its share; the test only brings its end forward.
TIME_PASSES = """
    UPDATE notify.relay_shares SET until = now() WHERE until < now() + interval '13 seconds';
    UPDATE notify.work_items SET due_at = now() WHERE lane = 8 AND due_at < now() + interval '58 seconds'
"""


def test_processes_share_a_session_cap_and_take_over_the_sessions_of_a_killed_one(
    database: Database, environment: Mapping[str, str], relay: ScriptedRelay, tmp_path: Path
) -> None:
    harness = WorkerHarness(database, relay.url)
    for number in range(4):
        harness.pending_emails(*usernames(20), key=f"k{number}", link=f"CL-{number}")
    harness.execute(AT_HOME)
    open_sessions: list[int] = []

    def count(_: ClientLine) -> None:
        open_sessions.append(relay.open_connections)

    relay.answers[EHLO] = count
    gate = relay.pause_at(DOT)
    settings = {
        **environment,
        "NOTIFY_SMTP_URL": f"{relay.url}?fleet_sessions={CAP}",
        "NOTIFY_SWEEP_SECONDS": "0.2",
        "NOTIFY_CLAIM_SIZE": "5",
        "NOTIFY_LEASE_SECONDS": "60",
    }
    with bare_worker(settings, tmp_path / "one.log") as first, bare_worker(settings, tmp_path / "two.log"):
        relay.wait_until(lambda: relay.count(DOT) == CAP)
        until(lambda: len(harness.execute(SHARES)) == 2)
        gate.release()
        until(lambda: harness.execute(SHARES) == [(CAP // 2,), (CAP // 2,)] or harness.execute(OPEN) == [(0,)])
        first.kill()

        def all_ended() -> bool:
            harness.execute(TIME_PASSES)
            return harness.execute(OPEN) == [(0,)]

        until(all_ended, seconds=60)

    assert max(open_sessions) == CAP
    assert {one.recipient for one in relay.emails} == {f"{name}@{name}.test" for name in usernames(20)}
    assert harness.execute("SELECT DISTINCT status, failures FROM jobs WHERE status <> 'skipped'") == [("sent", 0)]
