"""Letters in the table: claimed by the delivery, ended by outcomes, counted in the same transaction."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    Row,
    SmallInteger,
    Text,
    any_,
    bindparam,
    case,
    delete,
    func,
    insert,
    literal,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from notify.domain.audience import Reason
from notify.domain.claims import Claim, Lane
from notify.domain.jobs import Job
from notify.domain.outcomes import Answer, Phase
from notify.domain.schedule import Hold
from notify.domain.settlement import Settlement
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.store import items, stats
from notify.store.items import POISON, Attempt
from notify.store.records import records
from notify.store.tables import email_attempts, email_jobs, notification_event_types, work_items

LATE_SUCCESS = "late_success"
DUPLICATE_SENT = "duplicate_sent"
LEASE_LOST = "lease_lost"
AMBIGUOUS = "ambiguous"
LAPSE = "lapse"
LIFE = timedelta(hours=72)
MAX_FAILURES = 12

_row = email_jobs.c
WANTED: Sequence[ColumnElement[Any]] = (
    _row.id,
    _row.event_id,
    _row.event_type,
    _row.cl_link,
    _row.username,
    _row.to_email,
    _row.reason,
    _row.message_id,
    _row.leader_id,
    _row.carried_as,
    _row.held_by,
    (_row.expires_at <= func.now()).label("expired"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class NewJob:
    """
    A row to be: a letter, or (with ``skipped_because``) the reason why there is none.

    ``leaves_at`` is ISO 8601 with an offset, None means now; ``leader_id``, ``carried_as`` and ``held_by`` are the
    columns.
    """

    event_id: int
    event_type: str
    cl_link: str
    username: str
    reason: str
    priority: int = 1
    to_email: str | None = None
    message_id: str | None = None
    skipped_because: str | None = None
    leaves_at: str | None = None
    leader_id: int | None = None
    carried_as: str | None = None
    held_by: str | None = None

    @property
    def name(self) -> tuple[int, str]:
        """What names the row before it has an id: its event and its person."""
        return self.event_id, self.username


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """
    The end of one attempt, to be recorded.

    ``to_email`` is where the letter went, or None if it never got so far; ``relay`` names who
    was asked, or is None if nobody was; ``took`` is how long it took, None if no letter was written.
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
        """Whether the letter is out, which is true whoever holds its lease."""
        return self.settlement.status == JobStatus.SENT

    @property
    def is_plain(self) -> bool:
        """Whether the letter is out and tells of one event, which is what mostly happens."""
        return self.says_sent and not self.job.followers

    @property
    def took_ms(self) -> int | None:
        """How long it took, as the table has it."""
        return None if self.took is None else round(self.took / timedelta(milliseconds=1))


def claim(connection: Connection, *, limit: int, lease: timedelta, worker: UUID) -> list[Job]:
    """
    Take up to *limit* due letters in the order they should go.

    A letter that tells of several events is one of these: the job of its leader has the others as followers.
    """
    return _jobs(connection, items.claim(connection, DELIVER, limit=limit, lease=lease, worker=worker))


def claim_lapsed(connection: Connection, *, lease: timedelta, worker: UUID) -> Job | None:
    """Take one letter of which some worker vanished, and count that if it was the last; None when none is due."""
    claimed = items.claim_lapsed(connection, DELIVER, lease=lease, worker=worker)
    if claimed is None:
        return None
    (job,) = _jobs(connection, [claimed])
    if claimed.lane == Lane.LEASED:
        lapses = Counter((one.event_type, LAPSE) for one in (job, *job.followers))
        stats.count(connection, worker=worker, counts=lapses)
    return job


def aboard(connection: Connection, job_id: int) -> list[Job]:
    """The rows of the letter that this row is on, the leader first, as they stand; empty if there never was one."""
    leader = select(func.coalesce(_row.leader_id, _row.id)).where(_row.id == job_id).scalar_subquery()
    whole = select(*WANTED).where((_row.id == leader) | (_row.leader_id == leader), _row.message_id.is_not(None))
    nobodys = Claim(id=job_id, attempt=0, failures=0, max_failures=MAX_FAILURES, lapses=0)
    return [
        _job(one, replace(nobodys, id=one.id))
        for one in connection.execute(whole.order_by(_row.leader_id.is_not(None), _row.id))
    ]


def bury_poison(connection: Connection, *, worker: UUID, limit: int = 100) -> int:
    """End the letters that have outlived three workers, whole; how many rows there were."""
    attempts = dict(items.bury_poison(connection, DELIVER, limit=limit))
    if not attempts:
        return 0
    buried = connection.execute(_BURY, {"ids": list(attempts)}).all()
    _keep(
        connection,
        [
            {"job_id": row.id, "attempt": attempts[row.leader_id or row.id], "verdict": f"{JobStatus.DEAD}: {POISON}"}
            for row in buried
        ],
    )
    stats.count(connection, worker=worker, counts=Counter((row.event_type, JobStatus.DEAD) for row in buried))
    return len(buried)


def put_off(connection: Connection, delays: Mapping[Claim, timedelta]) -> None:
    """Claimed letters wait so long, but not beyond their end: no failure counted, nothing noted as an attempt."""
    endings = [replace(items.released(claim), due_in=delay.total_seconds()) for claim, delay in delays.items()]
    _no_later_than_their_end(connection, items.settle(connection, DELIVER, endings))


def end_of_life(event_type: ColumnElement[str], *, leaves_at: ColumnElement[Any] | None = None) -> ColumnElement[Any]:
    """
    After which instant a letter of this type is not worth sending; 72 hours after it may go if nobody has said.

    Args:
        leaves_at: When it may go; null or None: now.
    """
    types = notification_event_types.c
    stated = select(types.expires_after).where(types.code == event_type).scalar_subquery()
    begins = func.now() if leaves_at is None else func.coalesce(leaves_at, func.now())
    return begins + func.coalesce(stated, literal(LIFE))


_new = records(
    "jobs",
    event_id=BigInteger,
    event_type=Text,
    cl_link=Text,
    username=Text,
    reason=Text,
    priority=SmallInteger,
    to_email=Text,
    message_id=Text,
    skipped_because=Text,
    leaves_at=DateTime(timezone=True),
    leader_id=BigInteger,
    carried_as=Text,
    held_by=Text,
)
_skipped = _new.c.skipped_because.is_not(None)
_END = end_of_life(_new.c.event_type, leaves_at=_new.c.leaves_at)
# In one order everywhere: two workers that write the same letters must not wait for each other.
_add = (
    upsert(email_jobs)
    .from_select(
        [
            "event_id", "event_type", "cl_link", "username", "reason", "to_email", "message_id",
            "status", "finished_at", "outcome_reason", "expires_at", "leader_id", "carried_as", "held_by",
        ],
        select(
            _new.c.event_id,
            _new.c.event_type,
            _new.c.cl_link,
            _new.c.username,
            _new.c.reason,
            _new.c.to_email,
            _new.c.message_id,
            case((_skipped, JobStatus.SKIPPED), else_=JobStatus.PENDING),
            case((_skipped, func.now())),
            _new.c.skipped_because,
            _END,
            _new.c.leader_id,
            _new.c.carried_as,
            _new.c.held_by,
        ).order_by(_new.c.event_id, _new.c.username),
    )
    .on_conflict_do_nothing(
        index_elements=[email_jobs.c.event_id, email_jobs.c.username], index_where=email_jobs.c.replay_of.is_(None)
    )
    .returning(email_jobs.c.id, email_jobs.c.event_id, email_jobs.c.username, email_jobs.c.status)
    .cte("added")
)  # fmt: skip
_to_do = (
    insert(work_items)
    .from_select(
        ["stage", "id", "lane", "due_at", "max_failures"],
        select(
            literal(DELIVER, Text),
            _add.c.id,
            _new.c.priority,
            func.coalesce(_new.c.leaves_at, func.now()),
            literal(MAX_FAILURES),
        ).where(
            _new.c.event_id == _add.c.event_id,
            _new.c.username == _add.c.username,
            ~_skipped,
            _new.c.leader_id.is_(None),
        ),
    )
    .cte("to_do")
)
_ADD = select(_add).add_cte(_to_do)


def add(connection: Connection, rows: Sequence[NewJob]) -> Counter[str]:
    """Write the rows that are not there yet; how many by status. Safe to repeat."""
    return Counter(row.status for row in written(connection, rows))


def written(connection: Connection, rows: Sequence[NewJob]) -> Sequence[Row[Any]]:
    """Write the rows that are not there yet; the id, event, person and status of those. Safe to repeat."""
    if not rows:
        return ()
    return connection.execute(_ADD, {"jobs": dumps([asdict(row) for row in rows])}).all()


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
_SENT = """
    WITH ending AS MATERIALIZED (
        SELECT * FROM unnest(
            %(ids)s::bigint[], %(attempts)s::int[], %(codes)s::smallint[], %(enhanced)s::text[], %(replies)s::text[],
            %(addresses)s::text[], %(relays)s::text[], %(took)s::int[]
        ) AS ending(id, attempt, code, enhanced, reply, address, relay, took)
    ), locked AS MATERIALIZED (
        SELECT item.id, item.attempt, item.lane FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (%(ids)s::bigint[]) ORDER BY item.id FOR UPDATE
    ), gone AS (
        DELETE FROM notify.work_items AS item
        WHERE item.stage = 'deliver' AND item.id = ANY (ARRAY(
            SELECT locked.id FROM locked JOIN ending ON ending.id = locked.id AND ending.attempt = locked.attempt
            WHERE locked.lane = 8
        ))
        RETURNING item.id, item.attempt, item.lapses
    ), told AS (
        UPDATE notify.email_jobs AS job
        SET status = 'sent', finished_at = now(), attempts = ending.attempt, lapses = gone.lapses,
            outcome_reason = NULL, last_code = ending.code, last_enhanced_code = ending.enhanced,
            relay_reply = ending.reply,
            to_email = coalesce(ending.address, job.to_email), relay = ending.relay, sent_in_ms = ending.took
        FROM ending JOIN gone ON gone.id = ending.id AND gone.attempt = ending.attempt
        WHERE job.id = ANY (%(ids)s::bigint[]) AND job.id = ending.id AND job.status = 'pending'
        RETURNING job.id, job.attempts, job.event_type
    ), counted AS (
        INSERT INTO notify.delivery_stats AS stats (minute, worker, event_type, outcome, count)
        SELECT date_trunc('minute', now()), %(worker)s, told.event_type, 'sent', count(*)
        FROM told GROUP BY told.event_type
        ON CONFLICT (minute, worker, event_type, outcome) DO UPDATE SET count = stats.count + excluded.count
    )
    SELECT told.id, told.attempts FROM told
"""
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
# A retry must not sleep past the letter's end: it wakes then, to be recorded as expired.
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
_LOAD = union_all(
    select(*WANTED).where(_row.id == _IDS),
    select(*WANTED).where(_row.leader_id == _IDS, _row.status == JobStatus.PENDING),
)
_BURY = (
    update(email_jobs)
    .where(or_(_row.id == _IDS, _row.leader_id == _IDS), _row.status == JobStatus.PENDING)
    .values(status=JobStatus.DEAD, finished_at=func.now(), lapses=items.MOST_LAPSES, outcome_reason=POISON)
    .returning(_row.id, _row.leader_id, _row.event_type)
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
# A letter that somebody has deleted meanwhile keeps no tries, and stops no other's.
_KEEP = insert(email_attempts).from_select(
    [column.name for column in _tried.c],
    select(*_tried.c).where(_tried.c.job_id.in_(select(email_jobs.c.id))),
)


def record(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> Counter[str]:
    """
    Write what became of these attempts, and count it.

    A refusal is written only under the attempt that produced it; when the lease was lost it is
    counted (``lease_lost``) and dropped. *Sent* is a fact and is written whatever the row says
    now: ``late_success`` where another outcome or another holder was in its place,
    ``duplicate_sent`` where the row said sent already. ``ambiguous`` is counted besides the
    verdict: the relay may have taken the letter. What became of a letter is written to each row
    that it tells of.

    Returns how many letters by verdict; the statistics count rows.
    """
    told = _record_plain(connection, [one for one in endings if one.is_plain], worker=worker)
    endings = [one for one in endings if not (one.is_plain and one.name in told)]
    return Counter({JobStatus.SENT: len(told)} if told else {}) + _record_with_care(connection, endings, worker=worker)


def _record_plain(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> set[Attempt]:
    """Write and count in one statement what is out and was ours until now; which. The rest is looked at with care."""
    if not endings:
        return set()
    answers = [one.settlement.answer or Answer(phase=Phase.FINAL_DOT) for one in endings]
    values = {
        "worker": worker,
        "ids": [one.job.claim.id for one in endings],
        "attempts": [one.job.claim.attempt for one in endings],
        "codes": [answer.code for answer in answers],
        "enhanced": [answer.enhanced for answer in answers],
        "replies": [answer.text for answer in answers],
        "addresses": [one.to_email for one in endings],
        "relays": [one.relay for one in endings],
        "took": [one.took_ms for one in endings],
    }
    return {(id_, attempt) for id_, attempt in connection.exec_driver_sql(_SENT, values)}


def _record_with_care(connection: Connection, endings: Sequence[Ending], *, worker: UUID) -> Counter[str]:
    if not endings:
        return Counter()
    settled = items.settle(connection, DELIVER, [_end_of_item(one) for one in endings])
    _no_later_than_their_end(connection, [one.name for one in endings if one.settlement.delay and one.name in settled])
    whole = [(row, one.name) for one in endings for row in (one, *(replace(one, job=job) for job in one.job.followers))]
    written = _end_jobs(connection, [row for row, leader in whole if leader in settled])
    in_time = {row.name for row, leader in whole if leader in settled and row.name[0] in written}
    late = _record_late(connection, [row for row, _ in whole if row.name not in in_time and row.says_sent])
    verdicts = [
        (row, row.settlement.verdict if row.name in in_time else late.get(row.name, LEASE_LOST)) for row, _ in whole
    ]
    sent = {JobStatus.SENT, LATE_SUCCESS, DUPLICATE_SENT}
    _keep(connection, [_attempt(one) for one, verdict in verdicts if verdict not in sent])
    counts = Counter((one.job.event_type, verdict) for one, verdict in verdicts)
    counts.update((one.job.event_type, AMBIGUOUS) for one, _ in whole if one.settlement.ambiguous)
    stats.count(connection, worker=worker, counts=counts)
    return Counter(verdict for one, verdict in verdicts if one.job.leader_id is None)


def _end_jobs(connection: Connection, endings: Sequence[Ending]) -> set[int]:
    if not endings:
        return set()
    return set(connection.scalars(_END_JOBS, _parameters(endings)))


def _record_late(connection: Connection, endings: Sequence[Ending]) -> dict[Attempt, str]:
    """Write that these letters were sent; of several attempts of one letter the first is the one that was."""
    if not endings:
        return {}
    parameters = _parameters(endings)
    before: dict[int, str] = {row.id: row.status for row in connection.execute(_LOCK, {"ids": parameters["ids"]})}
    connection.execute(_SENT_ANYWAY, parameters)
    verdicts = {}
    for one in endings:
        if one.job.claim.id in before:
            verdicts[one.name] = DUPLICATE_SENT if before[one.job.claim.id] == JobStatus.SENT else LATE_SUCCESS
            before[one.job.claim.id] = JobStatus.SENT
    return verdicts


def _no_later_than_their_end(connection: Connection, attempts: Collection[Attempt]) -> None:
    if attempts:
        connection.execute(_WAKE, {"ids": [id_ for id_, _ in attempts]})


def _jobs(connection: Connection, claims: Sequence[Claim]) -> list[Job]:
    """These letters, each with the rows that it tells of besides, which have no work items of their own."""
    if not claims:
        return []
    by_id = {one.id: one for one in claims}
    led: dict[int, list[Job]] = defaultdict(list)
    own: dict[int, Row[Any]] = {}
    for row in connection.execute(_LOAD, {"ids": list(by_id)}):
        if row.leader_id is None:
            own[row.id] = row
        else:
            led[row.leader_id].append(_job(row, replace(by_id[row.leader_id], id=row.id)))
    return [
        replace(_job(own[one.id], one), followers=tuple(sorted(led[one.id], key=_id)))
        if one.id in led
        else _job(own[one.id], one)
        for one in claims
    ]


def _id(job: Job) -> int:
    return job.claim.id


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


def _job(row: Row[Any], claim: Claim) -> Job:
    return Job(
        claim=claim,
        event_id=row.event_id,
        event_type=row.event_type,
        cl_link=row.cl_link,
        username=row.username,
        to_email=row.to_email,
        reason=Reason(row.reason),
        message_id=row.carried_as or row.message_id,
        expired=row.expired,
        leader_id=row.leader_id,
        held_by=Hold(row.held_by) if row.held_by else None,
    )
