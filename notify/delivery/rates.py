"""
How fast emails leave: a bucket for each relay and for each domain that has a rate, shared by all workers.

Decided: an email counts when it is claimed. What is claimed for a relay is not more than its bucket holds; an email
    to a domain whose bucket is empty is put off in the transaction of its claim, and others go past it.
Decided: a relay at its rate is not a relay that is down; its emails wait and do not go over the next.
Rejected: counting in each process: the rate would depend on how many there are.
Rejected: to pass over a domain's emails in the claim: it would read all of them each time.
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

from sqlalchemy import Connection

from notify.delivery.recheck import Rechecked
from notify.dns_names import of_address
from notify.domain.claims import Claim
from notify.domain.jobs import Job, Letter
from notify.domain.rates import DomainRates, Rate, turns
from notify.store.database import Database
from notify.store.operations import rates
from notify.store.outbox import outbox


@dataclass(frozen=True, slots=True)
class Room:
    """How many emails may be claimed now; where that is none, in how many seconds one may."""

    emails: int
    seconds: float = 0.0


class RelayRate:
    """The bucket of one relay. Every method is one short transaction."""

    def __init__(self, database: Database, rate: Rate, *, relay: str) -> None:
        self._database = database
        self._rate = rate
        self._bucket = rates.of_relay(relay)

    def draw(self, most: int) -> Room:
        """Take the room for as many emails as there is, at most so many."""
        with self._database.begin() as connection:
            bucket = rates.locked(connection, [self._bucket])[self._bucket]
            emails = min(most, self._rate.free(bucket.owed))
            if emails:
                owed = self._rate.spent(bucket.owed, emails)
                rates.keep(connection, {self._bucket: replace(bucket, owed=owed)})
            return Room(emails, self._rate.wait(bucket.owed))

    def spend(self, emails: int) -> None:
        """Count these, whether or not there is room; fewer than none gives back what was drawn."""
        with self._database.begin() as connection:
            bucket = rates.locked(connection, [self._bucket])[self._bucket]
            rates.keep(connection, {self._bucket: replace(bucket, owed=self._rate.spent(bucket.owed, emails))})


def within(connection: Connection, rechecked: Sequence[Rechecked], domains: DomainRates) -> list[Rechecked]:
    """What of this may go now; emails beyond the rates of their domains are put off, required ones by the least."""
    limited: dict[str, list[Job]] = defaultdict(list)
    by_name: dict[str, Rate] = {}
    for job, one in rechecked:
        if isinstance(one, Letter) and (found := domains.of(of_address(one.to_email))):
            limited[found[0]].append(job)
            by_name[found[0]] = found[1]
    if not limited:
        return list(rechecked)
    buckets = rates.locked(connection, [rates.of_domain(name) for name in limited])
    delays: dict[Claim, timedelta] = {}
    for name, jobs in limited.items():
        urgent = [one.is_required for one in jobs]
        seconds, buckets[rates.of_domain(name)] = turns(buckets[rates.of_domain(name)], by_name[name], urgent=urgent)
        delays |= {one.claim: timedelta(seconds=delay) for one, delay in zip(jobs, seconds, strict=True) if delay}
    rates.keep(connection, buckets)
    outbox.put_off(connection, delays)
    return [(job, one) for job, one in rechecked if job.claim not in delays]
