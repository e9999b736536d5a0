"""
Any order of steps, late workers included, does to PostgreSQL what it does to the model.

NOTIFY_TEST_MODEL_EXAMPLES asks for that many random runs instead of the few that are always the same.
"""

import os
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast
from uuid import UUID

from hypothesis import HealthCheck, settings
from hypothesis import Phase as Effort
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test
from sqlalchemy import ColumnElement, Connection, Interval, RowMapping, func, literal, select, text, update
from sqlalchemy.sql.dml import Update

from notify.domain.claims import Claim
from notify.domain.events import ChangeList
from notify.domain.jobs import Job
from notify.domain.outcomes import Answer, Blame, Dead, Expired, Outcome, Phase, Released, Retry, Sent, Skipped, settle
from notify.domain.preferences import Person
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.webhooks import TYPES
from notify.intake import bundling
from notify.intake.fan_out import load_facts, plan
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.intake.withdraw import withdraw
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.outbox import events, items, notifications, outbox
from notify.store.outbox.outbox import AttemptOutcome
from notify.store.outbox.retry_cancel_replay import Action, act_on
from notify.store.tables.emails import bundles, email_attempts, email_jobs, work_items
from notify.store.tables.emails import notifications as notification_rows
from notify.store.tables.operations import delivery_stats
from tests.model.model import (
    BACK,
    DONE,
    HOUR,
    LATER,
    LIFE,
    MAX_LAPSES,
    MINUTE,
    MUTED,
    NO,
    OLD,
    SENT,
    TROUBLE,
    Report,
    Row,
    Table,
    Told,
)
from tests.support import servers
from tests.support.harness import comment

EXAMPLES = "NOTIFY_TEST_MODEL_EXAMPLES"
FEW = 25
STEPS = 50
LEASE = 10 * MINUTE
WINDOW = 5 * MINUTE
WORKERS = [UUID(int=number) for number in (1, 2, 3)]
# Small, so that they are spent within one example.
BUDGET = 2
KNOWN, KNOWN_LATER, UNKNOWN = "CL-1", "CL-2", "CL-3"
AUTHOR, REVIEWER, GONE = "alice", "bob", "carol"
STRANGER = "stranger"

OUTCOMES: dict[str, Outcome] = {
    SENT: Sent(answer=Answer(phase=Phase.FINAL_DOT, code=250, text="queued")),
    LATER: Retry(reason="later", answer=Answer(phase=Phase.RCPT, code=451, text="come back")),
    NO: Dead(reason="refused", answer=Answer(phase=Phase.RCPT, code=550, text="no such user")),
    BACK: Released(reason="not_begun"),
    TROUBLE: Released(reason="dropped", blame=Blame.RELAY, answer=Answer(phase=Phase.MAIL)),
    MUTED: Skipped(reason="muted_cl"),
    OLD: Expired(),
}
EVERYTHING = {
    *("sent", "retry", "dead", "released", "skipped", "expired", "lease_lost", "late_success", "duplicate_sent"),
    *("lapsed", "poison", "cancelled", "retried", "not retried", "replayed", "not replayed", "too old"),
    *("back after a lapse", "fourth lapse", "joined", "left out"),
    *("event done", "event dead", "event put off", "event lapsed", "event lease_lost", "repeated event"),
    *("withdrawn from pending", "withdrawn from working", "withdrawn from done", "withdrawn from dead"),
    *("withdrawal of withdrawn", "withdrawal of sending", "withdrawal of sent", "withdrawal of skipped"),
}
OFTEN = {"joined", "sent", "retry", "lease_lost", "late_success", "lapsed", "event done"}

# Of a finished event, only its status is kept.
EVENTS = text("""
    SELECT events.id, CASE WHEN lane = 8 THEN 'working' ELSE status END AS status,
        CASE WHEN lane < 9 THEN due_at END AS due_at, coalesce(max_failures, 0) AS max_failures,
        coalesce(attempt, 0) AS attempt, coalesce(failures, 0) AS failures, coalesce(lapses, 0) AS lapses
    FROM notify.events LEFT JOIN notify.work_items ON stage = 'fan_out' AND work_items.id = events.id
""")

# Of a job that has ended and is not dead, the numbers of attempts and lapses are kept.
EMAILS = text("""
    SELECT j.*, CASE WHEN j.status = 'pending' AND lane = 8 THEN 'sending' ELSE j.status END AS status,
        CASE WHEN j.status = 'pending' THEN i.due_at END AS due_at, coalesce(i.max_failures, 0) AS max_failures,
        coalesce(i.attempt, j.attempts) AS attempt, coalesce(i.failures, 0) AS failures,
        coalesce(i.lapses, j.lapses) AS lapses
    FROM notify.email_jobs AS j LEFT JOIN notify.work_items AS i ON stage = 'deliver' AND i.id = j.id ORDER BY j.id
""")

# What webhooks tell of: each end of an email and an event, and each notification that is skipped.
STATES = text("""
    SELECT 'email', id, status FROM notify.email_jobs WHERE status <> 'pending'
    UNION ALL SELECT 'event', id, status FROM notify.events WHERE status <> 'pending'
    UNION ALL SELECT 'notification', note.id, 'skipped'
    FROM notify.notifications AS note LEFT JOIN notify.email_jobs AS job ON job.id = note.email_job_id
    WHERE note.decision = 'skipped' OR job.status = 'skipped'
""")
CALLS = text("SELECT split_part(type, '.', 1), subject_id, outcome FROM notify.webhook_calls ORDER BY id")
ENDPOINT = text(
    "INSERT INTO notify.webhook_endpoints (name, url, types, secret) VALUES ('all', 'https://h', :types, 's')"
)

picks = st.lists(st.integers(min_value=0, max_value=5), min_size=1, max_size=3)
pick = st.integers(min_value=0, max_value=8)
workers = st.sampled_from(WORKERS)
links = st.sampled_from([KNOWN, KNOWN_LATER, UNKNOWN])
limits = st.integers(min_value=1, max_value=3)
sayings = st.sampled_from([SENT, SENT, LATER, LATER, LATER, NO, BACK, TROUBLE, MUTED, OLD])


class Highest(Random):
    """Always returns the maximum, so that a backoff is exactly the doubling."""

    def random(self) -> float:
        return 1.0


@dataclass(slots=True)
class Coverage:
    """What all examples of a run have covered."""

    reached: set[str] = field(default_factory=set)


class Life(RuleBasedStateMachine):
    """
    A database and a model that take the same steps.

    Time passes by moving every instant of the table back; the model's instants stay, so the two
    differ by ``shift``. Everything is compared to the microsecond.
    """

    def __init__(self, database: Database, memory: Coverage) -> None:
        super().__init__()
        self.database = database
        self.reached = memory.reached
        self.shift = timedelta(0)
        self.events = Table(leased="working", first_wait=MINUTE / 2, longest_wait=15 * MINUTE)
        self.emails = Table(leased="sending")
        self.told = Told(jobs=self.emails, window=WINDOW, max_failures=BUDGET)
        self.contents: dict[int, set[int]] = {}
        self.links: dict[int, str] = {}
        self.actors: dict[int, str] = {}
        self.withdrawn: set[int] = set()
        self.links_known = {KNOWN}
        self.fan_outs: list[tuple[UUID, Claim]] = []
        self.attempts: dict[UUID, list[Job]] = {worker: [] for worker in WORKERS}
        self.names: dict[int, str | None] = {}
        self.out: dict[int, dict[str, Any]] = {}
        self.retried: Counter[int] = Counter()

    @contextmanager
    def moment(self) -> Iterator[tuple[Connection, datetime]]:
        """A transaction, and the model's current time."""
        with self.database.begin() as connection:
            yield connection, connection.execute(select(func.now())).scalar_one() + self.shift

    @initialize()
    def begin(self) -> None:
        """Empty database but for the directory, and two pending emails."""
        with self.database.begin() as connection:
            servers.empty(connection)
            for username in (AUTHOR, REVIEWER, GONE):
                person = Person(username=username, email=f"{username}@example.com", active=username != GONE)
                directory.put_person(connection, person)
            know(connection, KNOWN)
            connection.execute(ENDPOINT, {"types": list(TYPES)})
        self.emit(actor=STRANGER, link=KNOWN, commits=True)
        self.claim_events(WORKERS[0], limit=1)
        self.fan_out(0)

    @rule(actor=st.sampled_from([STRANGER, AUTHOR]), link=links, commits=st.booleans())
    def emit(self, *, actor: str, link: str, commits: bool) -> None:
        """Emit an event in a transaction that may be rolled back."""
        given = {**comment(key=f"event-{len(self.events.rows)}", actor=actor), "cl": {"link": link}}
        with self.moment() as (connection, now):
            (receipt,) = receive(connection, [parse(given)])
            assert not receipt.duplicate
            if not commits:
                connection.rollback()
                return
            its_item = (work_items.c.stage == FAN_OUT) & (work_items.c.id == receipt.id)
            connection.execute(update(work_items).where(its_item).values(max_failures=BUDGET))
        self.events.add(Row(id=receipt.id, status="pending", due_at=now, max_failures=BUDGET))
        self.links[receipt.id], self.actors[receipt.id] = link, actor

    @rule(worker=workers)
    def emit_in_a_hurry(self, worker: UUID) -> None:
        """Emit two events: the first waits for the window unless it is the first of all, and the second joins it."""
        for _ in range(2):
            self.emit(actor=STRANGER, link=KNOWN, commits=True)
            self.claim_events(worker, 1)
            self.fan_out(0)

    @rule(index=pick)
    def emit_again(self, index: int) -> None:
        """Emit a known key again: nothing changes."""
        number = index % len(self.events.rows)
        with self.moment() as (connection, _):
            (receipt,) = receive(connection, [parse(comment(key=f"event-{number}", link="CL-9"))])
        assert (receipt.id, receipt.duplicate) == (sorted(self.events.rows)[number], True)
        self.reached.add("repeated event")

    @rule()
    def learn(self) -> None:
        """Add the unknown change list to the directory."""
        with self.moment() as (connection, _):
            know(connection, KNOWN_LATER)
        self.links_known.add(KNOWN_LATER)

    @rule(worker=workers, limit=limits)
    def claim_events(self, worker: UUID, limit: int) -> None:
        with self.moment() as (connection, now):
            claimed = items.claim(connection, FAN_OUT, limit=limit, lease=LEASE, worker=worker, ordered=True)
        busy = {self.links[row.id] for row in self.events.rows.values() if row.status == "working"}
        expected = [one for one in self.events.waiting(now) if self.links[one] not in busy][:limit]
        assert [one.id for one in claimed] == expected
        self.events.claim(expected, now=now, lease=LEASE)
        self.fan_outs += [(worker, one) for one in claimed]

    @rule(worker=workers)
    def rescue_events(self, worker: UUID) -> None:
        """Bury poison events, and claim one lapsed event."""
        with self.moment() as (connection, now):
            buried = items.bury_poison(connection, FAN_OUT, limit=100)
            assert sorted(id_ for id_, _ in buried) == sorted(self.events.bury(worker, now=now))
            events.end(connection, [id_ for id_, _ in buried], "dead")
            found = items.claim_lapsed(connection, FAN_OUT, lease=LEASE, worker=worker)
        assert_is_one_of(found.id if found else None, self.events.lapsed(now))
        if found:
            self.events.claim([found.id], now=now, lease=LEASE)
            self.fan_outs.append((worker, found))
            self.reached.add("event lapsed")

    @rule(index=pick)
    def fan_out(self, index: int) -> None:
        """Fan out an event that a worker once claimed, perhaps late, perhaps for the second time."""
        if not self.fan_outs:
            return
        worker, claimed = self.fan_outs[::-1][index % len(self.fan_outs)]
        with self.moment() as (connection, now):
            event = events.load(connection, [claimed.id])[claimed.id]
            known, mentioned = load_facts([event], connection)
            rows, endings = plan([(claimed, event)], known, mentioned, host="h", rng=Highest())
            ended = events.settle(connection, endings)
            bundling.write(connection, rows if ended else [], known=known, window=WINDOW)
            fresh = select(email_jobs.c.id).where(email_jobs.c.created_at == func.now())
            connection.execute(budget(work_items.c.id.in_(fresh)))
            born = mappings(connection, notification_rows)
        one, is_known = claimed.id, self.links[claimed.id] in self.links_known
        report = Report(id=one, attempt=claimed.attempt, says=DONE if is_known else LATER)
        (verdict,) = self.events.record([report], worker, now=now)
        assert ({id_ for id_, _ in ended} == {one}) == (verdict != "lease_lost")
        self.reached.add(f"event {'put off' if verdict == 'retry' else verdict}")
        if verdict != DONE:
            return
        for row in born:
            if row["event_id"] == one:
                self.tell(one, row["username"], row["email_job_id"], now=now)

    def tell(self, event_id: int, username: str, job_id: int | None, *, now: datetime) -> None:
        """Tell somebody, unless they have left or are the actor."""
        assert (job_id is not None) == (username not in {GONE, self.actors[event_id]})
        if job_id is None:
            self.told.by[event_id, username] = None
            return
        self.reached |= {"joined"} if job_id in self.emails.rows else set()
        assert self.told.tell(event_id, username, self.links[event_id], job_id=job_id, now=now)

    @rule(index=pick)
    def withdraw(self, index: int) -> None:
        """Withdraw an event, whatever became of it, perhaps again."""
        one = sorted(self.events.rows)[index % len(self.events.rows)]
        was = self.events.rows[one].status
        with self.moment() as (connection, _):
            people = withdraw(connection, f"event-{sorted(self.events.rows).index(one)}").people
        self.events.rows[one] = self.events.rows[one].ended("withdrawn")
        self.withdrawn.add(one)
        said = {person.username: person.status for person in people}
        assert said == self.told.withdraw(one, self.withdrawn)
        self.reached |= {f"withdrawn from {was}", *(f"withdrawal of {status}" for status in said.values())}

    @rule(worker=workers, limit=limits)
    def claim(self, worker: UUID, limit: int) -> None:
        with self.moment() as (connection, now):
            claimed = outbox.claim(connection, limit=limit, lease=LEASE, worker=worker)
        expected = self.emails.waiting(now)[:limit]
        assert [job.claim.id for job in claimed] == expected
        self.emails.claim(expected, now=now, lease=LEASE)
        self.took(worker, claimed, now)

    @rule(worker=workers)
    def claim_and_leave_out(self, worker: UUID) -> None:
        """The recheck drops every event but the first."""
        with self.moment() as (connection, now):
            claimed = outbox.claim(connection, limit=1, lease=LEASE, worker=worker)
            others = [one for job in claimed if not job.is_replay for one in job.notifications[1:]]
            notifications.drop(connection, [(one.id, "muted_all") for one in others])
        self.emails.claim([job.claim.id for job in claimed], now=now, lease=LEASE)
        self.took(worker, claimed, now)
        for job in claimed:
            for one in others:
                self.told.by[one.event.id, job.username] = None
        self.reached |= {"left out"} if others else set()

    @rule(worker=workers)
    def rescue(self, worker: UUID) -> None:
        """Bury poison emails, and claim one lapsed email."""
        with self.moment() as (connection, now):
            buried = self.emails.bury(worker, now=now)
            assert outbox.bury_poison(connection, worker=worker) == len(buried)
            found = outbox.claim_lapsed(connection, lease=LEASE, worker=worker)
        assert_is_one_of(found.claim.id if found else None, self.emails.lapsed(now))
        self.reached |= {"poison"} if buried else set()
        self.reached |= {"fourth lapse"} if any(self.emails.rows[one].lapses > MAX_LAPSES for one in buried) else set()
        if found:
            self.reached.add("lapsed" if self.emails.is_abandoned(found.claim.id, now) else "back after a lapse")
            self.emails.rescue(found.claim.id, worker, now=now, lease=LEASE)
            self.took(worker, [found], now)

    @rule(worker=workers, limit=limits)
    def claim_and_vanish(self, worker: UUID, limit: int) -> None:
        """Claim what is due, and do nothing until the lease is over."""
        self.claim_events(worker, limit)
        self.claim(worker, limit)
        self.advance(LEASE)

    @rule(worker=workers)
    def rescue_and_vanish(self, worker: UUID) -> None:
        self.rescue_events(worker)
        self.rescue(worker)
        self.advance(LEASE)

    @rule(worker=workers)
    def rescue_and_give_back(self, worker: UUID) -> None:
        """Claim a lapsed email and release it; the next claim must take it alone."""
        self.claim_and_vanish(worker, 1)
        self.rescue(worker)
        self.release(worker, [0])
        self.rescue(worker)

    @rule(worker=workers)
    def outlive_a_fourth(self, worker: UUID) -> None:
        """Let three workers vanish, retry by hand, and let a fourth vanish."""
        self.claim_and_vanish(worker, 1)
        for _ in range(2):
            self.rescue_and_vanish(worker)
        self.rescue(worker)
        for place, one in enumerate(sorted(self.emails.rows)):
            if self.emails.rows[one].lapses == MAX_LAPSES:
                self.retry(place)
        self.rescue_and_vanish(worker)
        self.rescue(worker)

    @rule(worker=workers)
    def answer_late(self, worker: UUID) -> None:
        """A worker vanishes, the next one takes over, and then the first reports the email as sent."""
        self.claim_and_vanish(worker, 1)
        self.rescue(WORKERS[WORKERS.index(worker) - 1])
        self.record(worker, [0], (SENT, SENT, SENT))

    @rule(worker=workers, says=sayings)
    def claim_and_record(self, worker: UUID, says: str) -> None:
        """Claim and record, the normal case."""
        self.claim(worker, 1)
        self.record(worker, [0], (says, says, says))

    @rule(worker=workers)
    def rescue_and_fan_out(self, worker: UUID) -> None:
        self.claim_events(worker, 1)
        self.rescue_events(worker)
        self.fan_out(0)

    @rule(worker=workers, indexes=picks)
    def extend(self, worker: UUID, indexes: list[int]) -> None:
        names = [name_of(job) for job in self.leased_once(worker, indexes)]
        with self.moment() as (connection, now):
            ours = items.extend(connection, DELIVER, names, lease=LEASE)
        assert ours == self.emails.extend(names, now=now, lease=LEASE)

    @rule(worker=workers, indexes=picks)
    def release(self, worker: UUID, indexes: list[int]) -> None:
        jobs = self.leased_once(worker, indexes)
        with self.moment() as (connection, now):
            ours = items.settle(connection, DELIVER, [at_once(job) for job in jobs])
        assert {id_ for id_, _ in ours} == self.emails.release(map(name_of, jobs), now=now)

    @rule(worker=workers, indexes=picks, says=st.tuples(sayings, sayings, sayings))
    def record(self, worker: UUID, indexes: list[int], says: tuple[str, str, str]) -> None:
        """Report on a worker's own attempts, in time or late, perhaps again."""
        said = list(zip(self.leased_once(worker, indexes), says, strict=False))
        endings = [ending(job, word) for job, word in said]
        reports = [Report(id=job.claim.id, attempt=job.claim.attempt, says=word) for job, word in said]
        with self.moment() as (connection, now):
            verdicts = outbox.record(connection, endings, worker=worker)
        assert verdicts == self.emails.record(reports, worker, now=now)
        self.reached.update(verdicts)

    @rule(index=pick)
    def cancel(self, index: int) -> None:
        one = self.email(index)
        with self.moment() as (connection, _):
            assert (act_on(connection, Action.CANCEL, one) is not None) == self.emails.cancel(one)

    @rule(index=pick)
    def retry(self, index: int) -> None:
        one = self.email(index)
        with self.moment() as (connection, now):
            retried = act_on(connection, Action.RETRY, one) is not None
        assert retried == self.emails.retry(one, now=now)
        self.reached.add("retried" if retried else "not retried")
        self.retried[one] += retried

    @rule(index=pick)
    def replay(self, index: int) -> None:
        one = self.email(index)
        with self.moment() as (connection, now):
            fresh = act_on(connection, Action.REPLAY, one)
            assert (fresh is not None) == self.emails.may_replay(one)
            if fresh:
                connection.execute(budget(work_items.c.id == fresh))
                row = Row(id=fresh, status="pending", due_at=now, max_failures=BUDGET, expires_at=now + LIFE)
                self.emails.add(row.repeats(self.emails.original(one)))
        self.reached.add("replayed" if fresh else "not replayed")

    @rule(by=st.sampled_from([MINUTE, WINDOW, LEASE, LEASE, LEASE, HOUR, 5 * HOUR, 75 * HOUR]))
    def advance(self, by: timedelta) -> None:
        """Let time pass."""
        with self.moment() as (connection, _):
            for table in (work_items, email_jobs, bundles):
                instants = [table.c[name] for name in ("due_at", "expires_at", "last_at") if name in table.c]
                earlier = {instant: instant - literal(by, Interval) for instant in instants}
                connection.execute(update(table).values(earlier))
        self.shift += by

    @invariant()
    def tells_each_end_once(self) -> None:
        """An endpoint that asks for everything was told last how things are, and of nothing twice but of retries."""
        with self.moment() as (connection, _):
            states = [tuple(row) for row in connection.execute(STATES)]
            calls = [tuple(row) for row in connection.execute(CALLS)]
        last = {(kind, id_): outcome for kind, id_, outcome in calls}
        assert [(kind, id_, last.get((kind, id_))) for kind, id_, _ in states] == states
        for (kind, id_, _), times in Counter(calls).items():
            assert times <= 1 + (self.retried[id_] if kind == "email" else 0)

    @invariant()
    def says_the_same(self) -> None:
        with self.moment() as (connection, now):
            found_events = connection.execute(EVENTS).mappings().all()
            found = connection.execute(EMAILS).mappings().all()
            kept = Counter(map(tuple, connection.execute(select(email_attempts.c.job_id, email_attempts.c.attempt))))
            counts = counted(connection)
            due = items.is_due(connection, FAN_OUT), items.is_due(connection, DELIVER)
            told = mappings(connection, notification_rows)
        assert {(row["event_id"], row["username"]): row["email_job_id"] for row in told} == self.told.by
        assert len(told) == len(self.told.by)
        assert {one.id for one in self.emails.rows.values() if not one.replay_of} <= {*self.told.by.values()}
        self.tells_no_more_once_claimed(told)
        assert {row["id"]: self.row(row) for row in found_events} == {
            one: row.forgotten() if row.status in {"done", "withdrawn"} else row
            for one, row in self.events.rows.items()
        }
        assert {row["id"]: self.row(row) for row in found} == {
            one: row.remembered() for one, row in self.emails.rows.items()
        }
        assert kept == self.emails.kept
        assert counts == self.emails.counts
        assert due == tuple(any(row.is_due(now) for row in t.rows.values()) for t in (self.events, self.emails))
        self.holds_for_ever(found)
        self.reached |= {row["status"] for row in found}

    def tells_no_more_once_claimed(self, told: Sequence[RowMapping]) -> None:
        for one in self.emails.rows.values():
            if one.attempt:
                events_told = {row["event_id"] for row in told if row["email_job_id"] == self.emails.original(one.id)}
                assert events_told <= self.contents.setdefault(one.id, events_told)

    def holds_for_ever(self, found: Sequence[RowMapping]) -> None:
        """Check what is true of the emails whatever the model says."""
        for row in found:
            assert self.names.setdefault(row["id"], row["message_id"]) == row["message_id"]
            if row["status"] == "sent":
                told = {name: value for name, value in row.items() if name != "expires_at"}
                assert self.out.setdefault(row["id"], told) == told
        assert self.out.keys() <= {row["id"] for row in found if row["status"] == "sent"}
        given = [name for name in self.names.values() if name]
        assert len(given) == len(set(given))
        open_replays = Counter(row["replay_of"] for row in found if row["replay_of"] and row["due_at"])
        assert set(open_replays.values()) <= {1}

    def row(self, found: RowMapping) -> Row:
        """The row as the model has it."""
        due_at, expires_at = found["due_at"], found.get("expires_at")
        return Row(
            **{name: found[name] for name in ("id", "status", "max_failures", "attempt", "failures", "lapses")},
            due_at=due_at and due_at + self.shift,
            expires_at=expires_at and expires_at + self.shift,
            replay_of=found.get("replay_of"),
        )

    def took(self, worker: UUID, claimed: Sequence[Job], now: datetime) -> None:
        """Remember a worker's attempts, so that it can report on them at any time."""
        for job in claimed:
            row = self.emails.rows[job.claim.id]
            assert name_of(job) == (row.id, row.attempt)
            assert job.expired == (row.expires_at is not None and row.expires_at <= now)
            self.reached |= {"too old"} if job.expired else set()
        self.attempts[worker] += claimed

    def leased_once(self, worker: UUID, indexes: Sequence[int]) -> list[Job]:
        """Some of the attempts that the worker has or had, the last ones first, without repeats."""
        attempts = self.attempts[worker][::-1]
        return list(
            {
                name_of(attempts[one % len(attempts)]): attempts[one % len(attempts)] for one in indexes if attempts
            }.values()
        )

    def email(self, index: int) -> int:
        return sorted(self.emails.rows)[index % len(self.emails.rows)]


def know(connection: Connection, link: str) -> None:
    """Put the change list with its author and reviewers into the directory."""
    directory.put_change_list(connection, ChangeList(link=link, author=AUTHOR, reviewers=(REVIEWER, GONE)))


def assert_is_one_of(found: int | None, expected: Sequence[int]) -> None:
    """The found item is among the expected; nothing is found exactly when nothing is expected."""
    assert found in expected if expected else found is None


def budget(condition: ColumnElement[bool]) -> Update:
    """Give the work items of these emails the model's budget."""
    return update(work_items).where(work_items.c.stage == DELIVER, condition).values(max_failures=BUDGET)


def at_once(job: Job) -> items.ItemOutcome:
    """Released, due now."""
    return replace(items.released(job.claim), due_in=0.0)


def name_of(job: Job) -> tuple[int, int]:
    return job.claim.id, job.claim.attempt


def ending(job: Job, says: str) -> AttemptOutcome:
    return AttemptOutcome(job=job, update=settle(OUTCOMES[says], job.claim, rng=Highest()), to_email=job.to_email)


def mappings(connection: Connection, table: Any) -> Sequence[RowMapping]:
    return connection.execute(select(table)).mappings().all()


def counted(connection: Connection) -> Counter[tuple[UUID, str]]:
    """The counts of all minutes, by worker and outcome."""
    stats = delivery_stats.c
    query = select(stats.worker, stats.outcome, func.sum(stats.count).label("total")).group_by(
        stats.worker, stats.outcome
    )
    return Counter({(row.worker, row.outcome): row.total for row in connection.execute(query)})


def profile() -> settings:
    """The same few examples each time, or as many random ones as the environment asks for."""
    asked = os.environ.get(EXAMPLES)
    return settings(
        max_examples=int(asked or FEW),
        stateful_step_count=STEPS,
        derandomize=not asked,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
        phases=[Effort.generate, Effort.shrink],  # explaining takes minutes and says less than the steps
    )


def test_the_database_agrees_with_the_model_after_any_sequence_of_steps(database: Database) -> None:
    memory = Coverage()
    factory = cast("type[Life]", lambda: Life(database, memory))
    run_state_machine_as_test(factory, settings=profile())
    assert memory.reached >= OFTEN


def test_the_database_agrees_with_the_model_after_a_run_with_every_kind_of_step(database: Database) -> None:
    memory = Coverage()
    life = Life(database, memory)
    life.begin()
    for part in (
        every_lapse,
        every_ending,
        every_bundle,
        every_late_word,
        every_event,
        everything_by_hand,
        every_withdrawal,
    ):
        part(life)
        life.says_the_same()
    assert memory.reached >= EVERYTHING


def two_emails(life: Life) -> None:
    """One more event, fanned out."""
    life.emit(actor=STRANGER, link=KNOWN, commits=True)
    life.claim_events(WORKERS[0], 3)
    life.fan_out(0)
    life.advance(WINDOW)


def every_ending(life: Life) -> None:
    """A worker reports every outcome, in time."""
    for says in OUTCOMES:
        two_emails(life)
        life.claim(WORKERS[0], 3)
        life.record(WORKERS[0], [0, 1, 2], (says, says, says))
    life.advance(75 * HOUR)
    life.claim(WORKERS[0], 3)


def every_bundle(life: Life) -> None:
    """Events soon after an email wait in a bundle, and the next ones join it."""
    life.emit_in_a_hurry(WORKERS[0])
    life.emit_in_a_hurry(WORKERS[0])
    life.claim(WORKERS[0], 3)
    life.advance(WINDOW)
    for _ in range(4):
        life.claim_and_leave_out(WORKERS[0])
    life.emit_in_a_hurry(WORKERS[0])


def every_lapse(life: Life) -> None:
    """Workers vanish."""
    life.outlive_a_fourth(WORKERS[1])
    life.rescue_and_give_back(WORKERS[0])


def every_late_word(life: Life) -> None:
    """A worker reports on an email that another has taken over."""
    two_emails(life)
    life.advance(75 * HOUR)
    for _ in range(8):
        life.claim_and_vanish(WORKERS[0], 1)
    life.rescue(WORKERS[1])
    for says in (LATER, SENT, SENT):
        life.record(WORKERS[0], list(range(8)), (says, says, says))


def every_event(life: Life) -> None:
    """Events are repeated, taken over, deferred and given up."""
    life.emit_again(0)
    life.fan_out(0)
    life.emit(actor=STRANGER, link=UNKNOWN, commits=True)
    life.claim_and_vanish(WORKERS[0], 1)
    life.rescue_events(WORKERS[0])
    for _ in range(BUDGET):
        life.fan_out(0)
        life.advance(HOUR)
        life.rescue_events(WORKERS[0])


def everything_by_hand(life: Life) -> None:
    """Every action by hand on every email, allowed or not."""
    two_emails(life)
    emails = range(len(life.emails.rows))
    for act in (life.cancel, life.replay, life.replay, life.retry, life.retry):
        for index in emails:
            act(index)
        life.says_the_same()


def every_withdrawal(life: Life) -> None:
    """Events are withdrawn at every point of their lives."""
    life.emit(actor=STRANGER, link=KNOWN, commits=True)
    life.claim_events(WORKERS[0], 3)
    life.emit(actor=STRANGER, link=KNOWN, commits=True)
    everything = range(len(life.events.rows))
    for index in reversed(everything):
        life.withdraw(index)
        life.says_the_same()
    life.fan_out(0)
    for _ in range(2):
        life.emit_in_a_hurry(WORKERS[0])
    life.advance(WINDOW)
    life.claim(WORKERS[0], 1)
    for index in range(len(everything), len(life.events.rows)):
        life.withdraw(index)
        life.says_the_same()
    life.record(WORKERS[0], [0], (LATER, LATER, LATER))
    life.withdraw(len(life.events.rows) - 1)
