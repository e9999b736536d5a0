"""
What operators may do to letters by hand, to one or to many: retry, cancel, replay.

Decided: one statement for each, over a page of letters in the order of their ids, which locks the
    rows before it changes them. One letter is a page of one, so that nothing is written twice.
Decided: who leaves with another's letter goes on without it when that one is cancelled, the first as the
    leader of the others. To make such a one due is to make its letter due; once the letter has ended, it
    is retried and replayed by itself.
Decided: pages follow each other by id. What a page leaves as it was, such as a letter that waits and
    is made due now, would else be found again by the next.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Subquery,
    Text,
    any_,
    case,
    cast,
    delete,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.dialects.postgresql import insert as upsert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from notify.domain.claims import Lane
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.store.outbox import MAX_FAILURES, end_of_life
from notify.store.tables import email_jobs, events, notification_event_types, work_items
from notify.store.which import Which, meant

REVIVABLE = (JobStatus.PENDING, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
REPLAYABLE = (JobStatus.SENT, JobStatus.DEAD, JobStatus.EXPIRED, JobStatus.CANCELLED)
CANCELLED_BY_HAND = "by_hand"
REPLAY_NUMBER = r"\.r([0-9]+)@"
BEFORE_HOST = r"(\.r[0-9]+)?@"
COPIED = ("event_id", "event_type", "cl_link", "username", "to_email", "reason")

_row, _item = email_jobs.c, work_items.c
_REVIVED = (_row.id, _row.leader_id, _row.event_type, _row.attempts, _row.lapses)
_others = email_jobs.alias("others")
_told_of = events.alias("told_of")
# Its own name: whoever asks may have joined the table for itself.
_lease = work_items.alias("lease").c


class Action(StrEnum):
    """What may be done by hand."""

    RETRY = "retry"
    CANCEL = "cancel"
    REPLAY = "replay"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """
    How many letters are meant, and to how many of them the action can be done.

    ``last_id`` is the highest id of those; a letter that is written later is not meant.
    """

    matched: int
    allowed: int
    last_id: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What one statement did: the ids of the letters it changed or wrote. ``last_id`` None: nothing was left."""

    done: tuple[int, ...]
    last_id: int | None


def allowed(action: Action) -> ColumnElement[bool]:
    """Whether the state of a letter allows this."""
    return _ALLOWED[action]


def tally(connection: Connection, action: Action, which: Which) -> Tally:
    """How many letters are meant, and to how many of them this can be done now."""
    may = allowed(action)
    query = select(
        func.count().label("matched"),
        func.count().filter(may).label("allowed"),
        func.coalesce(func.max(_row.id).filter(may), 0).label("last_id"),
    )
    return Tally(**connection.execute(query.where(meant(which))).mappings().one())


def act(connection: Connection, action: Action, which: Which, *, after_id: int = 0, last_id: int, limit: int) -> Page:
    """
    Do it to the first *limit* of these letters with an id above *after_id* and up to *last_id*.

    Raises:
        IntegrityError: Somebody began to replay one of these letters at this moment; do it again.
        OperationalError: Workers recorded some of them in another order (a deadlock); do it again.
    """
    page = (
        select(_row.id)
        .where(meant(which), allowed(action), _row.id > after_id, _row.id <= last_id)
        .order_by(_row.id)
        .limit(limit)
    )
    if action is not Action.REPLAY:
        # Whoever claims one of these, or joins it, locks its item: the statement that follows sees what came of that.
        # Items before letters, as a worker locks them that records; else each would wait for the other.
        letters = select(func.coalesce(_row.leader_id, _row.id)).where(_row.id.in_(page.scalar_subquery()))
        locked = select(_item.id).where(_item.stage == DELIVER, _item.id == any_(func.array(letters.scalar_subquery())))
        connection.execute(locked.order_by(_item.id).with_for_update())
    page = page.with_for_update(of=email_jobs)
    chosen = page.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    acted = _ACTS[action](chosen).cte("acted")
    last = select(func.max(chosen.c.id)).scalar_subquery()
    done = select(func.array_agg(acted.c.id)).scalar_subquery()
    query = select(last.label("last_id"), done.label("done"))
    if action is Action.CANCEL:
        query = query.add_cte(_pass_on(chosen), _inherit(chosen), _forget(chosen))
    else:
        query = query.add_cte(_due_now(acted))
    found = connection.execute(query).one()
    return Page(done=tuple(found.done or ()), last_id=found.last_id)


def act_on(connection: Connection, action: Action, job_id: int) -> int | None:
    """Do it to one letter; the id of the letter changed or written, None if its state does not allow it."""
    page = act(connection, action, Which(ids=(job_id,)), last_id=job_id, limit=1)
    return page.done[0] if page.done else None


def _retry(chosen: CTE) -> ReturningUpdate[Any]:
    """
    Due now, with a fresh budget and life where they are spent; no history is reset.

    Of several replays of one letter that have ended, the first comes back and the others stay. Who
    was to leave with another's letter still does if that one waits or comes back, else goes alone.
    """
    stays = (_row.status == JobStatus.PENDING) | (_row.leader_id == _any_of(chosen))
    earlier = exists().where(
        _others.c.replay_of == _row.replay_of, _others.c.id < _row.id, _others.c.id.in_(select(chosen.c.id))
    )
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen), or_(_row.status == JobStatus.PENDING, ~earlier))
        .values(
            status=JobStatus.PENDING,
            leader_id=case((stays, _row.leader_id)),
            carried_as=case((stays | _row.leader_id.is_(None), _row.carried_as)),
            finished_at=None,
            outcome_reason=None,
            expires_at=func.greatest(_row.expires_at, end_of_life(_row.event_type)),
        )
        .returning(*_REVIVED)
    )


def _due_now(acted: CTE) -> CTE:
    """The letters of these are due now, whoever leads them; their budgets begin anew where they are spent."""
    letter = func.coalesce(acted.c.leader_id, acted.c.id)
    fresh = upsert(work_items).from_select(
        ["stage", "id", "lane", "attempt", "lapses", "max_failures"],
        select(
            literal(DELIVER, Text),
            letter,
            case((acted.c.lapses > 0, int(Lane.LAPSED)), else_=_lane_of(acted.c.event_type)),
            acted.c.attempts,
            acted.c.lapses,
            literal(MAX_FAILURES),
        ).ext(distinct_on(letter)),
    )
    waits = case(
        (_item.lapses > 0, int(Lane.LAPSED)),
        (_item.lane < int(Lane.LAPSED), _item.lane),
        else_=fresh.excluded.lane,
    )
    budget = func.greatest(_item.max_failures, _item.failures + MAX_FAILURES)
    return fresh.on_conflict_do_update(
        index_elements=[_item.stage, _item.id],
        set_={"lane": waits, "due_at": func.now(), "max_failures": budget, "reason": None},
        where=_item.lane != int(Lane.LEASED),
    ).cte("due_now")


def _cancel(chosen: CTE) -> ReturningUpdate[Any]:
    its_item = select(_item.attempt).where(_item.stage == DELIVER, _item.id == _row.id)
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen))
        .values(
            status=JobStatus.CANCELLED,
            finished_at=func.now(),
            outcome_reason=CANCELLED_BY_HAND,
            attempts=func.greatest(_row.attempts, its_item.scalar_subquery()),
            lapses=func.greatest(_row.lapses, its_item.with_only_columns(_item.lapses).scalar_subquery()),
        )
        .returning(_row.id)
    )


def _heirs(chosen: CTE) -> Subquery:
    """Of those who were to leave with one of these, the first, which is to lead the others."""
    return (
        select(_others.c.leader_id.label("leader_id"), func.min(_others.c.id).label("heir"))
        .where(
            _others.c.leader_id.in_(select(chosen.c.id)),
            _others.c.id.not_in(select(chosen.c.id)),
            _others.c.status == JobStatus.PENDING,
        )
        .group_by(_others.c.leader_id)
        .subquery("heirs")
    )


def _pass_on(chosen: CTE) -> CTE:
    """The others of a letter follow its heir."""
    heirs = _heirs(chosen)
    return (
        update(email_jobs)
        .where(
            _row.leader_id == heirs.c.leader_id,
            _row.id.not_in(select(chosen.c.id)),
            _row.status == JobStatus.PENDING,
        )
        .values(leader_id=func.nullif(heirs.c.heir, _row.id))
        .cte("passed_on")
    )


def _inherit(chosen: CTE) -> CTE:
    """The heir has a work item like the one that goes, at the same time."""
    heirs = _heirs(chosen)
    columns = ["lane", "due_at", "attempt", "failures", "max_failures", "lapses", "leased_by"]
    source = select(_item.stage, heirs.c.heir, *(_item[name] for name in columns)).where(
        _item.stage == DELIVER, _item.id == heirs.c.leader_id
    )
    return upsert(work_items).from_select(["stage", "id", *columns], source).on_conflict_do_nothing().cte("inherited")


def _forget(chosen: CTE) -> CTE:
    return delete(work_items).where(_item.stage == DELIVER, _item.id == _any_of(chosen)).cte("forgotten")


def _replay(chosen: CTE) -> ReturningInsert[Any]:
    """
    New letters like these, each numbered after the highest replay of this person's letter about this event.

    Counting the replays would give a number again once upkeep has deleted one of them.
    """
    highest = (
        select(func.max(cast(func.substring(_others.c.message_id, REPLAY_NUMBER), Integer)))
        .where(_others.c.event_id == _row.event_id, _others.c.username == _row.username)
        .scalar_subquery()
    )
    turn = func.row_number().over(partition_by=[_row.event_id, _row.username], order_by=_row.id)
    number = cast(func.coalesce(highest, 0) + turn, Text)
    fresh = func.regexp_replace(_row.message_id, BEFORE_HOST, literal(".r", Text) + number + literal("@", Text))
    source = select(*(_row[name] for name in COPIED), _row.id, fresh, end_of_life(_row.event_type))
    return (
        upsert(email_jobs)
        .from_select(
            [*COPIED, "replay_of", "message_id", "expires_at"],
            source.where(_row.id == _any_of(chosen)).order_by(_row.id),
        )
        .on_conflict_do_nothing()
        .returning(*_REVIVED)
    )


def _lane_of(event_type: ColumnElement[str]) -> ColumnElement[int]:
    """Where a letter of this type waits."""
    types = notification_event_types.c
    required = exists().where(types.code == event_type, types.system_required)
    return case((required, int(Lane.URGENT)), else_=int(Lane.NORMAL))


def _any_of(chosen: CTE) -> ColumnElement[int]:
    return func.any(func.array(select(chosen.c.id).scalar_subquery()))


# Without its words there is nothing to write a letter from.
_is_emptied = exists().where(_told_of.c.id == _row.event_id, _told_of.c.emptied_at.is_not(None))
_is_leased = exists().where(
    _lease.stage == DELIVER,
    _lease.id == func.coalesce(_row.leader_id, _row.id),
    _lease.lane == int(Lane.LEASED),
)
_ALLOWED: Mapping[Action, ColumnElement[bool]] = MappingProxyType(
    {
        Action.RETRY: _row.status.in_(REVIVABLE)
        & ~_is_emptied
        & case(
            (_row.status == JobStatus.PENDING, ~_is_leased),
            else_=~exists().where(_others.c.replay_of == _row.replay_of, _others.c.status == JobStatus.PENDING),
        ),
        Action.CANCEL: _row.status == JobStatus.PENDING,
        Action.REPLAY: _row.status.in_(REPLAYABLE)
        & _row.message_id.is_not(None)
        & ~_is_emptied
        & ~exists().where(_others.c.replay_of == _row.id, _others.c.status == JobStatus.PENDING),
    }
)
_ACTS: Mapping[Action, Callable[[CTE], ReturningUpdate[Any] | ReturningInsert[Any]]] = MappingProxyType(
    {Action.RETRY: _retry, Action.CANCEL: _cancel, Action.REPLAY: _replay}
)
