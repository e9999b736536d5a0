"""Jobs in the table: claimed by the delivery, ended by outcomes, counted in the same transaction."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    SmallInteger,
    Text,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    select,
    update,
)

from notify.domain.claims import Claim, Lane
from notify.domain.jobs import Job
from notify.domain.outcomes import POISON, Answer, Phase
from notify.domain.settlement import Settlement
from notify.domain.stages import DELIVER
from notify.domain.statuses import AMBIGUOUS, LAPSE, JobStatus, Verdict
from notify.store.operations import stats
from notify.store.outbox import facts, items, sent
from notify.store.outbox.items import Attempt
from notify.store.outbox.notifications import first_type
from notify.store.records import records
from notify.store.tables.emails import email_attempts, email_jobs, work_items

_row = email_jobs.c


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    The end of one attempt, to be recorded.

    ``to_email`` is where the email went, or None if it never got so far; ``relay`` names who
    was asked, or is None if nobody was; ``took`` is how long it took, None if no email was written.
    """

    job: Job
    settlement: Settlement
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
        return self.settlement.status == JobStatus.SENT

    @property
    def row(self) -> sent.Row:
        """The same for an email that is out."""
        answer = self.settlement.answer or Answer(phase=Phase.FINAL_DOT)
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
    buried = connection.execute(_BURY, {"ids": list(attempts)}).all()
    verdict = f"{JobStatus.DEAD}: {POISON}"
    _keep(connection, [{"job_id": row.id, "attempt": attempts[row.id], "verdict": verdict} for row in buried])
    stats.count(connection, worker=worker, counts=Counter((row.event_type, JobStatus.DEAD) for row in buried))
    return len(buried)


def put_off(connection: Connection, delays: Mapping[Claim, timedelta]) -> None:
    """Claimed jobs wait so long, but not beyond their end: no failure counted, nothing noted as an attempt."""
    endings = [replace(items.released(claim), due_in=delay.total_seconds()) for claim, delay in delays.items()]
    _no_later_than_their_end(connection, items.settle(connection, DELIVER, endings))


_ending = records(
    "endings",
    id=BigInteger,
    attempt=Integer,
    lapses=SmallInteger,
    status=Text,
    reason=Text,
    code=SmallInteger,
    enhanced=Text,
    error=Text,
    reply=Text,
    to_email=Text,
    relay=Text,
    sent_in_ms=Integer,
)
_is_final = _ending.c.status != JobStatus.PENDING
_FACTS: Mapping[str, Any] = {
    "status": _ending.c.status,
    "finished_at": case((_is_final, func.now())),
    "attempts": case((_is_final, _ending.c.attempt), else_=_row.attempts),
    "lapses": case((_is_final, _ending.c.lapses), else_=_row.lapses),
    "outcome_reason": _ending.c.reason,
    "last_code": _ending.c.code,
    "last_enhanced_code": _ending.c.enhanced,
    "last_error": func.coalesce(_ending.c.error, _row.last_error),
    "relay_reply": _ending.c.reply,
    "to_email": func.coalesce(_ending.c.to_email, _row.to_email),
    "relay": _ending.c.relay,
    "sent_in_ms": _ending.c.sent_in_ms,
}
_IDS = any_(bindparam("ids", type_=ARRAY(BigInteger)))
_END_JOBS = (
    update(email_jobs)
    .where(_row.id == _ending.c.id, _row.id == _IDS, _row.status == JobStatus.PENDING)
    .values(_FACTS)
    .returning(_row.id)
)
_LOCK = select(_row.id, _row.status).where(_row.id == _IDS).order_by(_row.id).with_for_update()
_forgotten = (
    delete(work_items)
    .where(work_items.c.stage == DELIVER, work_items.c.id == _IDS)
    .returning(work_items.c.id, work_items.c.attempt, work_items.c.lapses)
    .cte("forgotten")
)


def _known(column: ColumnElement[int], ending: ColumnElement[int], item: ColumnElement[int]) -> ColumnElement[int]:
    """The most that anybody knows: the row, who says so, or the work item that goes."""
    return func.greatest(column, ending, select(item).where(_forgotten.c.id == _row.id).scalar_subquery())


_SENT_ANYWAY = (
    update(email_jobs)
    .where(_row.id == _ending.c.id, _row.id == _IDS, _row.status != JobStatus.SENT)
    .values(
        {
            **_FACTS,
            "attempts": _known(_row.attempts, _ending.c.attempt, _forgotten.c.attempt),
            "lapses": _known(_row.lapses, _ending.c.lapses, _forgotten.c.lapses),
        }
    )
    .add_cte(_forgotten)
)
# A retry must not sleep past the email's end: it wakes then, to be recorded as expired.
_WAKE = (
    update(work_items)
    .where(
        work_items.c.stage == DELIVER,
        work_items.c.id == _IDS,
        _row.id == work_items.c.id,
        work_items.c.lane < int(Lane.LEASED),
        work_items.c.due_at > _row.expires_at,
    )
    .values(due_at=func.greatest(_row.expires_at, func.now()))
)
_BURY = (
    update(email_jobs)
    .where(_row.id == _IDS, _row.status == JobStatus.PENDING)
    .values(status=JobStatus.DEAD, finished_at=func.now(), lapses=items.MOST_LAPSES, outcome_reason=POISON)
    .returning(_row.id, first_type().label("event_type"))
)

_tried = records(
    "tries",
    job_id=BigInteger,
    attempt=Integer,
    phase=Text,
    code=SmallInteger,
    enhanced_code=Text,
    text=Text,
    verdict=Text,
    relay=Text,
    took_ms=Integer,
)
# A job that somebody has deleted meanwhile keeps no attempts, and stops no other's.
_KEEP = insert(email_attempts).from_select(
    [column.name for column in _tried.c],
    select(*_tried.c).where(_tried.c.job_id.in_(select(email_jobs.c.id))),
)


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
    told = sent.record(connection, [one.row for one in endings if one.says_sent], worker=worker)
    endings = [one for one in endings if not (one.says_sent and one.name in told)]
    return Counter({Verdict.SENT: len(told)} if told else {}) + _record_with_care(connection, endings, worker=worker)


def _record_with_care(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> Counter[str]:
    if not endings:
        return Counter()
    settled = items.settle(connection, DELIVER, [_end_of_item(one) for one in endings])
    _no_later_than_their_end(connection, [one.name for one in endings if one.settlement.delay and one.name in settled])
    written = _end_jobs(connection, [one for one in endings if one.name in settled])
    in_time = {one.name for one in endings if one.name in settled and one.name[0] in written}
    late = _record_late(connection, [one for one in endings if one.name not in in_time and one.says_sent])
    verdicts = [
        (one, one.settlement.verdict if one.name in in_time else late.get(one.name, Verdict.LEASE_LOST))
        for one in endings
    ]
    went_out = {Verdict.SENT, Verdict.LATE_SUCCESS, Verdict.DUPLICATE_SENT}
    _keep(connection, [_attempt(one) for one, verdict in verdicts if verdict not in went_out])
    counts = Counter[tuple[str, str]]((one.job.event_type, verdict) for one, verdict in verdicts)
    counts.update((one.job.event_type, AMBIGUOUS) for one in endings if one.settlement.ambiguous)
    stats.count(connection, worker=worker, counts=counts)
    return Counter(verdict for _, verdict in verdicts)


def _end_jobs(connection: Connection, endings: Sequence[Ending]) -> set[int]:
    if not endings:
        return set()
    return set(connection.scalars(_END_JOBS, _parameters(endings)))


def _record_late(connection: Connection, endings: Sequence[Ending]) -> dict[Attempt, Verdict]:
    """Write that these emails were sent; of several attempts of one job the first is the one that was."""
    if not endings:
        return {}
    parameters = _parameters(endings)
    before: dict[int, str] = {row.id: row.status for row in connection.execute(_LOCK, {"ids": parameters["ids"]})}
    connection.execute(_SENT_ANYWAY, parameters)
    verdicts = {}
    for one in endings:
        if one.job.claim.id in before:
            verdicts[one.name] = (
                Verdict.DUPLICATE_SENT if before[one.job.claim.id] == JobStatus.SENT else Verdict.LATE_SUCCESS
            )
            before[one.job.claim.id] = JobStatus.SENT
    return verdicts


def _no_later_than_their_end(connection: Connection, attempts: Collection[Attempt]) -> None:
    if attempts:
        connection.execute(_WAKE, {"ids": [id_ for id_, _ in attempts]})


def _keep(connection: Connection, attempts: Sequence[Mapping[str, Any]]) -> None:
    if attempts:
        connection.execute(_KEEP, {"tries": dumps(attempts)})


def _end_of_item(ending: Ending) -> items.Ending:
    settlement, claimed = ending.settlement, ending.job.claim
    failed = int(settlement.failed)
    if settlement.delay is not None:
        back = items.released(claimed)
        return replace(back, due_in=settlement.delay.total_seconds(), failed=failed, reason=settlement.reason)
    if settlement.status == JobStatus.DEAD:
        return items.dead(claimed, settlement.reason or JobStatus.DEAD, failed=failed)
    return items.done(claimed)


def _parameters(endings: Sequence[Ending]) -> dict[str, Any]:
    return {"endings": dumps([_of_row(one) for one in endings]), "ids": [one.job.claim.id for one in endings]}


def _of_row(ending: Ending) -> dict[str, Any]:
    settlement, claimed = ending.settlement, ending.job.claim
    answer = settlement.answer
    text = answer.text if answer else None
    return {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "lapses": claimed.lapses,
        "status": settlement.status,
        "reason": settlement.reason,
        "code": answer.code if answer else None,
        "enhanced": answer.enhanced if answer else None,
        "error": None if ending.says_sent else text or None,
        "reply": text if ending.says_sent else None,
        "to_email": ending.to_email,
        "relay": ending.relay if ending.says_sent else None,
        "sent_in_ms": ending.took_ms if ending.says_sent else None,
    }


def _attempt(ending: Ending) -> dict[str, Any]:
    answer: Answer | None = ending.settlement.answer
    reason = ending.settlement.reason
    return {
        "job_id": ending.job.claim.id,
        "attempt": ending.job.claim.attempt,
        "phase": answer.phase if answer else None,
        "code": answer.code if answer else None,
        "enhanced_code": answer.enhanced if answer else None,
        "text": answer.text or None if answer else None,
        "verdict": f"{ending.settlement.verdict}: {reason}" if reason else ending.settlement.verdict,
        "relay": ending.relay,
        "took_ms": ending.took_ms,
    }
