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

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    CTE,
    ColumnElement,
    Connection,
    Integer,
    Text,
    case,
    cast,
    exists,
    func,
    literal,
    or_,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.sql.dml import ReturningInsert, ReturningUpdate

from notify.store.leases import DEAD, PENDING
from notify.store.outbox import end_of_life
from notify.store.tables import email_jobs, events
from notify.store.which import Which, meant

REVIVABLE = (PENDING, DEAD, "expired", "cancelled")
REPLAYABLE = ("sent", DEAD, "expired", "cancelled")
FRESH_BUDGET = 12
CANCELLED_BY_HAND = "by_hand"
REPLAY_NUMBER = r"\.r([0-9]+)@"
BEFORE_HOST = r"(\.r[0-9]+)?@"
COPIED = ("event_id", "event_type", "cl_link", "username", "to_email", "reason", "priority")

_row = email_jobs.c
_others = email_jobs.alias("others")
_leaders = email_jobs.alias("leaders")
_told_of = events.alias("told_of")


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
        .with_for_update(of=email_jobs)
    )
    if action is Action.CANCEL:
        # Whoever joins one of these holds its lock: the statement that follows sees everybody who has.
        connection.execute(page)
    chosen = page.cte("chosen").prefix_with("MATERIALIZED", dialect="postgresql")
    acted = _ACTS[action](chosen).cte("acted")
    last = select(func.max(chosen.c.id)).scalar_subquery()
    done = select(func.array_agg(acted.c.id)).scalar_subquery()
    query = select(last.label("last_id"), done.label("done"))
    found = connection.execute(query.add_cte(*(one(chosen) for one in _BESIDES.get(action, ())))).one()
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
    stays = (_row.status == PENDING) | (_row.leader_id == _any_of(chosen))
    earlier = exists().where(
        _others.c.replay_of == _row.replay_of, _others.c.id < _row.id, _others.c.id.in_(select(chosen.c.id))
    )
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen), or_(_row.status == PENDING, ~earlier))
        .values(
            status=PENDING,
            due_at=case(
                (_row.leader_id.is_not(None) & stays, func.greatest(_row.expires_at, end_of_life(_row.event_type))),
                else_=func.now(),
            ),
            leader_id=case((stays, _row.leader_id)),
            carried_as=case((stays | _row.leader_id.is_(None), _row.carried_as)),
            finished_at=None,
            outcome_reason=None,
            max_failures=func.greatest(_row.max_failures, _row.failures + FRESH_BUDGET),
            expires_at=func.greatest(_row.expires_at, end_of_life(_row.event_type)),
        )
        .returning(_row.id)
    )


def _hurry_leaders(chosen: CTE) -> CTE:
    """The letters that waiting ones of these leave with are due now."""
    led = select(_others.c.leader_id).where(_others.c.id.in_(select(chosen.c.id)), _others.c.status == PENDING)
    return (
        update(email_jobs)
        .where(_row.id.in_(led), _row.status == PENDING, _row.id.not_in(select(chosen.c.id)))
        .values(due_at=func.now())
        .cte("hurried")
    )


def _pass_on(chosen: CTE) -> CTE:
    """Of those who were to leave with one of these, the first leads the others, in its place and at its time."""
    heirs = (
        select(_others.c.leader_id.label("leader_id"), func.min(_others.c.id).label("heir"))
        .where(
            _others.c.leader_id.in_(select(chosen.c.id)),
            _others.c.id.not_in(select(chosen.c.id)),
            _others.c.due_at.is_not(None),
        )
        .group_by(_others.c.leader_id)
        .subquery("heirs")
    )
    return (
        update(email_jobs)
        .where(
            _row.leader_id == heirs.c.leader_id,
            _leaders.c.id == heirs.c.leader_id,
            _row.id.not_in(select(chosen.c.id)),
            _row.due_at.is_not(None),
        )
        .values(
            leader_id=func.nullif(heirs.c.heir, _row.id),
            due_at=case((_row.id == heirs.c.heir, _leaders.c.due_at), else_=_row.due_at),
        )
        .cte("passed_on")
    )


def _cancel(chosen: CTE) -> ReturningUpdate[Any]:
    return (
        update(email_jobs)
        .where(_row.id == _any_of(chosen))
        .values(status="cancelled", due_at=None, finished_at=func.now(), outcome_reason=CANCELLED_BY_HAND)
        .returning(_row.id)
    )


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
        insert(email_jobs)
        .from_select(
            [*COPIED, "replay_of", "message_id", "expires_at"],
            source.where(_row.id == _any_of(chosen)).order_by(_row.id),
        )
        .on_conflict_do_nothing()
        .returning(email_jobs.c.id)
    )


def _any_of(chosen: CTE) -> ColumnElement[int]:
    return func.any(func.array(select(chosen.c.id).scalar_subquery()))


# Without its words there is nothing to write a letter from.
_is_emptied = exists().where(_told_of.c.id == _row.event_id, _told_of.c.emptied_at.is_not(None))
_ALLOWED: Mapping[Action, ColumnElement[bool]] = MappingProxyType(
    {
        Action.RETRY: _row.status.in_(REVIVABLE)
        & ~_is_emptied
        & (
            (_row.status == PENDING)
            | ~exists().where(_others.c.replay_of == _row.replay_of, _others.c.due_at.is_not(None))
        ),
        Action.CANCEL: _row.due_at.is_not(None),
        Action.REPLAY: _row.status.in_(REPLAYABLE)
        & _row.message_id.is_not(None)
        & ~_is_emptied
        & ~exists().where(_others.c.replay_of == _row.id, _others.c.due_at.is_not(None)),
    }
)
_ACTS: Mapping[Action, Callable[[CTE], ReturningUpdate[Any] | ReturningInsert[Any]]] = MappingProxyType(
    {Action.RETRY: _retry, Action.CANCEL: _cancel, Action.REPLAY: _replay}
)
_BESIDES: Mapping[Action, Sequence[Callable[[CTE], CTE]]] = MappingProxyType(
    {Action.RETRY: (_hurry_leaders,), Action.CANCEL: (_pass_on,)}
)
