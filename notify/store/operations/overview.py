"""Current activity: outcome rates, busy workers, recent failures. Its cost is bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from sqlalchemy import Connection

from notify.domain.claims import Lane
from notify.domain.stages import DELIVER, FAN_OUT

MINUTES = 5
_RATES = f"""
    SELECT outcome, coalesce(sum(count) FILTER (WHERE minute >= date_trunc('minute', now()) - interval '1 minute'), 0),
        sum(count)
    FROM notify.delivery_stats
    WHERE minute >= date_trunc('minute', now()) - interval '{MINUTES} minutes' AND minute < date_trunc('minute', now())
    GROUP BY outcome ORDER BY outcome"""
_BUSY_WORKERS = f"""
    SELECT worker, sum(emails)::bigint AS emails, sum(events)::bigint AS events, sum(sent)::bigint AS sent,
        min(until) AS until
    FROM (
        SELECT worker, 0 AS emails, 0 AS events, count AS sent, NULL::timestamptz AS until
        FROM notify.delivery_stats WHERE minute >= now() - interval '{MINUTES} minutes' AND outcome = 'sent'
        UNION ALL SELECT leased_by, 1, 0, 0, due_at
        FROM notify.work_items WHERE stage || '' = '{DELIVER}' AND lane = {Lane.LEASED:d}
        UNION ALL SELECT leased_by, 0, 1, 0, due_at
        FROM notify.work_items WHERE stage || '' = '{FAN_OUT}' AND lane = {Lane.LEASED:d}
    ) AS each GROUP BY worker ORDER BY sum(emails + events) DESC, sum(sent) DESC, worker"""
# When much fails, the newest thousand attempts are enough.
_RECENT_FAILURES = """
    SELECT count(*) AS count, code, enhanced_code, phase, outcome, relay, max(at) AS last_at,
        (array_agg(text ORDER BY id DESC) FILTER (WHERE text IS NOT NULL))[1] AS text
    FROM (SELECT * FROM notify.email_attempts ORDER BY id DESC LIMIT 1000) AS newest
    WHERE at > now() - interval '1 hour'
    GROUP BY code, enhanced_code, phase, outcome, relay ORDER BY count(*) DESC, max(at) DESC"""


@dataclass(frozen=True, slots=True, kw_only=True)
class OutcomeRate:
    """Emails with one outcome: in the last full minute, and per minute over the last five."""

    last_minute: int
    per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class BusyWorker:
    """A worker process: what it has leased, until when, and how much it sent in the last five minutes."""

    worker: UUID
    emails: int
    events: int
    until: datetime | None
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """Attempts of the last hour that failed alike; ``text`` is the newest reply or error."""

    count: int
    code: int | None
    enhanced_code: str | None
    phase: str | None
    outcome: str
    relay: str | None
    last_at: datetime
    text: str | None


def rates(connection: Connection) -> Mapping[str, OutcomeRate]:
    """Emails per minute, by outcome."""
    return {
        outcome: OutcomeRate(last_minute=int(last), per_minute=float(all_) / MINUTES)
        for outcome, last, all_ in connection.exec_driver_sql(_RATES)
    }


def busy_workers(connection: Connection) -> Sequence[BusyWorker]:
    """The workers that have leases or have sent emails recently, the busiest first."""
    return [BusyWorker(**one) for one in connection.exec_driver_sql(_BUSY_WORKERS).mappings()]


def recent_failures(connection: Connection) -> Sequence[FailureGroup]:
    """The newest attempts that did not end in sent, grouped, the most frequent first."""
    return [FailureGroup(**one) for one in connection.exec_driver_sql(_RECENT_FAILURES).mappings()]
