"""
Which letters somebody means: by person, change list, event, what became of them, where and when.

Decided: what no index finds is looked for among a bounded number of letters at a time, newest first,
    and the next look goes on below them (``notify.store.jobs.page``). An index for each question would
    cost every letter.
Decided: an instant is found among the ids, which rise with it, by halving them; a letter that a long
    transaction wrote is at most an hour out of order.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    and_,
    any_,
    func,
    literal,
    select,
    text,
    true,
    union_all,
)
from sqlalchemy.dialects.postgresql import ARRAY

from notify.domain.claims import WAITING, Lane
from notify.domain.stages import DELIVER
from notify.domain.statuses import JobStatus
from notify.store.tables import IN_A_LANE, email_jobs, events, work_items

SAME = ("username", "cl_link", "outcome_reason", "last_code", "to_email")
INDEXED = ("ids", "username", "cl_link", "event_key", "message_id")
OPEN = (JobStatus.PENDING, JobStatus.SENDING)
DISORDER = timedelta(hours=1)

_row, _item = email_jobs.c, work_items.c
_others = email_jobs.alias("others")
_FIRST_ID = text("""
    WITH RECURSIVE halved(low, high) AS (
        SELECT coalesce(min(id), 0), coalesce(max(id), 0) + 1 FROM notify.email_jobs
        UNION ALL
        SELECT CASE WHEN there.earlier THEN there.id + 1 ELSE low END, CASE WHEN there.earlier THEN high ELSE middle END
        FROM (SELECT low, high, (low + high) / 2 AS middle FROM halved WHERE low < high) AS step, LATERAL (
            SELECT id, created_at < :instant AS earlier FROM notify.email_jobs WHERE id >= middle ORDER BY id LIMIT 1
        ) AS there
    )
    SELECT max(low) FROM halved
""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """
    Which letters are meant: those to which everything that is given applies; nothing given means all.

    ``outcome_reason`` and ``last_code`` are what the last try left; ``created_from`` is the first
    instant that counts and ``created_before`` the first that does not. ``message_id`` is a letter's, without
    brackets, and means every row that left as it; ``queue_id`` is any part of the relay's words when it took one.
    """

    ids: tuple[int, ...] | None = None
    username: str | None = None
    cl_link: str | None = None
    status: str | None = None
    event_key: str | None = None
    outcome_reason: str | None = None
    last_code: int | None = None
    to_email: str | None = None
    message_id: str | None = None
    queue_id: str | None = None
    created_from: datetime | None = None
    created_before: datetime | None = None

    @property
    def is_everything(self) -> bool:
        """Whether nothing is given."""
        return self == Which()

    @property
    def is_indexed(self) -> bool:
        """Whether an index finds these letters, or all of those among which they are."""
        return self.status in {*OPEN, JobStatus.DEAD} or any(getattr(self, name) is not None for name in INDEXED)


def meant(which: Which) -> ColumnElement[bool]:
    """Whether a letter is one of these."""
    stated = [_row[name] == wanted for name in SAME if (wanted := getattr(which, name)) is not None]
    if which.ids is not None:
        stated.append(_row.id == any_(literal(list(which.ids), ARRAY(BigInteger))))
    if which.event_key is not None:
        stated.append(_row.event_id == select(events.c.id).where(events.c.key == which.event_key).scalar_subquery())
    if which.message_id is not None:
        stated.append(_left_as(which.message_id))
    if which.queue_id is not None:
        stated.append(func.strpos(_row.relay_reply, which.queue_id) > 0)
    if which.created_from is not None:
        stated.append(_row.created_at >= which.created_from)
    if which.created_before is not None:
        stated.append(_row.created_at < which.created_before)
    if which.status is not None:
        stated.append(_stands(which.status))
    return and_(true(), *stated)


def first_id_since(connection: Connection, instant: datetime) -> int:
    """An id below which no letter was written at this instant or later; those above may be older."""
    return connection.scalar(_FIRST_ID, {"instant": instant - DISORDER}) or 0


def first_id_after(connection: Connection, instant: datetime) -> int:
    """An id from which on no letter was written before this instant."""
    return connection.scalar(_FIRST_ID, {"instant": instant + DISORDER}) or 0


def _stands(status: str) -> ColumnElement[bool]:
    """Whether a letter stands so; what is pending, or being sent, is found by its work item or that of its letter."""
    if status not in OPEN:
        return _row.status == status
    is_leased = _item.lane == int(Lane.LEASED)
    found = select(_item.id).where(
        _item.stage == DELIVER,
        IN_A_LANE,
        is_leased if status == JobStatus.SENDING else _item.lane.in_([*map(int, WAITING), int(Lane.LAPSED)]),
    )
    led = select(_others.c.id).where(_others.c.leader_id.in_(found), _others.c.status == JobStatus.PENDING)
    return (_row.status == JobStatus.PENDING) & _row.id.in_(union_all(found, led))


def _left_as(message_id: str) -> ColumnElement[bool]:
    """The row whose letter has this Message-ID, and those that left with it: letters of the same person."""
    first = select(_others.c.id, _others.c.username).where(_others.c.message_id == message_id).cte("first")
    others = select(_others.c.id).where(
        _others.c.username.in_(select(first.c.username)), _others.c.carried_as == message_id
    )
    return _row.id.in_(union_all(select(first.c.id), others))
