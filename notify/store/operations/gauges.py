"""
How the outbox stands at this moment, in a few numbers; what they cost does not grow with the history.

*Decided*: rows that wait are counted up to ``MOST``, by the ranges of the index that the claim uses. A
number that is larger says enough, and a scrape must not cost more the worse things stand.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    DateTime,
    Float,
    Select,
    Table,
    Text,
    bindparam,
    cast,
    extract,
    func,
    literal,
    literal_column,
    select,
    union_all,
)

from notify.domain.claims import WAITING, Lane
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.domain.waves import WINDOW, Deaths, Ended
from notify.store.tables.emails import IN_A_LANE, work_items
from notify.store.tables.operations import delivery_stats
from notify.store.tables.people import people, user_notification_settings

MOST = 100_000
NEWEST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Gauges:
    """
    Rows of one stage.

    ``due`` may be claimed now, those with an expired lease included; ``scheduled`` wait for their time;
    both are counted up to ``MOST``. ``oldest_due_seconds`` is 0 when nothing is due. ``in_flight`` are held
    by a worker, ``expired_leases`` were when it vanished. ``dead_last_day`` ended within a day, by reason.
    """

    due: int
    oldest_due_seconds: float
    scheduled: int
    in_flight: int
    expired_leases: int
    dead_last_day: Mapping[str, int]


def read(connection: Connection, stages: Sequence[str]) -> dict[str, Gauges]:
    """The numbers of these stages, two statements for each."""
    return {stage: _of_stage(connection, stage) for stage in stages}


def ended_of_late(connection: Connection) -> Ended:
    """
    What became of some ``NEWEST`` emails that ended last: counted by whole minutes, and at most so many that died.

    Of more deaths the newest stand for all, and what was sent beside them is counted in proportion.
    """
    ended = connection.execute(_ENDED).one()
    deaths = [Deaths(**one) for one in connection.execute(_DEATHS, {"since": ended.since}).mappings()]
    is_cut = sum(one.count for one in deaths) == NEWEST < ended.dead
    return Ended(sent=ended.sent * NEWEST // ended.dead if is_cut else ended.sent, deaths=deaths)


def undeliverable_addresses(connection: Connection) -> int:
    """How many people's present address was refused for good."""
    return connection.execute(_UNDELIVERABLE).scalar_one()


def _of_stage(connection: Connection, stage: str) -> Gauges:
    numbers = connection.execute(_ITEMS, {"stage": stage}).mappings().one()
    dead = connection.execute(_DEAD_ITEMS, {"stage": stage})
    return Gauges(**numbers, dead_last_day={one.reason: one.items for one in dead})


def _rows(table: Table, *conditions: ColumnElement[bool]) -> Select[Any]:
    return select(literal_column("1").label("one")).select_from(table).where(*conditions).limit(MOST)


def _count(rows: Select[Any]) -> ColumnElement[int]:
    return select(func.count()).select_from(rows.limit(MOST).subquery()).scalar_subquery()


_item = work_items.c
_is_of_stage = (_item.stage == bindparam("stage", type_=Text)) & IN_A_LANE
_now = func.now()


def _first_due(lane: Lane) -> ColumnElement[Any]:
    return select(func.min(_item.due_at)).where(_is_of_stage, _item.lane == int(lane)).scalar_subquery()


def _in_lanes(*lanes: Lane, condition: ColumnElement[bool]) -> Select[Any]:
    """Items of these lanes, each of which is one range of the index that the claim uses."""
    ranges = [_rows(work_items, _is_of_stage, _item.lane == int(lane), condition).subquery() for lane in lanes]
    return select(union_all(*(one.select() for one in ranges)).subquery())


_WAITS = (*WAITING, Lane.LAPSED)
_ITEMS = select(
    _count(_in_lanes(*_WAITS, Lane.LEASED, condition=_item.due_at <= _now)).label("due"),
    cast(
        func.greatest(
            func.coalesce(extract("epoch", _now - func.least(*map(_first_due, (*_WAITS, Lane.LEASED)))), 0), 0
        ),
        Float,
    ).label("oldest_due_seconds"),
    _count(_in_lanes(*_WAITS, condition=_item.due_at > _now)).label("scheduled"),
    _count(_in_lanes(Lane.LEASED, condition=_item.due_at > _now)).label("in_flight"),
    _count(_in_lanes(Lane.LEASED, condition=_item.due_at <= _now)).label("expired_leases"),
)
_latest_dead = (
    select(func.split_part(_item.reason, ":", 1).label("reason"))
    .where(_is_of_stage, _item.lane == int(Lane.DEAD), _item.due_at > _now - literal(timedelta(days=1)))
    .order_by(_item.due_at.desc())
    .limit(MOST)
    .subquery()
)
_DEAD_ITEMS = select(_latest_dead.c.reason, func.count().label("items")).group_by(_latest_dead.c.reason)
_address = func.coalesce(user_notification_settings.c.email, people.c.email)
_UNDELIVERABLE = (
    select(func.count())
    .select_from(people)
    .outerjoin(user_notification_settings, user_notification_settings.c.username == people.c.username)
    .where(people.c.undeliverable_email.is_not(None), people.c.undeliverable_email == _address)
)
_stats = delivery_stats.c


def _counted(outcome: JobStatus) -> ColumnElement[int]:
    count = func.coalesce(func.sum(_stats["count"]).filter(_stats.outcome == outcome), 0)
    return cast(count, BigInteger).label(outcome)


_minutes = (
    select(_stats.minute, _counted(JobStatus.SENT), _counted(JobStatus.DEAD))
    .where(_stats.minute > _now - literal(WINDOW), _stats.outcome.in_([JobStatus.SENT, JobStatus.DEAD]))
    .group_by(_stats.minute)
    .subquery("minutes")
)
_of_minute = _minutes.c.sent + _minutes.c.dead
_from_the_newest = select(
    _minutes, (func.sum(_of_minute).over(order_by=_minutes.c.minute.desc()) - _of_minute).label("newer")
).subquery("from_the_newest")
_ENDED = select(
    *(
        cast(func.coalesce(func.sum(_from_the_newest.c[outcome]), 0), BigInteger).label(outcome)
        for outcome in (JobStatus.SENT, JobStatus.DEAD)
    ),
    func.min(_from_the_newest.c.minute).label("since"),
).where(_from_the_newest.c.newer < NEWEST)
_newest = (
    select(_item.reason, _item.due_at)
    .where(
        _item.stage == DELIVER,
        IN_A_LANE,
        _item.lane == int(Lane.DEAD),
        _item.due_at >= func.greatest(_now - literal(WINDOW), bindparam("since", type_=DateTime(timezone=True))),
    )
    .order_by(_item.due_at.desc())
    .limit(NEWEST)
    .subquery("newest")
    .c
)
_DEATHS = select(_newest.reason, func.count().label("count"), func.min(_newest.due_at).label("first_at")).group_by(
    _newest.reason
)
