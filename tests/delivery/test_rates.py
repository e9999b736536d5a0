"""Relays and domains get emails at their rates, whoever sends them, and nobody waits for another's."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from notify.store.database import Database
from tests.support.office import Office, many
from tests.support.smtp import ScriptedRelay
from tests.support.wire import header

# One in a hundred seconds, after two at once: no test lasts so long.
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


def pass_time(office: Office, seconds: int) -> None:
    office.now(TIME_PASSES, seconds=seconds)
    office.now(EMAILS_COME_CLOSER, seconds=seconds)


def states(office: Office, key: str = "k1") -> Counter[tuple[str, int, int]]:
    return Counter(office.tries(key))


def domains(relay: ScriptedRelay) -> Counter[str]:
    """How many emails arrived, by domain."""
    return Counter(one.recipient.rpartition("@")[2] for one in relay.letters)


def test_no_more_emails_are_claimed_than_the_relays_rate_leaves_room_for(
    database: Database, relay: ScriptedRelay
) -> None:
    office = Office(database, slow(relay))
    office.letters_wait(*many(10))

    assert [office.drain()["sent"] for _ in range(3)] == [AT_ONCE, 0, 0]
    assert states(office) == {("sent", 1, 0): AT_ONCE, ("pending", 0, 0): 10 - AT_ONCE}

    pass_time(office, EACH)
    assert [office.drain()["sent"] for _ in range(2)] == [1, 0]
    pass_time(office, 100 * EACH)
    assert [office.drain()["sent"] for _ in range(2)] == [AT_ONCE, 0]
    assert len(relay.letters) == 2 * AT_ONCE + 1


def test_workers_that_drain_at_once_keep_to_one_rate(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, slow(relay))
    office.letters_wait(*many(30))

    with ThreadPoolExecutor(3) as threads:
        reports = list(threads.map(lambda _: office.drain(), range(3)))

    assert sum(report["sent"] for report in reports) == len(relay.letters) == AT_ONCE


def test_room_that_is_drawn_for_more_emails_than_there_are_is_not_used_up(
    database: Database, relay: ScriptedRelay
) -> None:
    office = Office(database, slow(relay))
    office.letters_wait("ann")
    assert office.drain()["sent"] == 1
    office.letters_wait("bob", key="k2", link="CL-2")

    assert office.drain()["sent"] == 1


def test_a_rate_that_leaves_room_soon_is_waited_for_in_the_drain(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, f"{relay.url}?per_second=2")
    office.letters_wait(*many(5))

    assert office.drain()["sent"] == 5


def test_a_relay_at_its_rate_is_not_down_and_the_next_gets_nothing(database: Database, relay: ScriptedRelay) -> None:
    with ScriptedRelay() as second:
        office = Office(database, slow(relay), {"smtp_fallback_urls": second.url})
        office.letters_wait(*many(10))
        office.drain()

        assert (len(relay.letters), second.connections) == (AT_ONCE, 0)


def test_each_relay_has_a_rate_of_its_own(database: Database, relay: ScriptedRelay) -> None:
    with ScriptedRelay() as second:
        office = Office(database, slow(relay), {"smtp_fallback_urls": slow(second)})
        office.letters_wait(*many(10))
        office.drain()
        relay.answers["GREETING"] = "421 4.3.2 closed"
        office.drain()
        office.drain()

        assert (len(relay.letters), len(second.letters)) == (AT_ONCE, AT_ONCE)


@pytest.fixture
def office(database: Database, relay: ScriptedRelay) -> Office:
    """A worker that claims few emails at once, to whom one domain is slow."""
    return Office(database, relay.url, {"domain_rates": f"slow.test={SLOW} *.slow.test={SLOW}", "claim_size": 5})


def test_the_emails_of_one_domain_wait_for_its_rate_and_those_of_others_go_past_them(
    office: Office, relay: ScriptedRelay
) -> None:
    office.letters_wait(*many(23))
    office.now(AT_SLOW, names=many(20), domain="slow.test")

    report = office.drain()

    assert report["sent"] == AT_ONCE + 3
    assert domains(relay) == {"slow.test": AT_ONCE, "example.com": 3}
    assert states(office) == {("sent", 1, 0): AT_ONCE + 3, ("pending", 1, 0): 20 - AT_ONCE}
    assert office.now(ATTEMPTS) == [(0,)]


def test_those_that_are_put_off_have_their_turns_one_after_the_other_in_order(
    office: Office, relay: ScriptedRelay
) -> None:
    office.letters_wait(*many(12))
    office.now(AT_SLOW, names=many(12), domain="slow.test")
    office.drain()

    waiting = office.now(WAITING)
    assert [row.username for row in waiting] == many(12)[AT_ONCE:]
    assert all(abs(row.seconds - EACH * turn) < EACH / 2 for turn, row in enumerate(waiting, start=1))

    for turn in range(1, 4):
        pass_time(office, EACH)
        assert office.drain()["sent"] == 1
        assert relay.letters[-1].recipient == f"{many(12)[AT_ONCE + turn - 1]}@slow.test"


def test_domains_that_share_a_name_share_its_rate_and_no_other_does(office: Office, relay: ScriptedRelay) -> None:
    office.letters_wait(*many(10))
    office.now(AT_SLOW, names=many(4), domain="a.slow.test")
    office.now(AT_SLOW, names=many(8)[4:], domain="B.Slow.test")
    office.now(AT_SLOW, names=many(10)[8:], domain="notslow.test")

    office.drain()

    found = domains(relay)
    assert found["a.slow.test"] + found["B.Slow.test"] == AT_ONCE
    assert found["notslow.test"] == 2


def test_what_is_required_has_the_next_turn_however_many_wait(office: Office) -> None:
    office.letters_wait(*many(9))
    office.now(AT_SLOW, names=many(9), domain="slow.test")
    office.drain()
    office.now("UPDATE notify.notification_event_types SET system_required = true WHERE code = 'cl.comment.created'")
    office.letters_wait("person-0008", key="k2", link="CL-2")
    office.now(AT_SLOW, names=many(9), domain="slow.test")
    office.drain()

    ((seconds,),) = office.now(
        "SELECT extract(epoch FROM j.due_at - now())::int FROM jobs j JOIN notify.events e"
        " ON e.id = j.event_id WHERE e.key = 'k2' AND j.username = 'person-0008'"
    )
    assert abs(seconds - EACH) < EACH / 2


def test_a_bundle_is_put_off_whole_and_arrives_whole(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url, {"domain_rates": f"example.com={SLOW}", "bundle_seconds": 180})
    for number in range(4):
        office.letters_wait("ann", key=f"k{number}")
    office.now("UPDATE notify.work_items SET due_at = now() WHERE lane < 8 AND due_at < now() + interval '1 hour'")
    office.now(EMPTY, bucket="domain example.com")

    assert office.drain()["sent"] == 0
    rows = office.now("SELECT status, count(DISTINCT id), count(*) FROM jobs WHERE username = 'ann' GROUP BY status")
    assert rows == [("pending", 2, 4)]

    office.now("DELETE FROM notify.rate_buckets")
    office.now("UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 9")
    assert office.drain()["sent"] == AT_ONCE
    assert states(office, "k3") == {("sent", 2, 0): 1}
    assert len({header(one.content, "Message-ID") for one in relay.letters}) == len(relay.letters) == AT_ONCE


def test_without_rates_no_bucket_is_asked(database: Database, relay: ScriptedRelay) -> None:
    office = Office(database, relay.url)
    office.letters_wait("ann")
    office.drain()

    assert office.now("SELECT count(*) FROM notify.rate_buckets") == [(0,)]
