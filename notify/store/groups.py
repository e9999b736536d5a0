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
    Row,
    Text,
    any_,
    case,
    delete,
    func,
    literal,
    select,
    tuple_,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY, insert

from notify.domain.together import Group, Leader, Standing
from notify.store.leases import PENDING, SENDING
from notify.store.records import records
from notify.store.tables import email_jobs, letter_groups

KEPT = timedelta(days=2)

_wanted = records("wanted", username=Text, cl_link=Text)
_OPEN = (
    insert(letter_groups)
    .from_select(
        ["username", "cl_link", "last_at"],
        select(_wanted.c.username, _wanted.c.cl_link, func.now()).order_by(_wanted.c.username, _wanted.c.cl_link),
    )
    .on_conflict_do_nothing()
    .returning(letter_groups.c.username, letter_groups.c.cl_link, letter_groups.c.last_at.label("now"))
)
_LOCK = (
    select(
        letter_groups.c.username,
        letter_groups.c.cl_link,
        letter_groups.c.last_at,
        letter_groups.c.leader_id,
        func.now().label("now"),
    )
    .where(tuple_(letter_groups.c.username, letter_groups.c.cl_link).in_(select(_wanted.c.username, _wanted.c.cl_link)))
    .order_by(letter_groups.c.username, letter_groups.c.cl_link)
    .with_for_update()
)
_changed = records("changed", username=Text, cl_link=Text, last_at=DateTime(timezone=True), leader_id=BigInteger)
_REMEMBER = (
    update(letter_groups)
    .where(letter_groups.c.username == _changed.c.username, letter_groups.c.cl_link == _changed.c.cl_link)
    .values(last_at=_changed.c.last_at, leader_id=_changed.c.leader_id)
)
_followers = email_jobs.alias("followers")
_moves = records("moves", id=BigInteger, leader_id=BigInteger, stays=Boolean)
_MOVE = update(email_jobs).where(email_jobs.c.id == _moves.c.id)


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


def lock(connection: Connection, groups: AbstractSet[Group]) -> Locked:
    """
    How things stand with these groups, of which there must be one; at most three statements.

    A group that was not known is noted as one whose letter leaves now.
    """
    wanted = {"wanted": dumps([{"username": username, "cl_link": link} for username, link in sorted(groups)])}
    opened = connection.execute(_OPEN, wanted).all()
    fresh = {(row.username, row.cl_link) for row in opened}
    found = connection.execute(_LOCK, wanted).all() if len(fresh) < len(groups) else ()
    known = {(row.username, row.cl_link): row for row in found if (row.username, row.cl_link) not in fresh}
    leaders = _open_leaders(connection, [row.leader_id for row in known.values() if row.leader_id])
    standings = {group: _standing(row, leaders.get(row.leader_id)) for group, row in known.items()}
    return Locked(standings, {id_: letter_id for id_, (letter_id, _) in leaders.items()}, (*opened, *found)[0].now)


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
            {"username": username, "cl_link": link, "last_at": last_at.isoformat(), "leader_id": leader_id}
            for (username, link), (last_at, leader_id) in standings.items()
        ]
        connection.execute(_REMEMBER, {"changed": dumps(rows)})


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


def _open_leaders(connection: Connection, ids: Sequence[int]) -> dict[int, tuple[str, int]]:
    """Those of these letters that nobody has claimed yet, locked, each with its Message-ID and how many it tells of."""
    if not ids:
        return {}
    row = email_jobs.c
    size = select(func.count()).where(_followers.c.leader_id == row.id).correlate(email_jobs).scalar_subquery()
    rows = connection.execute(
        select(row.id, row.carried_as, size.label("size"))
        .where(row.id == any_(_ids(ids)), row.status == PENDING, row.attempt == 0, row.leader_id.is_(None))
        .order_by(row.id)
        .with_for_update(of=email_jobs)
    )
    return {id_: (letter_id, size + 1) for id_, letter_id, size in rows if letter_id}


def _standing(row: Row[Any], leader: tuple[str, int] | None) -> Standing:
    if leader is None:
        return Standing(last_at=row.last_at)
    return Standing(last_at=row.last_at, leader=Leader(id=row.leader_id), size=leader[1])


def _ids(ids: Iterable[int]) -> ColumnElement[Any]:
    return literal(list(ids), ARRAY(BigInteger))
