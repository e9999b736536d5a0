"""What waits for a person, put together anew when they choose another time for it."""

from collections.abc import Mapping
from json import dumps
from typing import Any

from sqlalchemy import (
    Boolean,
    ColumnElement,
    Connection,
    DateTime,
    Integer,
    Text,
    bindparam,
    case,
    cast,
    delete,
    func,
    literal,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import insert as upsert

from notify.domain.claims import Lane
from notify.domain.schedule import Wait
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.domain.together import MOST_HELD, Group
from notify.store import groups
from notify.store.outbox import MAX_FAILURES, end_of_life
from notify.store.records import records
from notify.store.tables import email_jobs, work_items

_row, _item = email_jobs.c, work_items.c
_targets = records("targets", by_bot=Boolean, until=DateTime(timezone=True), held_by=Text)
# A row that was claimed once may be out already: what its Message-ID tells of stays as it is.
_MINE = (
    (_row.username == bindparam("whom", type_=Text))
    & (_row.status == JobStatus.PENDING)
    & _row.replay_of.is_(None)
    & (_item.stage == DELIVER)
    & (_item.id == func.coalesce(_row.leader_id, _row.id))
    & (_item.attempt == 0)
    & _item.lane.in_([int(Lane.NORMAL), int(Lane.BULK)])
)
_is_bots = _item.lane == int(Lane.BULK)
_LOCK = select(_row.id).where(_MINE).order_by(_row.id).with_for_update(of=work_items)
_place = func.row_number().over(partition_by=_targets.c.until, order_by=_row.id) - 1
_chosen = (
    select(
        _row.id,
        _row.message_id,
        _targets.c.until,
        _targets.c.held_by,
        _targets.c.by_bot,
        cast(func.div(_place, MOST_HELD), Integer).label("letter"),
    )
    .where(_MINE, _targets.c.by_bot == _is_bots, _row.held_by.is_not(None) | _targets.c.until.is_not(None))
    .subquery("chosen")
)


def _of_first(column: ColumnElement[Any]) -> ColumnElement[Any]:
    """What the first row of each letter has there."""
    letter = (_chosen.c.until, _chosen.c.letter)
    return func.first_value(column).over(partition_by=letter, order_by=_chosen.c.id)


_placed = select(
    _chosen.c.id,
    _chosen.c.until,
    _chosen.c.held_by,
    _chosen.c.by_bot,
    _of_first(_chosen.c.id).label("leader_id"),
    _of_first(_chosen.c.message_id).label("carried_as"),
).subquery("placed")
_ENDS = func.greatest(_row.expires_at, end_of_life(_row.event_type, leaves_at=_placed.c.until))
_regrouped = (
    update(email_jobs)
    .where(_row.id == _placed.c.id)
    .values(
        leader_id=func.nullif(_placed.c.leader_id, _row.id),
        carried_as=_placed.c.carried_as,
        held_by=func.coalesce(_placed.c.held_by, _row.held_by),
        expires_at=_ENDS,
    )
    .returning(_row.id, _placed.c.leader_id, _placed.c.until, _placed.c.by_bot)
    .cte("regrouped")
)
_led = (
    delete(work_items)
    .where(
        _item.stage == DELIVER,
        _item.id.in_(select(_regrouped.c.id).where(_regrouped.c.id != _regrouped.c.leader_id)),
    )
    .cte("led")
)
_fresh = upsert(work_items).from_select(
    ["stage", "id", "lane", "due_at", "max_failures"],
    select(
        literal(DELIVER, Text),
        _regrouped.c.id,
        case((_regrouped.c.by_bot, int(Lane.BULK)), else_=int(Lane.NORMAL)),
        func.coalesce(_regrouped.c.until, func.now()),
        literal(MAX_FAILURES),
    ).where(_regrouped.c.id == _regrouped.c.leader_id),
)
_leading = _fresh.on_conflict_do_update(
    index_elements=[_item.stage, _item.id], set_={"due_at": _fresh.excluded.due_at}
).cte("leading")
_REGROUP = select(_regrouped.c.leader_id, _regrouped.c.until).add_cte(_led, _leading)


def regroup(connection: Connection, username: str, waits: Mapping[bool, Wait | None]) -> int:
    """
    Let the person's letters that nobody has claimed wait as long as this, or let go what was held; how many.

    What waits until one instant, or goes now, leaves as one letter; lives begin anew where they end later so.
    A constant number of statements. The person's settings must be locked; then no letter that is
    written meanwhile is overlooked.

    Args:
        waits: By whether a bot did what the letter tells of; None: it is not held.
    """
    held = {Group(username, until=wait.until) for wait in waits.values() if wait}
    if held:
        groups.lock(connection, held)
    # Whoever joins one of these holds its lock: the statement that follows sees everybody who has.
    connection.execute(_LOCK, {"whom": username})
    moved = connection.execute(_REGROUP, {"whom": username, "targets": dumps(_named(waits))}).all()
    last = {row.until: max(one.leader_id for one in moved if one.until == row.until) for row in moved if row.until}
    groups.remember(connection, {Group(username, until=until): (until, last[until]) for until in last})
    return len(moved)


def _named(waits: Mapping[bool, Wait | None]) -> list[dict[str, object]]:
    return [
        {"by_bot": by_bot, "until": wait.until.isoformat() if wait else None, "held_by": wait.by if wait else None}
        for by_bot, wait in waits.items()
    ]
