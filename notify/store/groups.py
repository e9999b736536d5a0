"""Letters that leave together: the group that a letter joins, and what becomes of those that wait for another."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from datetime import datetime, timedelta
from json import dumps
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    Row,
    Select,
    Text,
    any_,
    case,
    delete,
    func,
    literal,
    literal_column,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.schedule import Wait
from notify.domain.together import Group, Leader, Standing
from notify.store.leases import PENDING, SENDING
from notify.store.records import records
from notify.store.tables import email_jobs, letter_groups

KEPT = timedelta(days=2)

Try = tuple[int, int]

_NOT_HELD = literal_column("'-infinity'::timestamptz", DateTime(timezone=True))
_NAME = (letter_groups.c.username, letter_groups.c.cl_link, letter_groups.c.held_until)
_UNTIL = func.nullif(letter_groups.c.held_until, _NOT_HELD).label("until")
_wanted = records("wanted", username=Text, cl_link=Text, until=DateTime(timezone=True))
_WANTED = (_wanted.c.username, _wanted.c.cl_link, func.coalesce(_wanted.c.until, _NOT_HELD))
_OPEN = (
    insert(letter_groups)
    .from_select(
        ["username", "cl_link", "held_until", "last_at"],
        select(*_WANTED, func.coalesce(_wanted.c.until, func.now())).order_by(*_WANTED),
    )
    .on_conflict_do_nothing()
    .returning(letter_groups.c.username, letter_groups.c.cl_link, _UNTIL, func.now().label("now"))
)
_LOCK = (
    select(
        letter_groups.c.username,
        letter_groups.c.cl_link,
        _UNTIL,
        letter_groups.c.last_at,
        letter_groups.c.leader_id,
        func.now().label("now"),
    )
    .where(tuple_(*_NAME).in_(select(*_WANTED)))
    .order_by(*_NAME)
    .with_for_update()
)
_changed = records(
    "changed",
    username=Text,
    cl_link=Text,
    until=DateTime(timezone=True),
    last_at=DateTime(timezone=True),
    leader_id=BigInteger,
)
_REMEMBER = (
    update(letter_groups)
    .where(
        letter_groups.c.username == _changed.c.username,
        letter_groups.c.cl_link == _changed.c.cl_link,
        letter_groups.c.held_until == func.coalesce(_changed.c.until, _NOT_HELD),
    )
    .values(last_at=_changed.c.last_at, leader_id=_changed.c.leader_id)
)
_followers = email_jobs.alias("followers")
_moves = records("moves", id=BigInteger, leader_id=BigInteger, stays=Boolean)
_MOVE = update(email_jobs).where(email_jobs.c.id == _moves.c.id)

_waits = records("waits", id=BigInteger, attempt=Integer, until=DateTime(timezone=True), held_by=Text)
_LIVES_UNTIL = email_jobs.c.expires_at + (_waits.c.until - func.now())
_POSTPONE = (
    update(email_jobs)
    .where(email_jobs.c.id == _waits.c.id, email_jobs.c.attempt == _waits.c.attempt, email_jobs.c.status == SENDING)
    .values(
        status=PENDING,
        due_at=case((email_jobs.c.leader_id.is_(None), _waits.c.until), else_=_LIVES_UNTIL),
        expires_at=_LIVES_UNTIL,
        held_by=func.coalesce(email_jobs.c.held_by, _waits.c.held_by),
    )
)


@dataclass(frozen=True, slots=True)
class Locked:
    """
    How things stand with the groups of some letters, which nobody else can change until the end of the transaction.

    Args:
        letter_ids: The Message-ID of each letter that may be joined, by the id of its leader.
        now: The database's clock.
    """

    standings: Mapping[Group, Standing]
    letter_ids: Mapping[int, str]
    now: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class Move:
    """
    A claimed row changes its letter. ``leader_id`` None: it holds a lease of its own from now on.

    ``stays`` False: it is in no letter with others any more.
    """

    id: int
    leader_id: int | None
    stays: bool


def now(connection: Connection) -> datetime:
    """The database's clock, which is every worker's."""
    return connection.execute(select(func.now())).scalar_one()


def lock(connection: Connection, groups: AbstractSet[Group]) -> Locked:
    """
    How things stand with these groups, of which there must be one; at most three statements.

    A group that was not known is noted as one whose letter leaves now, or when what is held is let go.
    """
    wanted = {"wanted": dumps([_named(group) for group in groups])}
    opened = connection.execute(_OPEN, wanted).all()
    fresh = {_group(row) for row in opened}
    found = connection.execute(_LOCK, wanted).all() if len(fresh) < len(groups) else ()
    known = {group: row for row in found if (group := _group(row)) not in fresh}
    leaders = _open_leaders(connection, [row.leader_id for row in known.values() if row.leader_id])
    standings = {group: _standing(group, row, leaders.get(row.leader_id)) for group, row in known.items()}
    return Locked(standings, {one.id: one.carried_as for one in leaders.values()}, (*opened, *found)[0].now)


def written_before(connection: Connection, event_ids: AbstractSet[int]) -> set[tuple[int, str]]:
    """The (event, person) of these events that have a row already."""
    rows = connection.execute(
        select(email_jobs.c.event_id, email_jobs.c.username).where(
            email_jobs.c.event_id == any_(literal(sorted(event_ids), ARRAY(BigInteger))),
            email_jobs.c.replay_of.is_(None),
        )
    )
    return {(event_id, username) for event_id, username in rows}


def remember(connection: Connection, standings: Mapping[Group, tuple[datetime, int | None]]) -> None:
    """When the last letter of each group leaves, and the id of its leader; the groups must be locked."""
    if standings:
        rows = [
            {**_named(group), "last_at": last_at.isoformat(), "leader_id": leader_id}
            for group, (last_at, leader_id) in standings.items()
        ]
        connection.execute(_REMEMBER, {"changed": dumps(rows)})


def leaving(connection: Connection, ids: Sequence[int]) -> dict[int, datetime]:
    """When the letters of these rows are due, by their ids; what has ended is absent."""
    if not ids:
        return {}
    leader = email_jobs.alias("leader")
    query = (
        select(email_jobs.c.id, func.coalesce(leader.c.due_at, email_jobs.c.due_at).label("due_at"))
        .outerjoin(leader, leader.c.id == email_jobs.c.leader_id)
        .where(email_jobs.c.id == any_(_ids(ids)), email_jobs.c.due_at.is_not(None))
    )
    return {row.id: row.due_at for row in connection.execute(query)}


def move(connection: Connection, moves: Sequence[Move], *, lease: timedelta) -> None:
    """Claimed rows change their letters."""
    if not moves:
        return
    rows = [{"id": one.id, "leader_id": one.leader_id, "stays": one.stays} for one in moves]
    connection.execute(
        _MOVE.values(
            leader_id=_moves.c.leader_id,
            carried_as=case((_moves.c.stays, email_jobs.c.carried_as)),
            due_at=case((_moves.c.leader_id.is_(None), func.now() + literal(lease)), else_=email_jobs.c.due_at),
        ),
        {"moves": dumps(rows)},
    )


def postpone(connection: Connection, waits: Mapping[Try, Wait]) -> None:
    """
    Claimed rows wait on, by their ids and attempts: no failure counted, and their lives as much longer.

    Who leaves with another's letter follows it still.
    """
    if not waits:
        return
    rows = [
        {"id": id_, "attempt": attempt, "until": wait.until.isoformat(), "held_by": wait.by}
        for (id_, attempt), wait in waits.items()
    ]
    connection.execute(_POSTPONE, {"waits": dumps(rows)})


def give_back(connection: Connection, leader_ids: AbstractSet[int]) -> None:
    """What would have left with these letters waits again."""
    if leader_ids:
        row = email_jobs.c
        connection.execute(
            update(email_jobs)
            .where(row.leader_id == any_(_ids(leader_ids)), row.status == SENDING)
            .values(status=PENDING)
        )


def free_orphans(connection: Connection) -> int:
    """
    Let go by themselves the rows whose leader has ended without them; how many.

    There are none but after a worker of the version before sent a leader alone.
    """
    row, leader = email_jobs.c, email_jobs.alias("leader")
    statement = (
        update(email_jobs)
        .where(row.leader_id == leader.c.id, leader.c.due_at.is_(None), row.due_at.is_not(None))
        .values(status=PENDING, leader_id=None, carried_as=None, due_at=func.now())
    )
    return connection.execute(statement).rowcount


def prune(connection: Connection) -> int:
    """Delete the groups whose last letter left long ago; how many."""
    return connection.execute(delete(letter_groups).where(letter_groups.c.last_at < func.now() - KEPT)).rowcount


def _open_leaders(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Those of these letters that nobody has claimed yet, locked, each with its Message-ID and how many follow it."""
    if not ids:
        return {}
    row = email_jobs.c
    size = select(func.count()).where(_followers.c.leader_id == row.id).correlate(email_jobs).scalar_subquery()
    query: Select[Any] = (
        select(row.id, row.carried_as, row.due_at, row.held_by, size.label("size"))
        .where(row.id == any_(_ids(ids)), row.status == PENDING, row.attempt == 0, row.leader_id.is_(None))
        .order_by(row.id)
        .with_for_update(of=email_jobs)
    )
    return {one.id: one for one in connection.execute(query) if one.carried_as}


def _standing(group: Group, row: Row[Any], leader: Row[Any] | None) -> Standing:
    """How things stand; a leader that has meanwhile been held, or let go, is none of this group any more."""
    if leader is None or (leader.due_at != group.until if group.until else leader.held_by):
        return Standing(last_at=row.last_at)
    return Standing(last_at=row.last_at, leader=Leader(id=row.leader_id), size=leader.size + 1)


def _group(row: Row[Any]) -> Group:
    return Group(row.username, row.cl_link, row.until)


def _named(group: Group) -> dict[str, str | None]:
    return {**group._asdict(), "until": group.until.isoformat() if group.until else None}


def _ids(ids: Iterable[int]) -> ColumnElement[Any]:
    return literal(list(ids), ARRAY(BigInteger))
