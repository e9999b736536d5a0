"""Letters that leave together: the group that a letter joins, and what becomes of those that wait for another."""

from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from json import dumps
from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Row,
    Select,
    Text,
    any_,
    bindparam,
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

from notify.domain.claims import Claim
from notify.domain.schedule import Wait
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.domain.together import Group, Leader, Standing
from notify.store import items
from notify.store.outbox import MAX_FAILURES
from notify.store.records import records
from notify.store.tables import email_jobs, letter_groups, work_items

KEPT = timedelta(days=2)
LEASE = ("lane", "due_at", "attempt", "failures", "max_failures", "lapses", "leased_by")

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
_row, _item = email_jobs.c, work_items.c
_followers = email_jobs.alias("followers")
_leaders = email_jobs.alias("leaders")
_IDS = any_(bindparam("ids", type_=ARRAY(BigInteger)))
_of_letter = (_item.stage == DELIVER) & (_item.id == func.coalesce(_row.leader_id, _row.id))
_moves = records("moves", id=BigInteger, was=BigInteger, leader_id=BigInteger, stays=Boolean)
_MOVE = (
    update(email_jobs)
    .where(_row.id == _moves.c.id)
    .values(leader_id=_moves.c.leader_id, carried_as=case((_moves.c.stays, _row.carried_as)))
)
# Who leaves a letter, or leads what is left of it, goes on under a lease like the one that the letter had.
_SHARE = (
    insert(work_items)
    .from_select(
        ["stage", "id", *LEASE],
        select(_item.stage, _moves.c.id, *(_item[name] for name in LEASE)).where(
            _item.stage == DELIVER, _item.id == _moves.c.was, _moves.c.leader_id.is_(None)
        ),
    )
    .on_conflict_do_nothing()
)
_waits = records("waits", id=BigInteger, until=DateTime(timezone=True), held_by=Text)
_POSTPONE = (
    update(email_jobs)
    .where(_row.id == _waits.c.id, _row.status == JobStatus.PENDING)
    .values(
        expires_at=_row.expires_at + (_waits.c.until - func.now()),
        held_by=func.coalesce(_row.held_by, _waits.c.held_by),
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
    A claimed row changes its letter. ``leader_id`` None: from now on it has a lease of its own, like its letter's.

    ``was`` is the leader of its letter before; ``stays`` False: it is in no letter with others any more.
    """

    id: int
    was: int
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
    query = (
        select(_row.id, _item.due_at)
        .join(work_items, _of_letter)
        .where(_row.id == any_(_ids(ids)), _row.status == JobStatus.PENDING)
    )
    return {row.id: row.due_at for row in connection.execute(query)}


def move(connection: Connection, moves: Sequence[Move]) -> None:
    """Claimed rows change their letters."""
    if moves:
        rows = {"moves": dumps([asdict(one) for one in moves])}
        connection.execute(_SHARE, rows)
        connection.execute(_MOVE, rows)


def postpone(connection: Connection, waits: Mapping[Claim, Wait], *, led: Mapping[int, Sequence[int]]) -> None:
    """
    Claimed letters wait on: no failure counted, and their lives as much longer.

    Args:
        led: The rows that leave with them, by the ids of their leaders.
    """
    if not waits:
        return
    at = now(connection)
    endings = [replace(items.released(one), due_in=(wait.until - at).total_seconds()) for one, wait in waits.items()]
    items.settle(connection, DELIVER, endings)
    rows = [
        {"id": id_, "until": wait.until.isoformat(), "held_by": wait.by}
        for one, wait in waits.items()
        for id_ in (one.id, *led.get(one.id, ()))
    ]
    connection.execute(_POSTPONE, {"waits": dumps(rows)})


def free_orphans(connection: Connection) -> int:
    """
    Let go by themselves the rows whose leader has ended without them; how many.

    There are none but after somebody has changed the tables by hand.
    """
    freed = (
        update(email_jobs)
        .where(
            _row.leader_id == _leaders.c.id,
            _leaders.c.status != JobStatus.PENDING,
            _row.status == JobStatus.PENDING,
        )
        .values(leader_id=None, carried_as=None)
        .returning(_row.id)
    )
    return items.add(connection, DELIVER, connection.scalars(freed).all(), max_failures=MAX_FAILURES)


def prune(connection: Connection) -> int:
    """Delete the groups whose last letter left long ago; how many."""
    return connection.execute(delete(letter_groups).where(letter_groups.c.last_at < func.now() - KEPT)).rowcount


def _open_leaders(connection: Connection, ids: Sequence[int]) -> dict[int, Row[Any]]:
    """Those of these letters that nobody has claimed yet, locked, each with its Message-ID and how many follow it."""
    if not ids:
        return {}
    size = select(func.count()).where(_followers.c.leader_id == _row.id).correlate(email_jobs).scalar_subquery()
    query: Select[Any] = (
        select(_row.id, _row.carried_as, _item.due_at, _row.held_by, size.label("size"))
        .join(work_items, (_item.stage == DELIVER) & (_item.id == _row.id))
        .where(_row.id == any_(_ids(ids)), _item.attempt == 0, _row.leader_id.is_(None))
        .order_by(_row.id)
        .with_for_update(of=work_items)
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
