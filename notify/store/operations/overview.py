"""What goes on at this moment, for who watches: rates, who holds what, what relays say. Its cost is bounded."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    Integer,
    Select,
    Text,
    cast,
    func,
    literal,
    select,
    text,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY, aggregate_order_by

from notify.domain.claims import Lane
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.statuses import Verdict
from notify.store.tables.emails import IN_A_LANE, email_attempts, work_items
from notify.store.tables.operations import delivery_stats

MINUTES = 5
# Tries are few when all is well; when it is not, the newest thousand say enough.
NEWEST = 1_000
OF_LATE = timedelta(hours=1)

_NONE, _ONE = literal(0, Integer), literal(1, Integer)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Outcomes of one kind: in the last full minute, and a minute over the last five."""

    last_minute: int
    per_minute: float


@dataclass(frozen=True, slots=True, kw_only=True)
class AtWork:
    """A worker process: what it holds, until when, and what it has sent in the last five minutes."""

    worker: UUID
    letters: int
    events: int
    until: datetime | None
    sent: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """Tries of the last hour that ended in the same way; ``words`` are the newest of them."""

    count: int
    code: int | None
    enhanced_code: str | None
    phase: str | None
    verdict: str
    relay: str | None
    last_at: datetime
    words: str | None


def rates(connection: Connection) -> Mapping[str, Rate]:
    """How many letters a minute by outcome, over the last minutes that are over."""
    row, this = delivery_stats.c, func.date_trunc("minute", func.now())
    last = func.sum(row["count"]).filter(row.minute >= this - literal(timedelta(minutes=1)))
    query = (
        select(row.outcome, func.coalesce(last, 0).label("last"), func.sum(row["count"]).label("all"))
        .where(row.minute >= this - literal(timedelta(minutes=MINUTES)), row.minute < this)
        .group_by(row.outcome)
        .order_by(row.outcome)
    )
    return {
        one.outcome: Rate(last_minute=int(one.last), per_minute=float(one.all) / MINUTES)
        for one in connection.execute(query)
    }


def at_work(connection: Connection) -> Sequence[AtWork]:
    """The workers that hold something or have sent something of late, the busiest first."""
    row = delivery_stats.c
    sent = select(
        row.worker,
        _NONE.label("letters"),
        _NONE.label("events"),
        row["count"].label("sent"),
        literal(None, work_items.c.due_at.type).label("until"),
    ).where(row.minute >= func.now() - literal(timedelta(minutes=MINUTES)), row.outcome == Verdict.SENT)
    held = (_leased(DELIVER, letters=_ONE, events=_NONE), _leased(FAN_OUT, letters=_NONE, events=_ONE))
    each = union_all(sent, *held).subquery("each").c
    sums = [cast(func.sum(each[name]), BigInteger).label(name) for name in ("letters", "events", "sent")]
    query = select(each.worker, *sums, func.min(each.until).label("until")).group_by(each.worker)
    found = [AtWork(**one) for one in connection.execute(query).mappings()]
    return sorted(found, key=lambda one: (-one.letters - one.events, -one.sent, one.worker))


def troubles(connection: Connection) -> Sequence[Trouble]:
    """What the newest tries ended with that did not end in sent, the most frequent first."""
    row = email_attempts.c
    newest = select(email_attempts).order_by(row.id.desc()).limit(NEWEST).subquery("newest").c
    same = (newest.code, newest.enhanced_code, newest.phase, newest.verdict, newest.relay)
    in_order = aggregate_order_by(newest.text, newest.id.desc())
    words = func.array_agg(in_order, type_=ARRAY(Text)).filter(newest.text.is_not(None))[1]
    query = (
        select(func.count().label("count"), *same, func.max(newest.at).label("last_at"), words.label("words"))
        .where(newest.at > func.now() - literal(OF_LATE))
        .group_by(*same)
        .order_by(text("count DESC"), text("last_at DESC"))
    )
    return [Trouble(**one) for one in connection.execute(query).mappings()]


def _leased(stage: str, *, letters: ColumnElement[int], events: ColumnElement[int]) -> Select[Any]:
    row = work_items.c
    holds = (letters.label("letters"), events.label("events"), _NONE.label("sent"), row.due_at.label("until"))
    return select(row.leased_by.label("worker"), *holds).where(
        row.stage == stage, row.lane == int(Lane.LEASED), IN_A_LANE
    )
