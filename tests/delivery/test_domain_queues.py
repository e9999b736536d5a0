"""Fair order over domains: whose turn it is, and how much one of them may use."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import timedelta

import pytest

from notify.delivery.domain_queues import LONGEST_RUN, DomainQueues, sessions_for_one
from notify.delivery.leases import LeasedEmails
from notify.domain.jobs import EmailAttempt
from notify.store.outbox.items import Attempt
from tests.support.emails import email_facts, job_of

MINUTE = timedelta(minutes=1)


def leased(number: int, domain: str) -> EmailAttempt:
    """A claimed email to somebody at this domain."""
    return EmailAttempt(facts=email_facts(number), domain=domain)


def queues(*domains: str) -> DomainQueues:
    """Emails to these domains, numbered as they came."""
    made = DomainQueues()
    for number, domain in enumerate(domains, start=1):
        made.put(leased(number, domain))
    return made


def on_their_way(waiting: DomainQueues, *, sessions: int) -> list[EmailAttempt]:
    """All emails that may go now, in their order."""
    return list(iter(lambda: waiting.take(sessions=sessions), None))


def numbers(emails: list[EmailAttempt]) -> list[int]:
    return [one.facts.claim.id for one in emails]


def test_domains_take_turns_and_each_keeps_its_own_order() -> None:
    waiting = queues("a.test", "a.test", "a.test", "b.test", "c.test", "b.test")
    assert numbers(on_their_way(waiting, sessions=6)) == [1, 4, 5, 2, 6, 3]


def test_a_domain_has_half_of_the_sessions_while_others_wait() -> None:
    waiting = queues(*["a.test"] * 9, "b.test")
    first = waiting.take(sessions=8)
    assert first is not None
    waiting.put(leased(11, "b.test"))
    waiting.put(leased(12, "b.test"))
    going = [first, *on_their_way(waiting, sessions=8)]
    assert sum(one.domain == "b.test" for one in going) == 3
    assert len(going) == 8


def test_one_session_is_kept_for_those_that_come_after_a_domain_went_silent() -> None:
    waiting = queues(*["silent.test"] * 20)
    assert len(on_their_way(waiting, sessions=8)) == 7
    waiting.put(leased(21, "late.test"))
    assert numbers(on_their_way(waiting, sessions=8)) == [21]


def test_an_email_that_landed_makes_room_for_another_of_its_domain() -> None:
    waiting = queues(*["a.test"] * 10)
    gone = on_their_way(waiting, sessions=4)
    waiting.free(gone[0])
    assert numbers(on_their_way(waiting, sessions=4)) == [4]


def test_no_more_emails_go_than_there_are_sessions() -> None:
    waiting = queues(*(f"{number}.test" for number in range(10)))
    assert len(on_their_way(waiting, sessions=3)) == 3
    assert len(waiting) == 7


@pytest.mark.parametrize(("others", "followed"), [(1, LONGEST_RUN), (0, LONGEST_RUN + 5)])
def test_a_session_stays_with_a_domain_for_a_while_and_for_as_long_as_no_other_waits(
    others: int, followed: int
) -> None:
    waiting = queues(*["a.test"] * (LONGEST_RUN + 6), *["b.test"] * others)
    first = waiting.take(sessions=1)
    assert first is not None
    row = [first]
    while following := waiting.follow(row[-1]):
        row.append(following)
    assert len(row) == 1 + followed
    waiting.free(row[-1])
    assert [one.domain for one in on_their_way(waiting, sessions=1)] == ["b.test"] * others


def test_what_is_cleared_waits_no_more() -> None:
    waiting = queues("a.test", "b.test", "a.test")
    waiting.take(sessions=8)
    assert sorted(numbers(waiting.clear())) == [2, 3]
    assert len(waiting) == 0
    assert waiting.take(sessions=8) is None


@pytest.mark.parametrize(
    ("sessions", "alone", "with_others"), [(1, 1, 1), (2, 2, 1), (3, 2, 2), (4, 3, 2), (8, 7, 4), (32, 31, 16)]
)
def test_the_share_of_one_domain(sessions: int, alone: int, with_others: int) -> None:
    assert sessions_for_one(sessions, others_wait=False) == alone
    assert sessions_for_one(sessions, others_wait=True) == with_others


@pytest.mark.parametrize("address", ["ann@a.test", "ann@A.test", "ann@a.TEST"])
def test_the_domain_of_todays_address_counts_however_it_is_spelt(address: str) -> None:
    written = email_facts(to=address)
    job = replace(job_of(written), to_email="ann@old.test")
    assert LeasedEmails(nobody, lease=MINUTE).take(job, written, claimed_at=0.0).domain == "a.test"


async def nobody(_: Sequence[Attempt]) -> set[int]:
    """Renew nothing."""
    return set()
