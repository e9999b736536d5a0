"""
Due, claim, lease, attempt: the one mechanism behind every table whose rows are worked off.

A row is due when ``due_at`` has come; a claim pushes ``due_at`` to the end of the lease, so a row
whose worker died comes due by itself. All instants are the database's.

Decided: the claim asks each priority by itself (LATERAL). One range over ``(priority, due_at)``
    would walk every row that waits for the future before it reached the next priority.
Decided: rows whose lease ran out are claimed by a statement of their own, over an index of their
    own, one at a time: a letter that kills its worker must take no neighbour along. That a row was
    given back, put off or retried by hand since then proves nothing; it stays with this statement.
Rejected: VALUES for the priorities; SQLAlchemy compiles a statement that holds it anew each time.
Rejected: ``SELECT … FOR UPDATE`` in a subquery of the UPDATE without MATERIALIZED; PostgreSQL may
    run it again and update more rows than the limit.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import cache
from operator import attrgetter
from typing import Any
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    BigInteger,
    ColumnElement,
    Connection,
    Float,
    Integer,
    Interval,
    Row,
    Select,
    Table,
    TableValuedAlias,
    Text,
    Update,
    Uuid,
    and_,
    bindparam,
    case,
    column,
    func,
    literal,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.sql.dml import ReturningUpdate

from notify.domain.fan_out import Priority

PENDING = "pending"
WORKING = "working"
SENDING = "sending"
DEAD = "dead"
DONE = "done"
POISON = "poison"
MOST_LAPSES = 3
ENDING = {"id": BigInteger, "attempt": Integer, "status": Text, "delay": Float, "failed": Integer}


@dataclass(frozen=True, slots=True)
class Outlook:
    """What there is to do: whether a row is due, and whether one is that outlived a worker."""

    due: bool
    alone: bool


@dataclass(frozen=True, slots=True)
class Leases:
    """
    The leases of one table, whose rows have the status *held* while somebody works on them.

    Args:
        alike: Columns by which rows belong together: while one of them is worked on, no claim takes
            another. A claim that begins before that is committed does not know; who makes it has to look.
    """

    table: Table
    held: str
    alike: tuple[str, ...] = ()

    def claim(
        self,
        connection: Connection,
        *,
        limit: int,
        lease: timedelta,
        worker: UUID,
        wanted: Sequence[ColumnElement[Any]],
    ) -> Sequence[Row[Any]]:
        """
        Take due rows whose lease has never run out; at most *limit*.

        Returns the *wanted* columns as they are after the claim, urgent rows first, then those due
        longest. Rows that another worker is taking at this moment are passed over.
        """
        return _taken(connection, _claim(self, tuple(wanted)), most=limit, lease=lease, worker=worker)

    def claim_lapsed(
        self, connection: Connection, *, lease: timedelta, worker: UUID, wanted: Sequence[ColumnElement[Any]]
    ) -> Row[Any] | None:
        """
        Take one row whose lease has run out, now or in an earlier try; None when none is due.

        Besides the *wanted* columns it has ``has_lapsed``: whether it was found with a lease that is over.
        """
        rows = _taken(connection, _claim_lapsed(self, tuple(wanted)), lease=lease, worker=worker)
        return rows[0] if rows else None

    def bury_poison(
        self, connection: Connection, *, limit: int, wanted: Sequence[ColumnElement[Any]], **more: object
    ) -> Sequence[Row[Any]]:
        """
        End the rows whose lease has run out for the third time; *more* are further columns to set.

        Returns the *wanted* columns of those rows.
        """
        statement = _bury_poison(self, tuple(wanted), tuple(more.items()))
        return connection.execute(statement, {"most": limit}).all()

    def any_due(self, connection: Connection) -> bool:
        """
        Whether a row is due, lapsed ones included.

        Asks for the first of each priority: EXISTS reads the whole table where the planner's
        statistics are from an hour when everything was due.
        """
        return bool(connection.scalar(_any_due(self)))

    def outlook(self, connection: Connection) -> Outlook:
        """Whether a row is due, and whether ``claim_lapsed`` or ``bury_poison`` would find one."""
        row = connection.execute(_outlook(self)).one()
        return Outlook(due=bool(row.due), alone=bool(row.alone))

    def extend(self, connection: Connection, tries: Sequence[tuple[int, int]], *, lease: timedelta) -> set[int]:
        """Renew the leases of these (id, attempt); the ids that are still ours."""
        if not tries:
            return set()
        statement = (
            self.still_held(update(self.table), tries).values(due_at=func.now() + lease).returning(self.table.c.id)
        )
        return set(connection.scalars(statement))

    def release(self, connection: Connection, tries: Sequence[tuple[int, int]]) -> set[int]:
        """Give these (id, attempt) back, due at once, no failure counted; the ids that were still ours."""
        if not tries:
            return set()
        statement = (
            self.still_held(update(self.table), tries)
            .values(status=PENDING, due_at=func.now())
            .returning(self.table.c.id)
        )
        return set(connection.scalars(statement))

    def take_back(self, connection: Connection, tries: Sequence[tuple[int, int]], *, worker: UUID) -> set[int]:
        """
        Undo a claim whose commit was never answered; the ids of the rows that it had taken.

        A claim that did not take place leaves its attempt to be given to another: only *worker*'s own are undone.
        """
        statement = (
            self.still_held(update(self.table), tries)
            .where(self.table.c.leased_by == worker)
            .values(status=PENDING, due_at=func.now())
            .returning(self.table.c.id)
        )
        return set(connection.scalars(statement))

    def any_held(self, connection: Connection, tries: Sequence[tuple[int, int]], *, worker: UUID) -> bool:
        """Whether this worker holds any of these rows under the attempt that is named here."""
        row, named = self.table.c, _named(tries)
        held = select(row.id).where(
            row.id == named.c.id, row.attempt == named.c.attempt, row.status == self.held, row.leased_by == worker
        )
        return connection.scalar(held.limit(1)) is not None

    def still_held(self, statement: Update, tries: Sequence[tuple[int, int]]) -> Update:
        """The statement, fenced: it touches a row only under the attempt that is named here."""
        named = _named(tries)
        row, locked = self.table.c, self._locked(literal([row_id for row_id, _ in tries], ARRAY(BigInteger)))
        return statement.where(
            row.id == locked.c.id,
            row.id == named.c.id,
            row.attempt == named.c.attempt,
            row.status == self.held,
        )

    def settle(self, ending: TableValuedAlias) -> Update:
        """
        The fenced statement that ends tries: set columns of the table's own with ``values``.

        Args:
            ending: Rows with the columns of ``ENDING``; ``delay`` in seconds, null for a final status.
        """
        row, end = self.table.c, ending.c
        locked = self._locked(func.array(select(end.id).scalar_subquery()))
        return (
            update(self.table)
            .where(row.id == locked.c.id, row.id == end.id, row.attempt == end.attempt, row.status == self.held)
            .values(
                status=end.status,
                due_at=case((end.delay.is_not(None), after(end.delay))),
                finished_at=case((end.delay.is_(None), func.now())),
                failures=row.failures + end.failed,
            )
        )

    def _locked(self, ids: ColumnElement[Any]) -> CTE:
        """
        All of these rows, locked in the order of their ids, whoever holds their leases.

        Two workers often name the same rows, one in time and one late: each would wait for the other.
        """
        row = self.table.c
        return _fenced(
            select(row.id).where(row.id == func.any(ids)).order_by(row.id).with_for_update(key_share=True), "locked"
        )

    def due(self) -> CTE:
        """The rows that a claim takes."""
        row = self.table.c
        each = union_all(
            *(select(literal_column(str(int(one)), Integer).label("priority")) for one in Priority)
        ).subquery("each")
        ready = (
            select(row.id)
            .where(row.priority == each.c.priority, row.due_at <= func.now(), row.status == PENDING, row.lapses == 0)
            .where(*self._free())
            .order_by(row.due_at, row.id)
            .limit(_MOST)
            .with_for_update(skip_locked=True)
            .lateral("ready")
        )
        return _fenced(select(ready.c.id).select_from(each.join(ready, true())).limit(_MOST))

    def _free(self) -> Sequence[ColumnElement[bool]]:
        """
        Nobody works on a row that belongs with this one; asked once for all rows.

        Says nothing of ``due_at``: a planner that has last looked in a quiet hour would read all that is due.
        """
        if not self.alike:
            return ()
        other = self.table.alias("other")
        taken = select(*(other.c[name] for name in self.alike)).where(other.c.status == text(f"'{self.held}'"))
        return (tuple_(*(self.table.c[name] for name in self.alike)).not_in(taken),)

    def alone(self) -> CTE:
        """The row that is to be worked on with nothing else beside it."""
        row = self.table.c
        abandoned = and_(self.is_held, row.lapses < MOST_LAPSES - 1)
        back = and_(row.status == PENDING, row.lapses > text("0"))
        return _fenced(self._first_due(literal(1), or_(abandoned, back)).add_columns(row.status))

    def poisonous(self) -> CTE:
        """The rows that have outlived too many workers."""
        return _fenced(self._first_due(_MOST, and_(self.is_held, self.table.c.lapses >= MOST_LAPSES - 1)))

    def _first_due(self, most: ColumnElement[int], condition: ColumnElement[bool]) -> Select[tuple[int]]:
        row = self.table.c
        return (
            select(row.id)
            .where(row.due_at <= func.now(), condition)
            .order_by(row.due_at, row.id)
            .limit(most)
            .with_for_update(skip_locked=True)
        )

    @property
    def is_held(self) -> ColumnElement[bool]:
        """In words that the planner finds in the index's own condition, whatever it knows of parameters."""
        return self.table.c.status == text(f"'{self.held}'")


# Built once: building a statement and deriving its cache key costs several times what sending it does.
_MOST = bindparam("most", type_=Integer)
_LEASE = bindparam("lease", type_=Interval)
_WORKER = bindparam("worker", type_=Uuid)


def _named(tries: Sequence[tuple[int, int]]) -> TableValuedAlias:
    ids, attempts = zip(*tries, strict=True)
    return (
        func.unnest(literal(list(ids), ARRAY(BigInteger)), literal(list(attempts), ARRAY(Integer)))
        .table_valued(column("id", BigInteger), column("attempt", Integer), name="tries")
        .render_derived()
    )


@cache
def _claim(leases: Leases, wanted: tuple[ColumnElement[Any], ...]) -> ReturningUpdate[Any]:
    return _take(leases, leases.due(), wanted)


@cache
def _claim_lapsed(leases: Leases, wanted: tuple[ColumnElement[Any], ...]) -> ReturningUpdate[Any]:
    chosen = leases.alone()
    has_lapsed = select(chosen.c.status == leases.held).where(chosen.c.id == leases.table.c.id).scalar_subquery()
    return _take(leases, chosen, (*wanted, has_lapsed.label("has_lapsed")))


@cache
def _bury_poison(
    leases: Leases, wanted: tuple[ColumnElement[Any], ...], more: tuple[tuple[str, object], ...]
) -> ReturningUpdate[Any]:
    row = leases.table.c
    return (
        update(leases.table)
        .where(row.id == _any_of(leases.poisonous()))
        .values(status=DEAD, due_at=None, finished_at=func.now(), lapses=row.lapses + 1, **dict(more))
        .returning(*wanted)
    )


@cache
def _any_due(leases: Leases) -> Select[tuple[bool]]:
    row = leases.table.c
    firsts = [select(func.min(row.due_at)).where(row.priority == int(one)).scalar_subquery() for one in Priority]
    return select((func.least(*firsts) <= func.now()).label("due"))


@cache
def _outlook(leases: Leases) -> Select[tuple[bool, bool]]:
    row = leases.table.c
    suspect = or_(leases.is_held, row.lapses > text("0"))
    alone = select(func.min(row.due_at)).where(row.due_at.is_not(None), suspect).scalar_subquery()
    return _any_due(leases).add_columns((alone <= func.now()).label("alone"))


def _take(leases: Leases, chosen: CTE, wanted: tuple[ColumnElement[Any], ...]) -> ReturningUpdate[Any]:
    row = leases.table.c
    turn = func.array_position(_array(chosen), row.id).label("turn")
    return (
        update(leases.table)
        .where(row.id == _any_of(chosen))
        .values(
            status=leases.held,
            attempt=row.attempt + 1,
            lapses=row.lapses + (row.status == leases.held).cast(Integer),
            due_at=func.now() + _LEASE,
            leased_by=_WORKER,
        )
        .returning(*wanted, turn)
    )


def _taken(connection: Connection, statement: ReturningUpdate[Any], **values: object) -> Sequence[Row[Any]]:
    return sorted(connection.execute(statement, values).all(), key=attrgetter("turn"))


def after(seconds: ColumnElement[Any]) -> ColumnElement[Any]:
    """The instant so many seconds from now, on the database's clock."""
    return func.now() + seconds * literal_column("interval '1 second'", Interval)


def _fenced(query: Select[Any], name: str = "chosen") -> CTE:
    """The query, run exactly once: PostgreSQL must not fold it into the UPDATE around it."""
    return query.cte(name).prefix_with("MATERIALIZED", dialect="postgresql")


def _any_of(chosen: CTE) -> ColumnElement[Any]:
    return func.any(_array(chosen))


def _array(chosen: CTE) -> ColumnElement[Any]:
    return func.array(select(chosen.c.id).scalar_subquery())
