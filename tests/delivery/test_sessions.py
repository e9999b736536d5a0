"""A relay that allows few sessions: emails wait, none is charged, and a cap holds for all workers together."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest

from notify.delivery.routes.pace import Pace
from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import DOT, EHLO, GREETING, MAIL, RCPT, TIMEOUT_SECONDS, ClientLine, ScriptedRelay
from tests.support.wait import until

LIMIT = 3
CROWDED = "432 4.3.2 STOREDRV.ClientSubmit; sender thread limit exceeded"
DUE_AGAIN = """
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8;
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'
"""
AT_HOME = "UPDATE notify.people SET email = username || '@' || username || '.test'"
SHARES = "SELECT coalesce(sum(sessions), 0) FROM notify.relay_shares WHERE until > now()"
ENDINGS = "SELECT DISTINCT status, failures FROM jobs WHERE message_id IS NOT NULL"


@dataclass
class SessionLimit:
    """Counts a relay's sessions, and refuses at one step while there are more than *most*."""

    relay: ScriptedRelay
    step: str | None = None
    most: int = 0
    refused: list[ClientLine] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.relay.answers[EHLO] = self._count
        if self.step:
            self.relay.answers[self.step] = self._refuse

    def _count(self, _: ClientLine) -> None:
        self.most = max(self.most, self.relay.open_connections)

    def _refuse(self, said: ClientLine) -> str | None:
        if self.relay.open_connections <= LIMIT:
            return None
        self.refused.append(said)
        return CROWDED


@pytest.mark.parametrize("step", [MAIL, RCPT, DOT])
def test_a_relay_that_refuses_a_fourth_session_gets_all_emails_and_none_is_charged(
    database: Database, relay: ScriptedRelay, step: str
) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails(*usernames(60))
    harness.execute(AT_HOME)
    crowd = SessionLimit(relay, step)
    with harness.engine() as engine:
        while engine.drain()["claimed"]:
            harness.execute(DUE_AGAIN)

    assert len(relay.emails) == 60
    assert harness.execute(ENDINGS) == [("sent", 0)]
    # Eight sessions, each with one email in flight and one pipelined behind it, and a few meanwhile.
    assert 0 < len(crowd.refused) <= 2 * 8 + 4


def test_a_greeting_that_refuses_too_many_sessions_charges_no_email(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails(*usernames(40))
    harness.execute(AT_HOME)
    relay.answers[GREETING] = lambda _: (
        "421 4.7.0 relay.test Error: too many connections from 127.0.0.1" if relay.open_connections > LIMIT else None
    )
    for _ in range(20):
        if harness.execute(ENDINGS) == [("sent", 0)]:
            break
        harness.drain()
        harness.execute(DUE_AGAIN)

    assert harness.execute(ENDINGS) == [("sent", 0)]
    assert len(relay.emails) == 40


def test_a_configured_session_cap_is_never_exceeded(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, f"{relay.url}?fleet_sessions={LIMIT}")
    crowd = SessionLimit(relay, DOT)
    for number in range(3):
        harness.pending_emails(*usernames(20), key=f"k{number}", link=f"CL-{number}")
        harness.execute(AT_HOME)
        harness.drain()

    assert len(relay.emails) == 60
    assert (crowd.most, crowd.refused) == (LIMIT, [])
    assert harness.execute(SHARES) == [(0,)]


def test_two_workers_never_exceed_the_session_cap_together(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, f"{relay.url}?fleet_sessions=4", {"claim_size": 20})
    crowd = SessionLimit(relay)
    harness.pending_emails(*usernames(100))
    harness.execute(AT_HOME)
    everybody = relay.pause_at(RCPT)
    with harness.engine() as first, harness.engine() as second, ThreadPoolExecutor(2) as threads:
        running = [threads.submit(first.drain)]
        relay.wait_until(lambda: relay.count(RCPT) == 4)
        assert (
            second.drain()["claimed"] == 0
        )  # all four belong to the first worker, which is asked to share from now on
        everybody.release()
        running.append(threads.submit(second.drain))
        assert sum(one.result(TIMEOUT_SECONDS)["sent"] for one in running) == 100
        harness.pending_emails(*usernames(20), key="k2", link="CL-2")
        until(lambda: second.drain()["claimed"] or harness.execute(ENDINGS) == [("sent", 0)])

    assert len(relay.emails) == 120
    assert crowd.most == 4
    assert harness.execute(ENDINGS) == [("sent", 0)]


def test_a_session_that_one_worker_does_not_need_goes_to_another_while_both_work(
    database: Database, relay: ScriptedRelay
) -> None:
    harness = WorkerHarness(database, f"{relay.url}?fleet_sessions=4", {"claim_size": 8})
    harness.pending_emails(*usernames(40))
    harness.execute(AT_HOME)
    gate = relay.pause_at(DOT)
    with harness.engine() as first, harness.engine() as second, ThreadPoolExecutor(2) as threads:
        running = threads.submit(first.drain)
        relay.wait_until(lambda: relay.count(DOT) == 4)
        assert second.drain()["claimed"] == 0
        gate.release()
        running.result(TIMEOUT_SECONDS)
        until(lambda: second.drain()["claimed"] or harness.execute(ENDINGS) == [("sent", 0)])
        harness.pending_emails(*usernames(4), key="k2", link="CL-2")
        until(lambda: second.drain()["sent"] == 4)

    assert len(relay.emails) == 44


def test_a_session_share_that_nobody_claims_any_more_becomes_free(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, f"{relay.url}?fleet_sessions=4")
    harness.execute(
        "INSERT INTO notify.relay_shares VALUES (:relay, gen_random_uuid(), 8, 4, now() + interval '15 seconds')",
        relay=relay.url.removeprefix("smtp://"),
    )
    harness.pending_emails("ann")
    assert (harness.drain()["claimed"], relay.connections) == (0, 0)

    harness.execute("UPDATE notify.relay_shares SET until = now()")

    assert harness.drain()["sent"] == 1
    assert harness.execute("SELECT * FROM notify.relay_shares") == []


def test_emails_wait_for_the_fleets_sessions_and_do_not_go_over_the_next_relay(
    database: Database, relay: ScriptedRelay
) -> None:
    with ScriptedRelay() as second:
        harness = WorkerHarness(database, f"{relay.url}?fleet_sessions=1", {"smtp_fallback_urls": second.url})
        harness.execute(
            "INSERT INTO notify.relay_shares VALUES (:relay, gen_random_uuid(), 8, 1, now() + interval '15 seconds')",
            relay=relay.url.removeprefix("smtp://"),
        )
        harness.pending_emails("ann")

        assert (harness.drain()["claimed"], relay.connections, second.connections) == (0, 0, 0)


def test_a_number_of_sessions_that_was_refused_is_not_tried_again_at_once() -> None:
    pace = Pace(8)
    assert pace.throttled(begun=float("inf"), crowded=True)
    assert [pace.taken() for _ in range(9)] == [True] * 3 + [False] * 6
    assert pace.sessions == 7
