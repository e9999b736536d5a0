"""Fairness between domains: whose turn it is, and how many sessions one of them may use."""

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
    """Emails to these domains, numbered in order of arrival."""
    made = DomainQueues()
    for number, domain in enumerate(domains, start=1):
        made.put(leased(number, domain))
    return made


def in_flight(waiting: DomainQueues, *, sessions: int) -> list[EmailAttempt]:
    """All emails that may go now, in order."""
    return list(iter(lambda: waiting.take(sessions=sessions), None))


def numbers(emails: list[EmailAttempt]) -> list[int]:
    return [one.facts.claim.id for one in emails]


def test_domains_take_turns_and_keep_their_own_order() -> None:
    waiting = queues("a.test", "a.test", "a.test", "b.test", "c.test", "b.test")
    assert numbers(in_flight(waiting, sessions=6)) == [1, 4, 5, 2, 6, 3]


def test_a_domain_uses_at_most_half_of_the_sessions_while_others_wait() -> None:
    waiting = queues(*["a.test"] * 9, "b.test")
    first = waiting.take(sessions=8)
    assert first is not None
    waiting.put(leased(11, "b.test"))
    waiting.put(leased(12, "b.test"))
    going = [first, *in_flight(waiting, sessions=8)]
    assert sum(one.domain == "b.test" for one in going) == 3
    assert len(going) == 8


def test_one_session_stays_free_for_other_domains_when_one_goes_silent() -> None:
    waiting = queues(*["silent.test"] * 20)
    assert len(in_flight(waiting, sessions=8)) == 7
    waiting.put(leased(21, "late.test"))
    assert numbers(in_flight(waiting, sessions=8)) == [21]


def test_a_finished_email_makes_room_for_another_of_its_domain() -> None:
    waiting = queues(*["a.test"] * 10)
    gone = in_flight(waiting, sessions=4)
    waiting.free(gone[0])
    assert numbers(in_flight(waiting, sessions=4)) == [4]


def test_no_more_emails_are_in_flight_than_there_are_sessions() -> None:
    waiting = queues(*(f"{number}.test" for number in range(10)))
    assert len(in_flight(waiting, sessions=3)) == 3
    assert len(waiting) == 7


@pytest.mark.parametrize(("others", "followed"), [(1, LONGEST_RUN), (0, LONGEST_RUN + 5)])
def test_a_session_stays_with_a_domain_for_a_while_or_until_another_domain_waits(others: int, followed: int) -> None:
    waiting = queues(*["a.test"] * (LONGEST_RUN + 6), *["b.test"] * others)
    first = waiting.take(sessions=1)
    assert first is not None
    row = [first]
    while following := waiting.follow(row[-1]):
        row.append(following)
    assert len(row) == 1 + followed
    waiting.free(row[-1])
    assert [one.domain for one in in_flight(waiting, sessions=1)] == ["b.test"] * others


def test_cleared_emails_wait_no_longer() -> None:
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
def test_the_domain_of_the_current_address_counts_whatever_its_spelling(address: str) -> None:
    written = email_facts(to=address)
    job = replace(job_of(written), to_email="ann@old.test")
    assert LeasedEmails(nobody, lease=MINUTE).take(job, written, claimed_at=0.0).domain == "a.test"


async def nobody(_: Sequence[Attempt]) -> set[int]:
    """Renew nothing."""
    return set()
