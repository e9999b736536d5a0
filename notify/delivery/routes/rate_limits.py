"""
How fast emails leave: a bucket for each relay and for each domain that has a rate, shared by all workers.

Decided: an email counts when it is claimed. What is claimed for a relay is not more than its bucket holds; an email
    to a domain whose bucket is empty is put off in the transaction of its claim, and others go past it.
Decided: a relay at its rate is not a relay that is down; its emails wait and do not go over the next.
Rejected: counting in each process: the rate would depend on how many there are.
Rejected: to pass over a domain's emails in the claim: it would read all of them each time.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection

from notify.delivery.recheck import Rechecked
from notify.delivery.transactions import Transactions
from notify.dns_names import of_address
from notify.domain.claims import Claim
from notify.domain.jobs import EmailFacts, Job
from notify.domain.rates import Rate, assign_delays, rate_of
from notify.store.operations import rates
from notify.store.outbox import outbox


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many emails may be claimed now; where that is none, in how many seconds one may."""

    emails: int
    seconds: float = 0.0


class RelayRate:
    """
    The bucket of one relay. Every method is one short transaction.

    Args:
        rate: None: as fast as the relay takes emails; then there is no bucket, and no transaction.
    """

    def __init__(self, transactions: Transactions, rate: Rate | None, *, relay: str) -> None:
        self._run = transactions.run
        self._rate = rate
        self._bucket = rates.of_relay(relay)

    async def draw(self, most: int) -> Allowance:
        """Take as many emails from the bucket as it holds, at most so many."""
        return Allowance(most) if self._rate is None else await self._run(_draw, self._bucket, self._rate, most)

    async def spend(self, emails: int) -> None:
        """Count these, whatever the bucket holds; fewer than none gives back what was drawn."""
        if self._rate is not None and emails:
            await self._run(_spend, self._bucket, self._rate, emails)


def _draw(connection: Connection, name: str, rate: Rate, most: int) -> Allowance:
    bucket = rates.lock(connection, [name])[name]
    emails = min(most, rate.free(bucket.owed))
    if emails:
        rates.store(connection, {name: replace(bucket, owed=rate.spent(bucket.owed, emails))})
    return Allowance(emails, rate.wait(bucket.owed))


def _spend(connection: Connection, name: str, rate: Rate, emails: int) -> None:
    bucket = rates.lock(connection, [name])[name]
    rates.store(connection, {name: replace(bucket, owed=rate.spent(bucket.owed, emails))})


def within(connection: Connection, rechecked: Sequence[Rechecked], domains: Mapping[str, Rate]) -> list[Rechecked]:
    """What of this may go now; emails beyond the rates of their domains are put off, required ones by the least."""
    limited: dict[str, list[Job]] = defaultdict(list)
    by_name: dict[str, Rate] = {}
    for job, one in rechecked:
        if isinstance(one, EmailFacts) and (found := rate_of(domains, of_address(one.to_email))):
            limited[found[0]].append(job)
            by_name[found[0]] = found[1]
    if not limited:
        return list(rechecked)
    buckets = rates.lock(connection, [rates.of_domain(name) for name in limited])
    delays: dict[Claim, timedelta] = {}
    for name, jobs in limited.items():
        urgent = [one.is_required for one in jobs]
        bucket = rates.of_domain(name)
        seconds, buckets[bucket] = assign_delays(buckets[bucket], by_name[name], urgent=urgent)
        delays |= {one.claim: timedelta(seconds=delay) for one, delay in zip(jobs, seconds, strict=True) if delay}
    rates.store(connection, buckets)
    outbox.postpone(connection, delays)
    return [(job, one) for job, one in rechecked if job.claim not in delays]
