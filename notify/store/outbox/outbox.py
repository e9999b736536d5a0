"""Jobs in the table: claimed by the delivery, ended by outcomes, counted in the same transaction."""

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
class Ending:
    """
    The end of one attempt, to be recorded.

    ``to_email`` is where the email went, or None if it never got so far; ``relay`` names who
    was asked, or is None if nobody was; ``took`` is how long it took, None if no email was written.
    """

    job: Job
    update: JobUpdate
    to_email: str | None = None
    relay: str | None = None
    took: timedelta | None = None

    @property
    def name(self) -> Attempt:
        """What names the attempt for ever."""
        return self.job.claim.id, self.job.claim.attempt

    @property
    def says_sent(self) -> bool:
        """Whether the email is out, which is true whoever holds its lease."""
        return self.update.status == JobStatus.SENT

    @property
    def row(self) -> sent.Row:
        """The same for an email that is out."""
        answer = self.update.answer or Answer(phase=Phase.FINAL_DOT)
        return sent.Row(
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
        """How long it took, as the table has it."""
        return None if self.took is None else round(self.took / timedelta(milliseconds=1))


def claim(connection: Connection, *, limit: int, lease: timedelta, worker: UUID) -> list[Job]:
    """
    Take up to *limit* due jobs in the order they should go, with what is known of them today; three statements.

    Fewer come back than were claimed where somebody has deleted a job: its item lapses.
    """
    return facts.of_claims(connection, items.claim(connection, DELIVER, limit=limit, lease=lease, worker=worker))


def claim_lapsed(connection: Connection, *, lease: timedelta, worker: UUID) -> Job | None:
    """Take one job of which some worker vanished, and count that if it was the last; None when none is due."""
    claimed = items.claim_lapsed(connection, DELIVER, lease=lease, worker=worker)
    if claimed is None:
        return None
    job = next(iter(facts.of_claims(connection, [claimed])), None)
    if job is not None and claimed.lane == Lane.LEASED:
        stats.count(connection, worker=worker, counts=Counter({(job.event_type, LAPSE): 1}))
    return job


def bury_poison(connection: Connection, *, worker: UUID, limit: int = 100) -> int:
    """End the jobs that have outlived three workers; how many."""
    attempts = dict(items.bury_poison(connection, DELIVER, limit=limit))
    if not attempts:
        return 0
    buried = connection.exec_driver_sql(_BURY, {"ids": list(attempts)}).all()
    verdict = f"{JobStatus.DEAD}: {POISON}"
    _keep_attempts(connection, [{"id": row.id, "attempt": attempts[row.id], "verdict": verdict} for row in buried])
    stats.count(connection, worker=worker, counts=Counter((row.event_type, JobStatus.DEAD) for row in buried))
    return len(buried)


def put_off(connection: Connection, delays: Mapping[Claim, timedelta]) -> None:
    """Claimed jobs wait so long, but not beyond their end: no failure counted, nothing noted as an attempt."""
    endings = [replace(items.released(claim), due_in=delay.total_seconds()) for claim, delay in delays.items()]
    _no_later_than_their_end(connection, items.settle(connection, DELIVER, endings))


_ENDING = """jsonb_to_recordset(%(endings)s::jsonb) AS ending(
        id bigint, attempt int, lapses smallint, status text, reason text, verdict text, phase text, code smallint,
        enhanced text, text text, to_email text, relay text, took_ms int
    )"""
_OUTCOME = """
        status = ending.status, outcome_reason = ending.reason, to_email = coalesce(ending.to_email, job.to_email),
        last_code = ending.code, last_enhanced_code = ending.enhanced,
        last_error = CASE WHEN ending.status <> 'sent' THEN coalesce(nullif(ending.text, ''), job.last_error) END,
        relay_reply = CASE WHEN ending.status = 'sent' THEN ending.text END,
        relay = CASE WHEN ending.status = 'sent' THEN ending.relay END,
        sent_in_ms = CASE WHEN ending.status = 'sent' THEN ending.took_ms END"""
_END_JOBS = f"""
    UPDATE notify.email_jobs AS job SET {_OUTCOME},
        finished_at = CASE WHEN ending.status <> 'pending' THEN now() END,
        attempts = CASE WHEN ending.status <> 'pending' THEN ending.attempt ELSE job.attempts END,
        lapses = CASE WHEN ending.status <> 'pending' THEN ending.lapses ELSE job.lapses END
    FROM {_ENDING}
    WHERE job.id = ending.id AND job.id = ANY (%(ids)s::bigint[]) AND job.status = 'pending'
    RETURNING job.id"""
_LOCK = "SELECT id, status FROM notify.email_jobs WHERE id = ANY (%(ids)s::bigint[]) ORDER BY id FOR UPDATE"
# Attempts and lapses become the most that anybody knows: the row, who says so, or the work item that goes.
_SENT_ANYWAY = f"""
    WITH gone AS (
        DELETE FROM notify.work_items WHERE stage = '{DELIVER}' AND id = ANY (%(ids)s::bigint[])
        RETURNING id, attempt, lapses
    )
    UPDATE notify.email_jobs AS job SET {_OUTCOME}, finished_at = now(),
        attempts = greatest(job.attempts, ending.attempt, gone.attempt),
        lapses = greatest(job.lapses, ending.lapses, gone.lapses)
    FROM {_ENDING} LEFT JOIN gone ON gone.id = ending.id
    WHERE job.id = ending.id AND job.id = ANY (%(ids)s::bigint[]) AND job.status <> 'sent'"""
# A retry must not sleep past the email's end: it wakes then, to be recorded as expired.
_WAKE = f"""
    UPDATE notify.work_items AS item SET due_at = greatest(job.expires_at, now())
    FROM notify.email_jobs AS job
    WHERE item.stage = '{DELIVER}' AND item.id = ANY (%(ids)s::bigint[]) AND job.id = item.id
        AND item.lane < {Lane.LEASED:d} AND item.due_at > job.expires_at"""
_BURY = f"""
    UPDATE notify.email_jobs AS job
    SET status = 'dead', finished_at = now(), lapses = {items.MOST_LAPSES}, outcome_reason = '{POISON}'
    WHERE job.id = ANY (%(ids)s::bigint[]) AND job.status = 'pending'
    RETURNING job.id, (
        SELECT event_type FROM notify.notifications AS note
        WHERE note.email_job_id = coalesce(job.replay_of, job.id) ORDER BY note.id LIMIT 1
    ) AS event_type"""
# A job that somebody has deleted meanwhile keeps no attempts, and stops no other's.
_KEEP_ATTEMPTS = f"""
    INSERT INTO notify.email_attempts (job_id, attempt, phase, code, enhanced_code, text, verdict, relay, took_ms)
    SELECT id, attempt, phase, code, enhanced, nullif(text, ''), verdict, relay, took_ms
    FROM {_ENDING} WHERE id IN (SELECT id FROM notify.email_jobs)"""


def record(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> Counter[str]:
    """
    Write what became of these attempts, and count it.

    A refusal is written only under the attempt that produced it; when the lease was lost it is
    counted (``lease_lost``) and dropped. *Sent* is a fact and is written whatever the row says
    now: ``late_success`` where another outcome or another worker's lease was in its place,
    ``duplicate_sent`` where the row said sent already. ``ambiguous`` is counted besides the
    verdict: the relay may have taken the email.

    Returns how many by verdict.
    """
    written = sent.record(connection, [one.row for one in endings if one.says_sent], worker=worker)
    endings = [one for one in endings if not (one.says_sent and one.name in written)]
    return _record_with_care(connection, endings, worker=worker) + Counter({OutcomeName.SENT: len(written)})


def _record_with_care(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> Counter[str]:
    if not endings:
        return Counter()
    settled = items.settle(connection, DELIVER, [_end_of_item(one) for one in endings])
    _no_later_than_their_end(connection, [one.name for one in endings if one.update.delay and one.name in settled])
    written = _end_jobs(connection, [one for one in endings if one.name in settled])
    in_time = {one.name for one in endings if one.name in settled and one.name[0] in written}
    late = _record_late(connection, [one for one in endings if one.name not in in_time and one.says_sent])
    verdicts = [
        (one, one.update.outcome if one.name in in_time else late.get(one.name, OutcomeName.LEASE_LOST))
        for one in endings
    ]
    went_out = {OutcomeName.SENT, OutcomeName.LATE_SUCCESS, OutcomeName.DUPLICATE_SENT}
    _keep_attempts(connection, [_as_row(one) for one, verdict in verdicts if verdict not in went_out])
    counts = Counter[tuple[str, str]]((one.job.event_type, verdict) for one, verdict in verdicts)
    counts.update((one.job.event_type, AMBIGUOUS) for one in endings if one.update.ambiguous)
    stats.count(connection, worker=worker, counts=counts)
    return Counter(verdict for _, verdict in verdicts)


def _end_jobs(connection: Connection, endings: Sequence[Ending]) -> set[int]:
    if not endings:
        return set()
    return set(connection.exec_driver_sql(_END_JOBS, _parameters(endings)).scalars())


def _record_late(connection: Connection, endings: Sequence[Ending]) -> dict[Attempt, OutcomeName]:
    """Write that these emails were sent; of several attempts of one job the first is the one that was."""
    if not endings:
        return {}
    parameters = _parameters(endings)
    before = {row.id: row.status for row in connection.exec_driver_sql(_LOCK, {"ids": parameters["ids"]})}
    connection.exec_driver_sql(_SENT_ANYWAY, parameters)
    verdicts = {}
    for one in endings:
        if one.job.claim.id in before:
            was_sent = before[one.job.claim.id] == JobStatus.SENT
            verdicts[one.name] = OutcomeName.DUPLICATE_SENT if was_sent else OutcomeName.LATE_SUCCESS
            before[one.job.claim.id] = JobStatus.SENT
    return verdicts


def _no_later_than_their_end(connection: Connection, attempts: Iterable[Attempt]) -> None:
    if ids := [id_ for id_, _ in attempts]:
        connection.exec_driver_sql(_WAKE, {"ids": ids})


def _keep_attempts(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        connection.exec_driver_sql(_KEEP_ATTEMPTS, {"endings": dumps(rows)})


def _end_of_item(ending: Ending) -> items.Ending:
    update, claimed = ending.update, ending.job.claim
    failed = int(update.failed)
    if update.delay is not None:
        back = items.released(claimed)
        return replace(back, due_in=update.delay.total_seconds(), failed=failed, reason=update.reason)
    if update.status == JobStatus.DEAD:
        return items.dead(claimed, update.reason or JobStatus.DEAD, failed=failed)
    return items.done(claimed)


def _parameters(endings: Sequence[Ending]) -> dict[str, Any]:
    return {"endings": dumps(list(map(_as_row, endings))), "ids": [one.job.claim.id for one in endings]}


def _as_row(ending: Ending) -> dict[str, Any]:
    """Absent fields are null."""
    update, claimed = ending.update, ending.job.claim
    row = {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "lapses": claimed.lapses,
        "status": update.status,
        "reason": update.reason,
        "verdict": f"{update.outcome}: {update.reason}" if update.reason else update.outcome,
        "to_email": ending.to_email,
        "relay": ending.relay,
        "took_ms": ending.took_ms,
    }
    if answer := update.answer:
        row |= {"phase": answer.phase, "code": answer.code, "enhanced": answer.enhanced, "text": answer.text}
    return row
