"""Two sessions on the same emails, in every order of their statements: the result is that of a serial order."""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from copy import deepcopy
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import Connection, delete, func, select, update

from notify.domain.claims import Claim, Lane
from notify.domain.outcomes import Answer, Outcome, Phase, Retry, Sent, settle
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.outbox import items, outbox
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.tables.emails import email_attempts, email_jobs, work_items
from notify.store.tables.operations import delivery_stats
from tests.model.model import LATER, LIFE, MINUTE, SENT, Attempt, Report, Row, Table
from tests.model.schedules import every_order
from tests.model.test_lifecycle import EMAILS
from tests.support import rows
from tests.support.emails import email_facts, job_of
from tests.support.race import LIMIT_SECONDS, blocked_session, meanwhile

LEASE = 10 * MINUTE
NOW = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
BUDGET = 12
OUTCOMES: dict[str, Outcome] = {
    SENT: Sent(answer=Answer(phase=Phase.FINAL_DOT, code=250, text="queued")),
    LATER: Retry(reason="later", answer=Answer(phase=Phase.RCPT, code=451, text="come back")),
}
Ids = Sequence[int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """
    What a session does, and what the model says it should do.

    ``may_pass_over``: it may find nothing, because another session has locked the row.
    """

    on_table: Callable[[Connection], Any]
    on_model: Callable[[Table], Any]
    may_pass_over: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class JobState:
    """An email's initial state. A negative ``due_in``: it is due, or its lease is over."""

    status: str = "sending"
    attempt: int = 1
    lapses: int = 0
    due_in: timedelta = -MINUTE


WAITS = JobState(status="pending", attempt=0)
ABANDONED = JobState()
TAKEN_OVER = JobState(attempt=2, lapses=1, due_in=LEASE)
BACK_AFTER_A_LAPSE = JobState(status="pending", lapses=1)
ABANDONED_AGAIN = JobState(attempt=2, lapses=1)
BEYOND_HOPE = JobState(attempt=3, lapses=2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Session:
    """One worker's steps."""

    worker: UUID

    def claim(self, limit: int) -> Step:
        def on_table(connection: Connection) -> list[Attempt]:
            taken = outbox.claim(connection, limit=limit, lease=LEASE, worker=self.worker)
            return [(job.claim.id, job.claim.attempt) for job in taken]

        return Step(on_table=on_table, on_model=lambda model: take(model, model.waiting(NOW)[:limit]))

    def rescue(self, *, may_pass_over: bool = False) -> Step:
        def on_table(connection: Connection) -> list[Attempt]:
            taken = outbox.claim_lapsed(connection, lease=LEASE, worker=self.worker)
            return [(taken.claim.id, taken.claim.attempt)] if taken else []

        def on_model(model: Table) -> list[Attempt]:
            found = model.lapsed(NOW)[:1]
            for one in found:
                model.rescue(one, self.worker, now=NOW, lease=LEASE)
            return [(one, model.rows[one].attempt) for one in found]

        return Step(on_table=on_table, on_model=on_model, may_pass_over=may_pass_over)

    def bury(self) -> Step:
        return Step(
            on_table=lambda connection: outbox.bury_poison(connection, worker=self.worker),
            on_model=lambda model: len(model.bury(self.worker, now=NOW)),
        )

    def extend(self, *attempts: Attempt) -> Step:
        return Step(
            on_table=lambda connection: items.extend(connection, DELIVER, attempts, lease=LEASE),
            on_model=lambda model: model.extend(attempts, now=NOW, lease=LEASE),
        )

    def release(self, *attempts: Attempt) -> Step:
        return Step(
            on_table=lambda connection: {id_ for id_, _ in items.settle(connection, DELIVER, map_back(attempts))},
            on_model=lambda model: model.release(attempts, now=NOW),
        )

    def record(self, says: str, *attempts: Attempt) -> Step:
        endings = [ending(name, says) for name in attempts]
        reports = [Report(id=name[0], attempt=name[1], says=says) for name in attempts]
        return Step(
            on_table=lambda connection: outbox.record(connection, endings, worker=self.worker),
            on_model=lambda model: model.record(reports, self.worker, now=NOW),
        )


ANN, BEN = Session(worker=UUID(int=1)), Session(worker=UUID(int=2))


def map_back(attempts: Sequence[Attempt]) -> list[items.ItemOutcome]:
    """Endings that release these attempts, due now."""
    return [
        items.ItemOutcome(id=id_, attempt=attempt, lane=Lane.LAPSED if attempt > 1 else Lane.NORMAL)
        for id_, attempt in attempts
    ]


def take(model: Table, ids: Ids) -> list[Attempt]:
    model.claim(ids, now=NOW, lease=LEASE)
    return [(one, model.rows[one].attempt) for one in ids]


def ending(name: Attempt, says: str) -> AttemptOutcome:
    """A worker's report about an attempt that it once claimed."""
    lapses = max(0, name[1] - 1)
    claim = Claim(id=name[0], attempt=name[1], failures=0, max_failures=BUDGET, lapses=lapses)
    job = replace(job_of(email_facts()), claim=claim)
    return AttemptOutcome(job=job, update=settle(OUTCOMES[says], claim, rng=Random(1)))


def put(connection: Connection, states: Sequence[JobState]) -> list[int]:
    """Insert one email for each state; their ids."""
    return [rows.job(connection, username=f"user-{number}") for number, _ in enumerate(states)]


def begin(connection: Connection, ids: Ids, states: Sequence[JobState]) -> None:
    """Restore these emails to their initial states, with nothing recorded."""
    connection.execute(delete(email_attempts))
    connection.execute(delete(delivery_stats))
    connection.execute(delete(work_items))
    for one, state in zip(ids, states, strict=True):
        fresh = {"status": "pending", "attempts": 0, "lapses": 0, "finished_at": None, "outcome_reason": None}
        connection.execute(update(email_jobs).where(email_jobs.c.id == one).values(fresh))
        waits = Lane.LAPSED if state.lapses else Lane.NORMAL
        rows.item(
            connection,
            DELIVER,
            one,
            lane=waits if state.status == "pending" else Lane.LEASED,
            leased_by=UUID(int=9),
            max_failures=BUDGET,
            attempt=state.attempt,
            lapses=state.lapses,
            due_at=rows.ago(seconds=-state.due_in.total_seconds()),
        )


def model_of(ids: Ids, states: Sequence[JobState]) -> Table:
    model = Table(leased="sending")
    for one, state in zip(ids, states, strict=True):
        row = Row(
            id=one,
            status=state.status,
            attempt=state.attempt,
            lapses=state.lapses,
            due_at=NOW + state.due_in,
            expires_at=NOW + LIFE,
            max_failures=BUDGET,
        )
        model.add(row)
    return model


@dataclass(frozen=True, slots=True, kw_only=True)
class End:
    """The result of two sessions, without instants."""

    answers: tuple[Any, Any]
    emails: Sequence[Row]
    counts: Counter[tuple[UUID, str]]
    kept: Counter[Attempt]


def found_end(connection: Connection, answers: tuple[Any, Any]) -> End:
    found = connection.execute(EMAILS).mappings()
    names = ("id", "status", "max_failures", "attempt", "failures", "lapses")
    attempts = connection.execute(select(email_attempts.c.job_id, email_attempts.c.attempt))
    stats = delivery_stats.c
    total = func.sum(stats.count).label("total")
    counts = connection.execute(select(stats.worker, stats.outcome, total).group_by(stats.worker, stats.outcome))
    return End(
        answers=answers,
        emails=[Row(due_at=None, **{name: row[name] for name in names}) for row in found],
        counts=Counter({(row.worker, row.outcome): row.total for row in counts}),
        kept=Counter(map(tuple, attempts)),
    )


def allowed_ends(model: Table, first: Step, second: Step) -> list[End]:
    """The results of both serial orders; and where one may pass over, of the other alone."""
    nothing = replace(second, on_model=lambda _: [])
    orders = [((first, second), (0, 1)), ((first, second), (1, 0))]
    orders += [((first, nothing), (0, 1))] if second.may_pass_over else []
    return [model_end(deepcopy(model), steps, order) for steps, order in orders]


def model_end(model: Table, steps: tuple[Step, Step], order: tuple[int, int]) -> End:
    answers = {number: steps[number].on_model(model) for number in order}
    emails = [replace(row.remembered(), due_at=None, expires_at=None) for row in model.rows.values()]
    return End(answers=(answers[0], answers[1]), emails=emails, counts=model.counts, kept=model.kept)


def ends(database: Database, states: Sequence[JobState], steps: Callable[..., tuple[Step, Step]]) -> list[End]:
    """The results of the two steps in every order of their statements; the model allows each of them."""
    with database.begin() as connection:
        ids = put(connection, states)
    first, second = steps(*ids)
    allowed = allowed_ends(model_of(ids, states), first, second)
    found = []
    orders = every_order(
        database, first.on_table, second.on_table, reset=lambda connection: begin(connection, ids, states)
    )
    for answers in orders:
        with database.begin() as connection:
            end = found_end(connection, answers)
        assert end in allowed
        found.append(end)
    return found


ONE = [
    pytest.param([WAITS], lambda _: (ANN.claim(1), BEN.claim(1)), id="claim, claim"),
    pytest.param([ABANDONED], lambda _: (ANN.rescue(), BEN.rescue()), id="rescue, rescue"),
    pytest.param([BACK_AFTER_A_LAPSE], lambda _: (ANN.rescue(), BEN.claim(1)), id="rescue, claim"),
    pytest.param([TAKEN_OVER], lambda a: (ANN.release((a, 2)), BEN.rescue()), id="release, rescue"),
    pytest.param([ABANDONED], lambda a: (ANN.record(LATER, (a, 1)), BEN.rescue()), id="refusal, rescue"),
    pytest.param([ABANDONED], lambda a: (ANN.record(SENT, (a, 1)), BEN.rescue()), id="yes, rescue"),
    pytest.param([ABANDONED], lambda a: (ANN.extend((a, 1)), BEN.rescue()), id="extend, rescue"),
    pytest.param([ABANDONED], lambda a: (ANN.extend((a, 1)), ANN.record(LATER, (a, 1))), id="extend, refusal"),
    pytest.param([ABANDONED], lambda a: (ANN.extend((a, 1)), ANN.record(SENT, (a, 1))), id="extend, yes"),
    *(
        pytest.param(
            [TAKEN_OVER],
            lambda a, late=late, leased=leased: (ANN.record(late, (a, 1)), BEN.record(leased, (a, 2))),
            id=f"late {late}, {leased}",
        )
        for late in (SENT, LATER)
        for leased in (SENT, LATER)
    ),
    *(
        pytest.param(
            [ABANDONED_AGAIN],
            lambda a, late=late: (ANN.record(late, (a, 1)), BEN.rescue(may_pass_over=True)),
            id=f"late {late}, second rescue",
        )
        for late in (SENT, LATER)
    ),
    *(
        pytest.param([BEYOND_HOPE], lambda a, says=says: (ANN.record(says, (a, 3)), BEN.bury()), id=f"{says}, burial")
        for says in (SENT, LATER)
    ),
]
TWO = [
    pytest.param([WAITS] * 2, lambda *_: (ANN.claim(2), BEN.claim(2)), id="claim, claim"),
    pytest.param([WAITS] * 2, lambda *_: (ANN.claim(1), BEN.claim(1)), id="claim one, claim one"),
    pytest.param([ABANDONED] * 2, lambda *_: (ANN.rescue(), BEN.rescue()), id="rescue, rescue"),
    *(
        pytest.param(
            [ABANDONED] * 2,
            lambda a, b, says=says: (ANN.record(says, (b, 1), (a, 1)), BEN.rescue()),
            id=f"{says}, rescue",
        )
        for says in (SENT, LATER)
    ),
    *(
        pytest.param(
            [ABANDONED] * 2,
            lambda a, b, says=says: (ANN.extend((a, 1), (b, 1)), ANN.record(says, (b, 1), (a, 1))),
            id=f"extend, {says}",
        )
        for says in (SENT, LATER)
    ),
    *(
        pytest.param(
            [TAKEN_OVER] * 2,
            lambda a, b, first=first, second=second: (
                ANN.record(first, (b, 2), (a, 1)),
                BEN.record(second, (a, 2), (b, 1)),
            ),
            id=f"{first} and late {first}, {second} and late {second}",
        )
        for first, second in ((SENT, SENT), (SENT, LATER), (LATER, LATER))
    ),
]


@pytest.mark.parametrize(("states", "steps"), [*ONE, *TWO])
def test_two_concurrent_sessions_end_like_a_serial_order_whatever_the_order_of_their_statements(
    database: Database, states: Sequence[JobState], steps: Callable[..., tuple[Step, Step]]
) -> None:
    assert len(ends(database, states, steps)) > 1


def test_of_a_rescue_and_a_refusal_the_first_gets_the_email_and_the_other_is_told(database: Database) -> None:
    found = ends(database, [ABANDONED], lambda a: (ANN.record(LATER, (a, 1)), BEN.rescue()))
    refused = [end for end in found if end.answers == ({"retry": 1}, [])]
    rescued = [end for end in found if end.answers[0] == {"lease_lost": 1}]
    assert len(refused) + len(rescued) == len(found)
    assert {(row.status, row.attempt, row.failures) for end in refused for row in end.emails} == {("pending", 1, 1)}
    assert {(row.status, row.attempt, row.failures) for end in rescued for row in end.emails} == {("sending", 2, 0)}


@pytest.mark.parametrize(
    ("state", "steps"),
    [
        pytest.param(ABANDONED, lambda a: (ANN.record(SENT, (a, 1)), BEN.rescue()), id="rescue"),
        pytest.param(TAKEN_OVER, lambda a: (ANN.record(SENT, (a, 1)), BEN.record(LATER, (a, 2))), id="refusal"),
        pytest.param(TAKEN_OVER, lambda a: (ANN.record(SENT, (a, 1)), BEN.record(SENT, (a, 2))), id="another yes"),
        pytest.param(BEYOND_HOPE, lambda a: (ANN.record(SENT, (a, 3)), BEN.bury()), id="burial"),
    ],
)
def test_an_acceptance_wins_over_whatever_another_session_does_meanwhile(
    database: Database, state: JobState, steps: Callable[..., tuple[Step, Step]]
) -> None:
    found = ends(database, [state], steps)
    assert {row.status for end in found for row in end.emails} == {"sent"}


@pytest.mark.parametrize(
    "step",
    [
        pytest.param(lambda a, b: ANN.extend((b, 1), (a, 1)), id="extend"),
        pytest.param(lambda a, b: ANN.release((b, 1), (a, 1)), id="release"),
        pytest.param(lambda a, b: ANN.record(LATER, (b, 1), (a, 1)), id="refusal"),
        pytest.param(lambda a, b: ANN.record(SENT, (b, 1), (a, 1)), id="yes"),
        pytest.param(lambda a, b: ANN.record(SENT, (b, 0), (a, 0)), id="late yes"),
    ],
)
def test_a_session_that_waits_for_an_email_locks_none_with_a_higher_id(
    database: Database, step: Callable[[int, int], Step]
) -> None:
    with database.begin() as connection:
        ids = put(connection, [ABANDONED] * 2)
        begin(connection, ids, [ABANDONED] * 2)

    def take_step() -> Any:
        with database.begin() as connection:
            return step(*ids).on_table(connection)

    with ExitStack() as stack:
        other = stack.enter_context(database.begin())
        lock(other, ids[0])
        answer = stack.enter_context(meanwhile(take_step))
        blocked_session(database)
        lock(other, ids[1])
        other.commit()
        assert answer.result(LIMIT_SECONDS)


def lock(connection: Connection, row_id: int) -> None:
    """
    Lock the row at once.

    Raises:
        OperationalError: Another session has locked it.
    """
    connection.execute(select(work_items.c.id).where(work_items.c.id == row_id).with_for_update(nowait=True))
