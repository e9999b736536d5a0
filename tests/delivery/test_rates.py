"""Relays and domains get emails at their rates, over all workers, and other emails are not delayed."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from notify.store.database import Database
from tests.support.harness import WorkerHarness, usernames
from tests.support.smtp import ScriptedRelay
from tests.support.wire import header

# One in a hundred seconds, after two at once: no test lasts that long.
SLOW = 0.01
EACH = 100
AT_ONCE = 2
TIME_PASSES = """
    UPDATE notify.rate_buckets SET spent_until = spent_until - make_interval(secs => :seconds),
        queued_until = queued_until - make_interval(secs => :seconds);
"""
EMAILS_COME_CLOSER = """
    UPDATE notify.work_items SET due_at = due_at - make_interval(secs => :seconds) WHERE lane < 8
"""
AT_SLOW = "UPDATE notify.people SET email = username || '@' || :domain WHERE username = ANY(:names)"
EMPTY = """
    INSERT INTO notify.rate_buckets VALUES (:bucket, now() + interval '1 day', now())
    ON CONFLICT (bucket) DO UPDATE SET spent_until = excluded.spent_until
"""
WAITING = """
    SELECT username, extract(epoch FROM due_at - now())::int AS seconds FROM jobs
    WHERE status = 'pending' ORDER BY due_at, id
"""
ATTEMPTS = "SELECT count(*) FROM notify.email_attempts"


def slow(relay: ScriptedRelay) -> str:
    return f"{relay.url}?per_second={SLOW}"


def pass_time(harness: WorkerHarness, seconds: int) -> None:
    harness.execute(TIME_PASSES, seconds=seconds)
    harness.execute(EMAILS_COME_CLOSER, seconds=seconds)


def states(harness: WorkerHarness, key: str = "k1") -> Counter[tuple[str, int, int]]:
    return Counter(harness.attempts(key))


def domains(relay: ScriptedRelay) -> Counter[str]:
    """How many emails arrived, by domain."""
    return Counter(one.recipient.rpartition("@")[2] for one in relay.emails)


def test_no_more_emails_are_claimed_than_the_relays_rate_allows(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, slow(relay))
    harness.pending_emails(*usernames(10))

    assert [harness.drain()["sent"] for _ in range(3)] == [AT_ONCE, 0, 0]
    assert states(harness) == {("sent", 1, 0): AT_ONCE, ("pending", 0, 0): 10 - AT_ONCE}

    pass_time(harness, EACH)
    assert [harness.drain()["sent"] for _ in range(2)] == [1, 0]
    pass_time(harness, 100 * EACH)
    assert [harness.drain()["sent"] for _ in range(2)] == [AT_ONCE, 0]
    assert len(relay.emails) == 2 * AT_ONCE + 1


def test_concurrent_workers_share_one_rate(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, slow(relay))
    harness.pending_emails(*usernames(30))

    with ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(lambda _: harness.drain(), range(3)))

    assert sum(report["sent"] for report in reports) == len(relay.emails) == AT_ONCE


def test_tokens_drawn_for_more_emails_than_there_are_are_returned(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, slow(relay))
    harness.pending_emails("ann")
    assert harness.drain()["sent"] == 1
    harness.pending_emails("bob", key="k2", link="CL-2")

    assert harness.drain()["sent"] == 1


def test_a_drain_waits_for_a_token_that_is_available_soon(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, f"{relay.url}?per_second=2")
    harness.pending_emails(*usernames(5))

    assert harness.drain()["sent"] == 5


def test_a_relay_at_its_rate_is_not_treated_as_down_and_the_next_relay_gets_nothing(
    database: Database, relay: ScriptedRelay
) -> None:
    with ScriptedRelay() as second:
        harness = WorkerHarness(database, slow(relay), {"smtp_fallback_urls": second.url})
        harness.pending_emails(*usernames(10))
        harness.drain()

        assert (len(relay.emails), second.connections) == (AT_ONCE, 0)


def test_each_relay_has_its_own_rate(database: Database, relay: ScriptedRelay) -> None:
    with ScriptedRelay() as second:
        harness = WorkerHarness(database, slow(relay), {"smtp_fallback_urls": slow(second)})
        harness.pending_emails(*usernames(10))
        harness.drain()
        relay.answers["GREETING"] = "421 4.3.2 closed"
        harness.drain()
        harness.drain()

        assert (len(relay.emails), len(second.emails)) == (AT_ONCE, AT_ONCE)


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker with small claims and one slow domain."""
    return WorkerHarness(database, relay.url, {"domain_rates": f"slow.test={SLOW} *.slow.test={SLOW}", "claim_size": 5})


def test_emails_to_a_rate_limited_domain_wait_while_others_pass_them(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    harness.pending_emails(*usernames(23))
    harness.execute(AT_SLOW, names=usernames(20), domain="slow.test")

    report = harness.drain()

    assert report["sent"] == AT_ONCE + 3
    assert domains(relay) == {"slow.test": AT_ONCE, "example.com": 3}
    assert states(harness) == {("sent", 1, 0): AT_ONCE + 3, ("pending", 1, 0): 20 - AT_ONCE}
    assert harness.execute(ATTEMPTS) == [(0,)]


def test_delayed_emails_keep_their_order(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails(*usernames(12))
    harness.execute(AT_SLOW, names=usernames(12), domain="slow.test")
    harness.drain()

    waiting = harness.execute(WAITING)
    assert [row.username for row in waiting] == usernames(12)[AT_ONCE:]
    assert all(abs(row.seconds - EACH * turn) < EACH / 2 for turn, row in enumerate(waiting, start=1))

    for turn in range(1, 4):
        pass_time(harness, EACH)
        assert harness.drain()["sent"] == 1
        assert relay.emails[-1].recipient == f"{usernames(12)[AT_ONCE + turn - 1]}@slow.test"


def test_domains_of_one_name_share_a_rate_and_no_others_do(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.pending_emails(*usernames(10))
    harness.execute(AT_SLOW, names=usernames(4), domain="a.slow.test")
    harness.execute(AT_SLOW, names=usernames(8)[4:], domain="B.Slow.test")
    harness.execute(AT_SLOW, names=usernames(10)[8:], domain="notslow.test")

    harness.drain()

    found = domains(relay)
    assert found["a.slow.test"] + found["B.Slow.test"] == AT_ONCE
    assert found["notslow.test"] == 2


def test_a_required_email_goes_next_however_many_wait(harness: WorkerHarness) -> None:
    harness.pending_emails(*usernames(9))
    harness.execute(AT_SLOW, names=usernames(9), domain="slow.test")
    harness.drain()
    harness.execute(
        "UPDATE notify.notification_event_types SET system_required = true WHERE code = 'cl.comment.created'"
    )
    harness.pending_emails("person-0008", key="k2", link="CL-2")
    harness.execute(AT_SLOW, names=usernames(9), domain="slow.test")
    harness.drain()

    ((seconds,),) = harness.execute(
        "SELECT extract(epoch FROM j.due_at - now())::int FROM jobs j JOIN notify.events e"
        " ON e.id = j.event_id WHERE e.key = 'k2' AND j.username = 'person-0008'"
    )
    assert abs(seconds - EACH) < EACH / 2


def test_a_bundle_is_delayed_and_sent_as_a_whole(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url, {"domain_rates": f"example.com={SLOW}", "bundle_seconds": 180})
    for number in range(4):
        harness.pending_emails("ann", key=f"k{number}")
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE lane < 8 AND due_at < now() + interval '1 hour'")
    harness.execute(EMPTY, bucket="domain example.com")

    assert harness.drain()["sent"] == 0
    rows = harness.execute(
        "SELECT status, count(DISTINCT id), count(*) FROM jobs WHERE username = 'ann' GROUP BY status"
    )
    assert rows == [("pending", 2, 4)]

    harness.execute("DELETE FROM notify.rate_buckets")
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9")
    assert harness.drain()["sent"] == AT_ONCE
    assert states(harness, "k3") == {("sent", 2, 0): 1}
    assert len({header(one.content, "Message-ID") for one in relay.emails}) == len(relay.emails) == AT_ONCE


def test_without_rates_no_bucket_is_queried(database: Database, relay: ScriptedRelay) -> None:
    harness = WorkerHarness(database, relay.url)
    harness.pending_emails("ann")
    harness.drain()

    assert harness.execute("SELECT count(*) FROM notify.rate_buckets") == [(0,)]
