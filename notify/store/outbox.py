"""Letters in the table: claimed by the delivery, ended by outcomes, counted in the same transaction."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import timedelta
from json import dumps
from operator import attrgetter
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
    Uuid,
    bindparam,
    case,
    func,
    insert,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.jobs import Job
from notify.domain.outcomes import Answer
from notify.domain.schedule import Hold
from notify.domain.settlement import Settlement
from notify.store import groups, stats
from notify.store.leases import DEAD, ENDING, PENDING, POISON, SENDING, Leases, after
from notify.store.records import records
from notify.store.tables import email_attempts, email_jobs, notification_event_types

SENT = "sent"
SKIPPED = "skipped"
LATE_SUCCESS = "late_success"
DUPLICATE_SENT = "duplicate_sent"
LEASE_LOST = "lease_lost"
AMBIGUOUS = "ambiguous"
LAPSE = "lapse"
LIFE = timedelta(hours=72)

Try = tuple[int, int]

LEASES = Leases(email_jobs, held=SENDING)
WANTED: Sequence[ColumnElement[Any]] = (
    email_jobs.c.id,
    email_jobs.c.attempt,
    email_jobs.c.failures,
    email_jobs.c.max_failures,
    email_jobs.c.lapses,
    email_jobs.c.event_id,
    email_jobs.c.event_type,
    email_jobs.c.cl_link,
    email_jobs.c.username,
    email_jobs.c.to_email,
    email_jobs.c.reason,
    email_jobs.c.message_id,
    email_jobs.c.leader_id,
    email_jobs.c.carried_as,
    email_jobs.c.held_by,
    (email_jobs.c.expires_at <= func.now()).label("expired"),
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
    The end of one try, to be recorded.

    ``to_email`` is where the letter went, or None if it never got so far; ``relay`` names who
    was asked, or is None if nobody was; ``took`` is how long it took, None if no letter was written.
    """

    job: Job
    settlement: Settlement
    to_email: str | None = None
    relay: str | None = None
    took: timedelta | None = None

    @property
    def name(self) -> Try:
        """What names the try for ever."""
        return self.job.claim.id, self.job.claim.attempt

    @property
    def says_sent(self) -> bool:
        """Whether the letter is out, which is true whoever holds its lease."""
        return self.settlement.status == SENT

    @property
    def took_ms(self) -> int | None:
        """How long it took, as the table has it."""
        return None if self.took is None else round(self.took / timedelta(milliseconds=1))


def claim(connection: Connection, *, limit: int, lease: timedelta, worker: UUID) -> list[Job]:
    """
    Take up to *limit* due letters in the order they should go.

    A letter that tells of several events is one of these: the job of its leader has the others as followers.
    """
    rows = LEASES.claim(connection, limit=limit, lease=lease, worker=worker, wanted=WANTED)
    return _with_followers(connection, rows, worker=worker, lapsed=False)


def claim_lapsed(connection: Connection, *, lease: timedelta, worker: UUID) -> Job | None:
    """Take one letter of which some worker vanished, and count that if it was the last; None when none is due."""
    row = LEASES.claim_lapsed(connection, lease=lease, worker=worker, wanted=WANTED)
    if row is None:
        return None
    (job,) = _with_followers(connection, [row], worker=worker, lapsed=row.has_lapsed)
    if row.has_lapsed:
        lapses = Counter((one.event_type, LAPSE) for one in (job, *job.followers))
        stats.count(connection, worker=worker, counts=lapses)
    return job


def aboard(connection: Connection, job_id: int) -> list[Job]:
    """The rows of the letter that this row is on, the leader first, as they stand; empty if there never was one."""
    row = email_jobs.c
    leader = select(func.coalesce(row.leader_id, row.id)).where(row.id == job_id).scalar_subquery()
    whole = select(*WANTED).where((row.id == leader) | (row.leader_id == leader), row.message_id.is_not(None))
    return [_job(one) for one in connection.execute(whole.order_by(row.leader_id.is_not(None), row.id))]


def release(connection: Connection, tries: Sequence[Try]) -> set[int]:
    """Give these back, due at once, no failure counted, with what was to leave with them; the ids still ours."""
    ours = LEASES.release(connection, tries)
    groups.give_back(connection, ours)
    return ours


def take_back(connection: Connection, tries: Sequence[Try], *, worker: UUID) -> set[int]:
    """Undo a claim that was never answered, with what was to leave with these letters; the ids it had taken."""
    ours = LEASES.take_back(connection, tries, worker=worker)
    groups.give_back(connection, ours)
    return ours


def bury_poison(connection: Connection, *, worker: UUID, limit: int = 100) -> int:
    """End the letters that have outlived three workers, whole; how many rows there were."""
    buried = list(LEASES.bury_poison(connection, limit=limit, wanted=WANTED, outcome_reason=POISON))
    led = [row.id for row in buried if row.carried_as]
    if led:
        buried += connection.execute(_BURY, {"leaders": led}).all()
    if buried:
        _keep(
            connection, [{"job_id": row.id, "attempt": row.attempt, "verdict": f"{DEAD}: {POISON}"} for row in buried]
        )
        stats.count(connection, worker=worker, counts=Counter((row.event_type, DEAD) for row in buried))
    return len(buried)


def _with_followers(connection: Connection, rows: Sequence[Row[Any]], *, worker: UUID, lapsed: bool) -> list[Job]:
    """These letters, each with the rows that it tells of besides, which hold no lease of their own."""
    led: dict[int, list[Job]] = {row.id: [] for row in rows if row.carried_as}
    if led:
        parameters = {"leaders": list(led), "worker": worker, "lapsed": int(lapsed)}
        for row in sorted(connection.execute(_FOLLOW, parameters), key=attrgetter("id")):
            led[row.leader_id].append(_job(row))
    return [replace(_job(row), followers=tuple(led.get(row.id, ()))) if row.id in led else _job(row) for row in rows]


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
# Who leaves with another's letter is not due before the end of its own life: then it is found too old, not forgotten.
_FIRST_DUE = case((_new.c.leader_id.is_not(None), _END), else_=func.coalesce(_new.c.leaves_at, func.now()))
# In one order everywhere: two workers that write the same letters must not wait for each other.
_ADD = (
    upsert(email_jobs)
    .from_select(
        [
            "event_id", "event_type", "cl_link", "username", "reason", "priority", "to_email", "message_id",
            "status", "due_at", "finished_at", "outcome_reason", "expires_at", "leader_id", "carried_as", "held_by",
        ],
        select(
            _new.c.event_id,
            _new.c.event_type,
            _new.c.cl_link,
            _new.c.username,
            _new.c.reason,
            _new.c.priority,
            _new.c.to_email,
            _new.c.message_id,
            case((_skipped, SKIPPED), else_=PENDING),
            case((~_skipped, _FIRST_DUE)),
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
)  # fmt: skip


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
    **ENDING,
    reason=Text,
    code=SmallInteger,
    enhanced=Text,
    error=Text,
    reply=Text,
    to_email=Text,
    relay=Text,
    sent_in_ms=Integer,
)
_FACTS = {
    "outcome_reason": _ending.c.reason,
    "last_code": _ending.c.code,
    "last_enhanced_code": _ending.c.enhanced,
    "last_error": func.coalesce(_ending.c.error, email_jobs.c.last_error),
    "relay_reply": _ending.c.reply,
    "to_email": func.coalesce(_ending.c.to_email, email_jobs.c.to_email),
    "relay": _ending.c.relay,
    "sent_in_ms": _ending.c.sent_in_ms,
}
# A retry must not sleep past the letter's end: it wakes then, to be recorded as expired.
# Who leaves with another's letter waits for that one, however long.
_DUE = case(
    (_ending.c.delay.is_not(None) & email_jobs.c.leader_id.is_not(None), email_jobs.c.due_at),
    (
        _ending.c.delay.is_not(None),
        func.least(
            after(_ending.c.delay),
            func.greatest(email_jobs.c.expires_at, func.now()),
        ),
    ),
)
# The leader's budget is that of its letter; that of another row on it may have been smaller.
_BUDGET = case(
    (
        email_jobs.c.leader_id.is_not(None),
        func.greatest(email_jobs.c.max_failures, email_jobs.c.failures + _ending.c.failed),
    ),
    else_=email_jobs.c.max_failures,
)
_SETTLE = (
    LEASES.settle(_ending)
    .values(**_FACTS, due_at=_DUE, max_failures=_BUDGET)
    .returning(email_jobs.c.id, email_jobs.c.attempt)
)
_LOCK = (
    select(email_jobs.c.id, email_jobs.c.status)
    .where(email_jobs.c.id.in_(select(_ending.c.id)))
    .order_by(email_jobs.c.id)
    .with_for_update()
)
_led = email_jobs.c.leader_id == func.any(bindparam("leaders", type_=ARRAY(BigInteger)))
_FOLLOW = (
    update(email_jobs)
    .where(_led, email_jobs.c.due_at.is_not(None))
    .values(
        status=SENDING,
        attempt=email_jobs.c.attempt + 1,
        lapses=email_jobs.c.lapses + bindparam("lapsed", type_=Integer),
        leased_by=bindparam("worker", type_=Uuid),
    )
    .returning(*WANTED)
)
_BURY = (
    update(email_jobs)
    .where(_led, email_jobs.c.due_at.is_not(None))
    .values(status=DEAD, due_at=None, finished_at=func.now(), lapses=email_jobs.c.lapses + 1, outcome_reason=POISON)
    .returning(*WANTED)
)
_SENT_ANYWAY = (
    update(email_jobs)
    .where(email_jobs.c.id == _ending.c.id, email_jobs.c.status != SENT)
    .values(status=SENT, due_at=None, finished_at=func.now(), **_FACTS)
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
    Write what became of these tries, and count it.

    A refusal is written only under the attempt that produced it; when the lease was lost it is
    counted (``lease_lost``) and dropped. *Sent* is a fact and is written whatever the row says
    now: ``late_success`` where another outcome or another holder was in its place,
    ``duplicate_sent`` where the row said sent already. ``ambiguous`` is counted besides the
    verdict: the relay may have taken the letter. What became of a letter is written to each row
    that it tells of, under that row's own attempt.

    Returns how many letters by verdict; the statistics count rows.
    """
    if not endings:
        return Counter()
    whole = [row for one in endings for row in (one, *(replace(one, job=job) for job in one.job.followers))]
    parameters = {"endings": dumps([_row(one) for one in whole])}
    settled: set[Try] = {(row.id, row.attempt) for row in connection.execute(_SETTLE, parameters).all()}
    late = _record_late(connection, [one for one in whole if one.name not in settled and one.says_sent])
    verdicts = [
        (one, one.settlement.verdict if one.name in settled else late.get(one.name, LEASE_LOST)) for one in whole
    ]
    _keep(connection, [_try(one) for one, verdict in verdicts if verdict not in {SENT, LATE_SUCCESS, DUPLICATE_SENT}])
    counts = Counter((one.job.event_type, verdict) for one, verdict in verdicts)
    counts.update((one.job.event_type, AMBIGUOUS) for one in whole if one.settlement.ambiguous)
    stats.count(connection, worker=worker, counts=counts)
    return Counter(verdict for one, verdict in verdicts if one.job.leader_id is None)


def _record_late(connection: Connection, endings: Sequence[Ending]) -> dict[Try, str]:
    """Write that these letters were sent; of several tries of one letter the first is the one that was."""
    if not endings:
        return {}
    parameters = {"endings": dumps([_row(one) for one in endings])}
    before: dict[int, str] = {row.id: row.status for row in connection.execute(_LOCK, parameters)}
    connection.execute(_SENT_ANYWAY, parameters)
    verdicts = {}
    for one in endings:
        if one.job.claim.id in before:
            verdicts[one.name] = DUPLICATE_SENT if before[one.job.claim.id] == SENT else LATE_SUCCESS
            before[one.job.claim.id] = SENT
    return verdicts


def _keep(connection: Connection, tries: Sequence[Mapping[str, Any]]) -> None:
    if tries:
        connection.execute(_KEEP, {"tries": dumps(tries)})


def _row(ending: Ending) -> dict[str, Any]:
    settlement, claimed = ending.settlement, ending.job.claim
    answer = settlement.answer
    text = answer.text if answer else None
    return {
        "id": claimed.id,
        "attempt": claimed.attempt,
        "status": settlement.status,
        "delay": None if settlement.delay is None else settlement.delay.total_seconds(),
        "failed": int(settlement.failed),
        "reason": settlement.reason,
        "code": answer.code if answer else None,
        "enhanced": answer.enhanced if answer else None,
        "error": None if ending.says_sent else text or None,
        "reply": text if ending.says_sent else None,
        "to_email": ending.to_email,
        "relay": ending.relay if ending.says_sent else None,
        "sent_in_ms": ending.took_ms if ending.says_sent else None,
    }


def _try(ending: Ending) -> dict[str, Any]:
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


def _job(row: Row[Any]) -> Job:
    return Job(
        claim=Claim(
            id=row.id,
            attempt=row.attempt,
            failures=row.failures,
            max_failures=row.max_failures,
            lapses=row.lapses,
        ),
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
