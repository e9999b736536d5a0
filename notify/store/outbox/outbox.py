"""Email jobs: claimed by the delivery, ended by outcomes, which are counted in the same transaction."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import Connection

from notify.domain.claims import Claim, Lane
from notify.domain.jobs import Job
from notify.domain.outcomes import AMBIGUOUS, LAPSE, POISON, Answer, JobStatus, JobUpdate, OutcomeName, Phase
from notify.domain.stages import DELIVER
from notify.store.operations import stats
from notify.store.outbox import facts, items, sent
from notify.store.outbox.items import Attempt


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOutcome:
    """
    The outcome of one attempt, to be recorded.

    ``to_email`` None: the email was not begun; ``relay`` None: none was contacted; ``took`` None: it was not written.
    """

    job: Job
    update: JobUpdate
    to_email: str | None = None
    relay: str | None = None
    took: timedelta | None = None

    @property
    def name(self) -> Attempt:
        """Names the attempt for ever: job id and attempt."""
        return self.job.claim.id, self.job.claim.attempt

    @property
    def is_sent(self) -> bool:
        """Whether the relay accepted the email, which stays true even if the lease was lost."""
        return self.update.status == JobStatus.SENT

    @property
    def sent_row(self) -> sent.SentRow:
        """The row to record if it is sent."""
        answer = self.update.answer or Answer(phase=Phase.FINAL_DOT)
        return sent.SentRow(
            id=self.job.claim.id,
            attempt=self.job.claim.attempt,
            event_type=self.job.event_type,
            code=answer.code,
            enhanced=answer.enhanced,
            reply=answer.text,
            address=self.to_email,
            relay=self.relay,
            took_ms=self.took_ms,
        )

    @property
    def took_ms(self) -> int | None:
        """Duration in milliseconds."""
        return None if self.took is None else round(self.took / timedelta(milliseconds=1))


def claim(connection: Connection, *, limit: int, lease: timedelta, worker: UUID) -> list[Job]:
    """
    Claim up to *limit* due jobs in sending order, with today's facts; three statements.

    Returns fewer if somebody deleted a job; its item lapses.
    """
    return facts.of_claims(connection, items.claim(connection, DELIVER, limit=limit, lease=lease, worker=worker))


def claim_lapsed(connection: Connection, *, lease: timedelta, worker: UUID) -> Job | None:
    """Claim one job whose worker vanished, and count the lapse; None: none is due."""
    claimed = items.claim_lapsed(connection, DELIVER, lease=lease, worker=worker)
    if claimed is None:
        return None
    job = next(iter(facts.of_claims(connection, [claimed])), None)
    if job is not None and claimed.lane == Lane.LEASED:
        stats.count(connection, worker=worker, counts=Counter({(job.event_type, LAPSE): 1}))
    return job


def bury_poison(connection: Connection, *, worker: UUID, limit: int = 100) -> int:
    """End the jobs whose leases lapsed three times; returns how many."""
    attempts = dict(items.bury_poison(connection, DELIVER, limit=limit))
    if not attempts:
        return 0
    buried = connection.exec_driver_sql(_BURY, {"ids": list(attempts)}).all()
    name = f"{JobStatus.DEAD}: {POISON}"
    _store_attempts(connection, [{"id": row.id, "attempt": attempts[row.id], "outcome": name} for row in buried])
    stats.count(connection, worker=worker, counts=Counter((row.event_type, JobStatus.DEAD) for row in buried))
    return len(buried)


def postpone(connection: Connection, delays: Mapping[Claim, timedelta]) -> None:
    """Postpone claimed jobs, at most to their expiry, without counting a failure or storing an attempt."""
    outcomes = [replace(items.released(claim), due_in=delay.total_seconds()) for claim, delay in delays.items()]
    _limit_to_expiry(connection, items.settle(connection, DELIVER, outcomes))


_OUTCOMES = """jsonb_to_recordset(%(outcomes)s::jsonb) AS outcome(
        id bigint, attempt int, lapses smallint, status text, reason text, outcome text, phase text, code smallint,
        enhanced text, text text, to_email text, relay text, took_ms int
    )"""
_SET_OUTCOME = """
        status = outcome.status, outcome_reason = outcome.reason, to_email = coalesce(outcome.to_email, job.to_email),
        last_code = outcome.code, last_enhanced_code = outcome.enhanced,
        last_error = CASE WHEN outcome.status <> 'sent' THEN coalesce(nullif(outcome.text, ''), job.last_error) END,
        relay_reply = CASE WHEN outcome.status = 'sent' THEN outcome.text END,
        relay = CASE WHEN outcome.status = 'sent' THEN outcome.relay END,
        sent_in_ms = CASE WHEN outcome.status = 'sent' THEN outcome.took_ms END"""
_END_JOBS = f"""
    UPDATE notify.email_jobs AS job SET {_SET_OUTCOME},
        finished_at = CASE WHEN outcome.status <> 'pending' THEN now() END,
        attempts = CASE WHEN outcome.status <> 'pending' THEN outcome.attempt ELSE job.attempts END,
        lapses = CASE WHEN outcome.status <> 'pending' THEN outcome.lapses ELSE job.lapses END
    FROM {_OUTCOMES}
    WHERE job.id = outcome.id AND job.id = ANY (%(ids)s::bigint[]) AND job.status = 'pending'
    RETURNING job.id"""
_LOCK = "SELECT id, status FROM notify.email_jobs WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR UPDATE"
# Attempts and lapses become the maximum of the row, the outcome and the deleted work item.
_SENT_ANYWAY = f"""
    WITH gone AS (
        DELETE FROM notify.work_items WHERE stage = '{DELIVER}' AND id = ANY (%(ids)s::bigint[])
        RETURNING id, attempt, lapses
    )
    UPDATE notify.email_jobs AS job SET {_SET_OUTCOME}, finished_at = now(),
        attempts = greatest(job.attempts, outcome.attempt, gone.attempt),
        lapses = greatest(job.lapses, outcome.lapses, gone.lapses)
    FROM {_OUTCOMES} LEFT JOIN gone ON gone.id = outcome.id
    WHERE job.id = outcome.id AND job.id = ANY (%(ids)s::bigint[]) AND job.status <> 'sent'"""
# A retry comes due at the email's expiry at the latest, to be recorded as expired.
_WAKE = f"""
    UPDATE notify.work_items AS item SET due_at = greatest(job.expires_at, now())
    FROM notify.email_jobs AS job
    WHERE item.stage = '{DELIVER}' AND item.id = ANY (%(ids)s::bigint[]) AND job.id = item.id
        AND item.lane < {Lane.LEASED:d} AND item.due_at > job.expires_at"""
_BURY = f"""
    UPDATE notify.email_jobs AS job
    SET status = 'dead', finished_at = now(), lapses = {items.MAX_LAPSES}, outcome_reason = '{POISON}'
    WHERE job.id = ANY (%(ids)s::bigint[]) AND job.status = 'pending'
    RETURNING job.id, (
        SELECT event_type FROM notify.notifications AS note
        WHERE note.email_job_id = coalesce(job.replay_of, job.id) ORDER BY note.id LIMIT 1
    ) AS event_type"""
# Skips jobs that somebody has deleted meanwhile.
_STORE_ATTEMPTS = f"""
    INSERT INTO notify.email_attempts (job_id, attempt, phase, code, enhanced_code, text, outcome, relay, took_ms)
    SELECT id, attempt, phase, code, enhanced, nullif(text, ''), outcome, relay, took_ms
    FROM {_OUTCOMES} WHERE id IN (SELECT id FROM notify.email_jobs)"""


def record(connection: Connection, outcomes: Sequence[AttemptOutcome], *, worker: UUID) -> Counter[str]:
    """
    Record and count these outcomes; returns how many by name.

    A refusal counts only while its attempt has the lease, else it is counted as ``lease_lost`` and dropped. *Sent*
    is a fact and always recorded: as ``late_success`` if the job had another outcome or another lease, as
    ``duplicate_sent`` if it was sent before. ``ambiguous`` is counted in addition.
    """
    written = sent.record(connection, [one.sent_row for one in outcomes if one.is_sent], worker=worker)
    outcomes = [one for one in outcomes if not (one.is_sent and one.name in written)]
    return _record_individually(connection, outcomes, worker=worker) + Counter({OutcomeName.SENT: len(written)})


def _record_individually(connection: Connection, outcomes: Sequence[AttemptOutcome], *, worker: UUID) -> Counter[str]:
    if not outcomes:
        return Counter()
    settled = items.settle(connection, DELIVER, [_item_outcome(one) for one in outcomes])
    _limit_to_expiry(connection, [one.name for one in outcomes if one.update.delay and one.name in settled])
    written = _end_jobs(connection, [one for one in outcomes if one.name in settled])
    in_time = {one.name for one in outcomes if one.name in settled and one.name[0] in written}
    late = _record_late(connection, [one for one in outcomes if one.name not in in_time and one.is_sent])
    named = [
        (one, one.update.outcome if one.name in in_time else late.get(one.name, OutcomeName.LEASE_LOST))
        for one in outcomes
    ]
    went_out = {OutcomeName.SENT, OutcomeName.LATE_SUCCESS, OutcomeName.DUPLICATE_SENT}
    _store_attempts(connection, [_columns(one) for one, name in named if name not in went_out])
    counts = Counter[tuple[str, str]]((one.job.event_type, name) for one, name in named)
    counts.update((one.job.event_type, AMBIGUOUS) for one in outcomes if one.update.ambiguous)
    stats.count(connection, worker=worker, counts=counts)
    return Counter(name for _, name in named)


def _end_jobs(connection: Connection, outcomes: Sequence[AttemptOutcome]) -> set[int]:
    if not outcomes:
        return set()
    return set(connection.exec_driver_sql(_END_JOBS, _parameters(outcomes)).scalars())


def _record_late(connection: Connection, outcomes: Sequence[AttemptOutcome]) -> dict[Attempt, OutcomeName]:
    """Record that these emails were sent; of several attempts of one job the first counts as sent."""
    if not outcomes:
        return {}
    parameters = _parameters(outcomes)
    before = {row.id: row.status for row in connection.exec_driver_sql(_LOCK, {"ids": parameters["ids"]})}
    connection.exec_driver_sql(_SENT_ANYWAY, parameters)
    named = {}
    for one in outcomes:
        if one.job.claim.id in before:
            was_sent = before[one.job.claim.id] == JobStatus.SENT
            named[one.name] = OutcomeName.DUPLICATE_SENT if was_sent else OutcomeName.LATE_SUCCESS
            before[one.job.claim.id] = JobStatus.SENT
    return named


def _limit_to_expiry(connection: Connection, attempts: Iterable[Attempt]) -> None:
    if ids := [id_ for id_, _ in attempts]:
        connection.exec_driver_sql(_WAKE, {"ids": ids})


def _store_attempts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.exec_driver_sql(_STORE_ATTEMPTS, {"outcomes": dumps(rows)})


def _item_outcome(outcome: AttemptOutcome) -> items.ItemOutcome:
    update, claimed = outcome.update, outcome.job.claim
    failed = int(update.failed)
    if update.delay is not None:
        back = items.released(claimed)
        return replace(back, due_in=update.delay.total_seconds(), failed=failed, reason=update.reason)
    if update.status == JobStatus.DEAD:
        return items.dead(claimed, update.reason or JobStatus.DEAD, failed=failed)
    return items.done(claimed)


def _parameters(outcomes: Sequence[AttemptOutcome]) -> dict[str, Any]:
    return {"outcomes": dumps(list(map(_columns, outcomes))), "ids": [one.job.claim.id for one in outcomes]}


def _columns(outcome: AttemptOutcome) -> dict[str, Any]:
    """The columns of ``_OUTCOMES``; missing ones are null."""
    update, claimed = outcome.update, outcome.job.claim
    row = {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "lapses": claimed.lapses,
        "status": update.status,
        "reason": update.reason,
        "outcome": f"{update.outcome}: {update.reason}" if update.reason else update.outcome,
        "to_email": outcome.to_email,
        "relay": outcome.relay,
        "took_ms": outcome.took_ms,
    }
    if answer := update.answer:
        row |= {"phase": answer.phase, "code": answer.code, "enhanced": answer.enhanced, "text": answer.text}
    return row
