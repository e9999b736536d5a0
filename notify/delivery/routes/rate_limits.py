"""
Sending rates: a token bucket for each limited relay and domain, shared by all workers.

Decided: an email counts when it is claimed. A relay's bucket limits the size of the claim; an email to a domain whose
    bucket is empty is postponed in the transaction of its claim.
Decided: a relay at its rate is not down; its emails wait instead of using the next relay.
Rejected: a rate per process: the total would depend on the number of processes.
Rejected: skipping a domain's emails in the claim: each claim would read all of them.
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
    """How many emails may be claimed now; if none, in how many seconds one may."""

    emails: int
    seconds: float = 0.0


class RelayRate:
    """
    The bucket of one relay. Every method is one short transaction.

    Args:
        rate: None: unlimited; then there is no bucket and no transaction.
    """

    def __init__(self, transactions: Transactions, rate: Rate | None, *, relay: str) -> None:
        self._run = transactions.run
        self._rate = rate
        self._bucket = rates.of_relay(relay)

    async def draw(self, most: int) -> Allowance:
        """Take up to *most* tokens from the bucket."""
        return Allowance(most) if self._rate is None else await self._run(_draw, self._bucket, self._rate, most)

    async def spend(self, emails: int) -> None:
        """Take this many tokens even if the bucket is empty; a negative number returns unused tokens."""
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


def limit_domains(
    connection: Connection, rechecked: Sequence[Rechecked], domains: Mapping[str, Rate]
) -> list[Rechecked]:
    """Postpone emails beyond their domains' rates, required ones the least; returns the rest."""
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
