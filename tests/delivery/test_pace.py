"""A worker keeps to the relay's pace: half after "slower", gently after an outage, and around a silent domain."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from threading import Event, Semaphore
from time import monotonic

import pytest
from sqlalchemy import text

from notify.delivery.routes.pace import Pace
from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.race import blocked_session
from tests.support.smtp import TIMEOUT_SECONDS, ClientLine, ScriptedRelay
from tests.support.wait import until

SESSIONS = 8
PROBE_IS_DUE = "UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'"
BREAKER_STATE = "SELECT state, split_part(reason, ':', 1) FROM notify.endpoints"
AT_HOME = "UPDATE notify.people SET email = username || '@' || username || '.test'"
AT_SILENT = "UPDATE notify.people SET email = username || '@silent.test' WHERE username = ANY(:names)"
SLOWER = "451 4.7.1 rate limit exceeded, slow down"


@dataclass
class GatedRelay:
    """Takes emails when the test says so, and records how many are in flight."""

    relay: ScriptedRelay
    refused: int = 0
    seen: list[tuple[int, int]] = field(default_factory=list)
    permits: Semaphore = field(default_factory=lambda: Semaphore(0))

    def __post_init__(self) -> None:
        self.relay.answers.update(MAIL=self._look, DOT=self._take)

    @property
    def busy(self) -> int:
        """How many emails are in flight."""
        return self.relay.count("MAIL") - self.refused - len(self.relay.emails)

    def take(self, emails: int = 1) -> None:
        """Accept this many more."""
        self.permits.release(emails)

    def wait_for(self, busy: int) -> None:
        """Return when this many emails are in flight."""
        until(lambda: self.busy == busy)

    def _look(self, _: ClientLine) -> None:
        self.seen.append((self.busy, len(self.relay.emails)))

    def _take(self, _: ClientLine) -> None:
        assert self.permits.acquire(timeout=TIMEOUT_SECONDS)


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker with eight sessions."""
    return WorkerHarness(database, relay.url, {"smtp_sessions": SESSIONS})


def draining(harness: WorkerHarness, threads: ThreadPoolExecutor) -> "Future[dict[str, float]]":
    return threads.submit(harness.drain)


def test_after_an_outage_two_emails_go_first_and_one_more_with_each_success(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(20))
    harness.execute(AT_HOME)
    relay.answers["GREETING"] = "421 4.3.2 closed for today"
    for _ in range(5):
        harness.drain()
    del relay.answers["GREETING"]
    harness.execute(PROBE_IS_DUE)
    gated = GatedRelay(relay)

    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        for taken in range(10):
            gated.wait_for(min(2 + taken, SESSIONS))
            gated.take()
        gated.take(10)
        assert running.result(TIMEOUT_SECONDS)["sent"] == 20

    assert all(busy <= min(2 + taken, SESSIONS) for busy, taken in gated.seen)


def test_a_relay_that_says_slower_gets_half_as_many_emails_at_once_and_later_more_again(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(30))
    harness.execute(AT_HOME)
    relay.reply_by_recipient["person-0000@person-0000.test"] = SLOWER
    gated = GatedRelay(relay)
    everybody = relay.pause_at("RCPT")

    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        relay.wait_until(lambda: relay.count("RCPT") == SESSIONS)
        gated.seen.clear()
        gated.refused = 1
        everybody.release()
        relay.wait_until(lambda: relay.count("DOT") == SESSIONS - 1)
        until(lambda: harness.execute("SELECT 1 FROM notify.email_jobs WHERE last_code = 451"))  # the refusal was read
        for taken in range(1, 8):
            gated.take()
            relay.wait_for(taken)
            gated.wait_for(max(SESSIONS - 1 - taken, min(4 + taken, SESSIONS)))
        gated.take(30)
        report = running.result(TIMEOUT_SECONDS)

    assert (report["sent"], report["released"], report["retried"]) == (29, 1, 0)
    assert all(busy <= min(4 + taken, SESSIONS) for busy, taken in gated.seen)
    assert harness.execute("SELECT state FROM notify.endpoints WHERE state = 'open'") == []


def test_a_relay_whose_daily_limit_is_reached_is_left_alone_and_no_email_is_charged(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(60))
    harness.execute(AT_HOME)
    relay.answers["RCPT"] = SLOWER

    harness.drain()

    assert relay.count("RCPT") <= 8 + 4 + 2 + 1
    assert harness.execute(BREAKER_STATE) == [("open", "throttle")]
    assert {(job.status, job.failures) for job in harness.jobs() if job.to_email} == {("pending", 0)}


def test_the_next_drain_keeps_the_pace_of_the_last(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    relay.answers["RCPT"] = SLOWER
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        engine.drain()
        del relay.answers["RCPT"]
        harness.pending_emails(*usernames(20), key="k2", link="CL-2")
        harness.execute(AT_HOME)
        gated = GatedRelay(relay, refused=1)
        running = threads.submit(engine.drain)
        gated.wait_for(4)
        gated.take(30)
        assert running.result(TIMEOUT_SECONDS)["sent"] >= 20

    assert all(busy <= min(4 + taken, SESSIONS) for busy, taken in gated.seen)


def test_emails_in_flight_when_the_pace_was_halved_do_not_raise_it() -> None:
    pace = Pace(SESSIONS)
    set_out = monotonic()
    assert all(pace.throttled(begun=set_out) for _ in range(SESSIONS))
    assert pace.sessions == SESSIONS // 2
    assert pace.throttled(begun=monotonic())
    assert pace.sessions == SESSIONS // 4


def test_a_relay_that_says_slower_to_a_single_email_cannot_be_asked_any_slower() -> None:
    pace = Pace(1)
    assert not pace.throttled(begun=monotonic())


def silence(relay: ScriptedRelay) -> Event:
    """Nobody at ``silent.test`` is answered until this is set."""
    answer = Event()

    def wait(said: ClientLine) -> None:
        if "@silent.test" in said.line:
            assert answer.wait(TIMEOUT_SECONDS)

    relay.answers["RCPT"] = wait
    return answer


def others_arrive(relay: ScriptedRelay, count: int) -> Callable[[], bool]:
    """Whether this many emails to other domains have arrived."""
    return lambda: sum("@silent.test" not in one.recipient for one in relay.emails) == count


def test_a_silent_domain_delays_no_other(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails(*usernames(40))
    harness.execute(AT_SILENT, names=usernames(30))
    answer = silence(relay)

    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        relay.wait_until(others_arrive(relay, 10))
        assert len(relay.emails) == 10
        answer.set()
        assert running.result(TIMEOUT_SECONDS)["sent"] == 40


@pytest.mark.parametrize("drain_seconds", [20, 0.3])
def test_emails_that_come_due_while_a_domain_is_silent_arrive_meanwhile(
    database: Database, relay: ScriptedRelay, drain_seconds: float
) -> None:
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": SESSIONS, "drain_seconds": drain_seconds})
    harness.pending_emails(*usernames(20))
    harness.execute(AT_SILENT, names=usernames(20))
    answer = silence(relay)

    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        relay.wait_until(lambda: relay.count("RCPT") == SESSIONS - 1)
        its_time_is_up = monotonic() + drain_seconds if drain_seconds < 1 else 0
        until(lambda: monotonic() > its_time_is_up)
        harness.pending_emails("ann", "bob", "cy", key="k2", link="CL-2")
        relay.wait_until(others_arrive(relay, 3))
        assert len(relay.emails) == 3
        answer.set()
        assert running.result(TIMEOUT_SECONDS)["sent"] == 23


def test_emails_that_come_due_arrive_although_all_that_the_drain_claimed_is_scheduled_for_later(
    database: Database, relay: ScriptedRelay
) -> None:
    drain_seconds = 0.3
    harness = WorkerHarness(database, relay.url, {"smtp_sessions": SESSIONS, "drain_seconds": drain_seconds})
    harness.pending_emails(*usernames(20))
    harness.execute(AT_SILENT, names=usernames(20))
    answer, greeting = silence(relay), relay.pause_at("GREETING")

    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        greeting.wait_until_reached()
        with database.begin() as another:
            another.execute(text("LOCK TABLE notify.email_jobs IN ACCESS EXCLUSIVE MODE"))
            greeting.release()
            blocked_session(database)
            its_time_is_up = monotonic() + drain_seconds
            until(lambda: monotonic() > its_time_is_up)
        relay.wait_until(lambda: relay.count("RCPT") == SESSIONS - 1)
        harness.pending_emails("ann", "bob", "cy", key="k2", link="CL-2")
        relay.wait_until(others_arrive(relay, 3), timeout=20)
        answer.set()
        assert running.result(TIMEOUT_SECONDS)["sent"] == 23


def test_a_relay_whose_greeting_takes_longer_than_a_drain_is_still_used(
    database: Database, relay: ScriptedRelay
) -> None:
    drain_seconds = 0.3
    harness = WorkerHarness(database, relay.url, {"drain_seconds": drain_seconds})
    harness.pending_emails("ann")
    greeting = relay.pause_at("GREETING")
    with ThreadPoolExecutor(1) as threads:
        running = draining(harness, threads)
        greeting.wait_until_reached()
        its_time_is_up = monotonic() + drain_seconds
        until(lambda: monotonic() > its_time_is_up)
        greeting.release()

        assert running.result(TIMEOUT_SECONDS)["sent"] == 1


def test_a_caller_is_not_blocked_by_a_silent_domain(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails("ann")
    harness.execute(AT_SILENT, names=["ann"])
    answer = silence(relay)
    with harness.engine() as engine, ThreadPoolExecutor(1) as threads:
        running = threads.submit(engine.drain)
        relay.wait_until(lambda: relay.count("RCPT") == 1)
        assert engine.drain()["claimed"] == 0
        assert not running.done()
        answer.set()
        assert running.result(TIMEOUT_SECONDS)["sent"] == 1
