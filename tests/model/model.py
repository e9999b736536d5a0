"""
How leased rows should behave: no database, no concurrency, one step after another.

It states the rules a second time, in the words of the design rather than those of the code, so that the two can
be compared. Instants come in as arguments.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from uuid import UUID

Attempt = tuple[int, int]

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
LIFE = 72 * HOUR
BUDGET_BY_HAND = 12
MAX_LAPSES = 3
AFTER_TROUBLE = timedelta(seconds=5)

SENT, LATER, NO, BACK, TROUBLE, MUTED, OLD, DONE = "sent", "later", "no", "back", "trouble", "muted", "old", "done"
ENDS_AS = {SENT: "sent", NO: "dead", MUTED: "skipped", OLD: "expired", DONE: "done"}
GIVES_BACK_FOR = {BACK: timedelta(0), TROUBLE: AFTER_TROUBLE}
WAITS_OR_FAILED = {"pending", "dead", "expired", "cancelled"}
ENDED_AS_AN_EMAIL = {"sent", "dead", "expired", "cancelled"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """An event or a job. ``due_at`` is null once it has ended; only jobs expire or repeat another."""

    id: int
    status: str
    due_at: datetime | None
    max_failures: int
    attempt: int = 0
    failures: int = 0
    lapses: int = 0
    expires_at: datetime | None = None
    replay_of: int | None = None

    def ended(self, status: str) -> "Row":
        """The same row, ended."""
        return replace(self, status=status, due_at=None)

    def forgotten(self) -> "Row":
        """The same row, once nothing is known about how it ended."""
        return Row(id=self.id, status=self.status, due_at=None, max_failures=0)

    def remembered(self) -> "Row":
        """The same row, reduced to what the tables keep: a job that has ended and is not dead has no budget."""
        ended = self.due_at is None and self.status != "dead"
        return replace(self, failures=0, max_failures=0) if ended else self

    def repeats(self, one: int) -> "Row":
        """The same row, as a replay of another."""
        return replace(self, replay_of=one)

    def is_due(self, now: datetime) -> bool:
        """Whether it may be claimed."""
        return self.due_at is not None and self.due_at <= now


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """A worker's report about one of its attempts, in time or late."""

    id: int
    attempt: int
    says: str

    @property
    def name(self) -> Attempt:
        """The attempt."""
        return self.id, self.attempt


@dataclass(slots=True, kw_only=True)
class Table:
    """
    Leased rows, and what is recorded of ended attempts.

    Args:
        leased: The status of a leased row.
        first_wait: How long a row waits after its first failure; each further failure doubles it.
    """

    leased: str
    first_wait: timedelta = MINUTE
    longest_wait: timedelta = 4 * HOUR
    rows: dict[int, Row] = field(default_factory=dict)
    counts: Counter[tuple[UUID, str]] = field(default_factory=Counter)
    kept: Counter[Attempt] = field(default_factory=Counter)

    def add(self, row: Row) -> None:
        """Add a new row."""
        self.rows[row.id] = row

    def waiting(self, now: datetime) -> list[int]:
        """The rows that a claim may take, in the order in which it should."""
        due = [row for row in self.rows.values() if row.status == "pending" and row.is_due(now) and not row.lapses]
        return [row.id for row in sorted(due, key=lambda row: (row.due_at, row.id))]

    def lapsed(self, now: datetime) -> list[int]:
        """The lapsed rows that have been due longest: the next lapsed claim takes any one of them."""
        found = [row for row in self._abandoned(now) if row.lapses + 1 < MAX_LAPSES]
        found += [row for row in self.rows.values() if row.status == "pending" and row.is_due(now) and row.lapses]
        first = min((row.due_at for row in found if row.due_at), default=None)
        return [row.id for row in found if row.due_at == first]

    def claim(self, ids: Iterable[int], *, now: datetime, lease: timedelta) -> None:
        """Lease these rows; one that was leased by another has lapsed."""
        for row in [self.rows[one] for one in ids]:
            lapses = row.lapses + (row.status == self.leased)
            self.rows[row.id] = replace(
                row, status=self.leased, attempt=row.attempt + 1, lapses=lapses, due_at=now + lease
            )

    def rescue(self, one: int, worker: UUID, *, now: datetime, lease: timedelta) -> None:
        """Claim this one alone, and count its lapse."""
        self.counts[worker, "lapse"] += self.rows[one].status == self.leased
        self.claim([one], now=now, lease=lease)

    def bury(self, worker: UUID, *, now: datetime) -> list[int]:
        """The rows whose third lease has run out are dead; their ids."""
        buried = [row for row in self._abandoned(now) if row.lapses + 1 >= MAX_LAPSES]
        for row in buried:
            self.rows[row.id] = replace(row, lapses=row.lapses + 1).ended("dead")
            self.counts[worker, "dead"] += 1
            self.kept[row.id, row.attempt] += 1
        return [row.id for row in buried]

    def is_abandoned(self, one: int, now: datetime) -> bool:
        """Whether the lease of this row has run out."""
        return self.rows[one].status == self.leased and self.rows[one].is_due(now)

    def is_leased(self, name: Attempt) -> bool:
        """Whether this very attempt still has its row."""
        row = self.rows[name[0]]
        return (row.status, row.attempt) == (self.leased, name[1])

    def extend(self, attempts: Iterable[Attempt], *, now: datetime, lease: timedelta) -> set[int]:
        """Renew the leases that are still ours; their ids."""
        ours = {name[0] for name in attempts if self.is_leased(name)}
        for one in ours:
            self.rows[one] = replace(self.rows[one], due_at=now + lease)
        return ours

    def release(self, attempts: Iterable[Attempt], *, now: datetime) -> set[int]:
        """Release what is still ours without a failure; their ids."""
        ours = {name[0] for name in attempts if self.is_leased(name)}
        for one in ours:
            self.rows[one] = replace(self.rows[one], status="pending", due_at=now)
        return ours

    def record(self, reports: Sequence[Report], worker: UUID, *, now: datetime) -> Counter[str]:
        """
        The worker that has the lease may report anything; one that lost it may only report that the email was sent.

        *Sent* is written whatever the row says, and nothing ever overwrites it.
        """
        in_time = [one for one in reports if self.is_leased(one.name)]
        verdicts = [self._end(one, now=now) for one in in_time]
        verdicts += [self._come_late(one) for one in reports if one not in in_time]
        self.counts.update((worker, verdict) for verdict in verdicts)
        self.kept.update(one.name for one in reports if one.says != SENT)
        return Counter(verdicts)

    def fail(self, one: int, *, now: datetime) -> str:
        """Record a temporary failure; the verdict."""
        row = self.rows[one]
        row = replace(row, failures=row.failures + 1)
        spent = row.failures >= row.max_failures
        wait = min(self.longest_wait, self.first_wait * 2 ** (row.failures - 1))
        self.rows[one] = row.ended("dead") if spent else _back(row, now=now, wait=wait)
        return "dead" if spent else "retry"

    def retry(self, one: int, *, now: datetime) -> bool:
        """By hand: due now, with a sufficient budget and lifetime; whether that was allowed."""
        row = self.rows[one]
        if row.status not in WAITS_OR_FAILED or self._open_replays(row.replay_of, but=one):
            return False
        if row.status in {"expired", "cancelled"}:  # how often it failed before is no longer known
            row = replace(row, failures=0, max_failures=BUDGET_BY_HAND)
        self.rows[one] = replace(
            row,
            status="pending",
            due_at=now,
            max_failures=max(row.max_failures, row.failures + BUDGET_BY_HAND),
            expires_at=max(row.expires_at or now, now + LIFE),
        )
        return True

    def cancel(self, one: int) -> bool:
        """By hand: cancel it unless it has ended; whether it had not."""
        row = self.rows[one]
        if row.due_at is not None:
            self.rows[one] = row.ended("cancelled")
        return row.due_at is not None

    def may_join(self, one: int) -> bool:
        """Whether notifications may join it: nobody has claimed or replayed it."""
        row = self.rows[one]
        is_repeated = any(other.replay_of == one for other in self.rows.values())
        return row.due_at is not None and row.attempt == 0 and not is_repeated

    def may_replay(self, one: int) -> bool:
        """Whether an email may be replayed: it has ended, and no other replay is pending."""
        return self.rows[one].status in ENDED_AS_AN_EMAIL and not self._open_replays(self.original(one))

    def original(self, one: int) -> int:
        """The job whose notifications this one repeats."""
        return self.rows[one].replay_of or one

    def _abandoned(self, now: datetime) -> list[Row]:
        return [row for row in self.rows.values() if self.is_abandoned(row.id, now)]

    def _open_replays(self, of: int | None, *, but: int | None = None) -> list[int]:
        rows = [row for row in self.rows.values() if of is not None and row.replay_of == of and row.id != but]
        return [row.id for row in rows if row.due_at is not None]

    def _end(self, report: Report, *, now: datetime) -> str:
        row = self.rows[report.id]
        if report.says == LATER:
            return self.fail(row.id, now=now)
        if report.says in GIVES_BACK_FOR:
            self.rows[row.id] = _back(row, now=now, wait=GIVES_BACK_FOR[report.says])
            return "released"
        self.rows[row.id] = row.ended(ENDS_AS[report.says])
        return ENDS_AS[report.says]

    def _come_late(self, report: Report) -> str:
        row = self.rows[report.id]
        if report.says != SENT:
            return "lease_lost"
        self.rows[row.id] = row.ended("sent")
        return "duplicate_sent" if row.status == "sent" else "late_success"


@dataclass(slots=True, kw_only=True)
class Told:
    """
    Who is told about what, and by which email: the first about a topic goes at once, the next after the window.

    Args:
        by: The job that tells a person about an event; null if none does.
        bundles: When the last email about a topic leaves, and the job that others may join.
        taken_back: The notifications that left an email because their event was withdrawn.
    """

    jobs: Table
    window: timedelta
    max_failures: int
    by: dict[tuple[int, str], int | None] = field(default_factory=dict)
    bundles: dict[tuple[str, str], tuple[datetime, int | None]] = field(default_factory=dict)
    taken_back: set[tuple[int, str]] = field(default_factory=set)

    def tell(self, event_id: int, username: str, topic: str, *, job_id: int, now: datetime) -> bool:
        """Tell the person about the event in a job; whether it was the right one: the open one, or a new one."""
        self.by[event_id, username] = job_id
        last_at, waits = self.bundles.get((username, topic), (now - self.window, None))
        if waits is not None and self.jobs.may_join(waits):
            row = self.jobs.rows[waits]
            self.jobs.rows[waits] = replace(row, expires_at=max(row.expires_at or now, last_at + LIFE))
            return job_id == waits
        leaves_at = max(now, last_at + self.window)
        self.bundles[username, topic] = leaves_at, job_id if leaves_at > now else None
        is_new = job_id not in self.jobs.rows
        self.jobs.add(
            Row(
                id=job_id,
                status="pending",
                due_at=leaves_at,
                max_failures=self.max_failures,
                expires_at=leaves_at + LIFE,
            )
        )
        return is_new

    def withdraw(self, event_id: int, withdrawn: AbstractSet[int]) -> dict[str, str]:
        """
        Tell nobody more about this event, which is the last of these that are withdrawn; each person's status.

        An email that waits goes without it, or not at all if it tells of nothing else.
        """
        own = {job for (event, _), job in self.by.items() if event == event_id and job}
        for row in list(self.jobs.rows.values()):
            original = self.jobs.original(row.id)
            if original not in own or row.status != "pending":
                continue
            if {event for (event, _), job in self.by.items() if job == original} <= withdrawn:
                self.jobs.rows[row.id] = row.ended("withdrawn")
            elif original == row.id:
                left_out = {name for name, job in self.by.items() if name[0] == event_id and job == row.id}
                self.taken_back |= left_out
                self.by |= dict.fromkeys(left_out)
        return {name[1]: self._status(name) for name in self.by if name[0] == event_id}

    def _status(self, name: tuple[int, str]) -> str:
        job = self.by[name]
        if job is not None:
            return self.jobs.rows[job].status
        return "withdrawn" if name in self.taken_back else "skipped"


def _back(row: Row, *, now: datetime, wait: timedelta) -> Row:
    """Due again later, but not after the email expires, so that it is found expired then."""
    due_at = now + wait
    if row.expires_at is not None:
        due_at = min(due_at, max(row.expires_at, now))
    return replace(row, status="pending", due_at=due_at)
