"""
What must be true after any fault: sentences, checked against what was emitted, what the relay saw and the tables.

The three sources are independent of each other: Message-IDs are computed from what was emitted,
copies are counted by the relay, and only the rows say what notify believes.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from itertools import pairwise

from sqlalchemy import Connection, text

from notify.store.database import Database
from tests.support.producer import Emitted, address
from tests.support.rows import FINAL_EVENT, FINAL_JOB
from tests.support.wire import DataTransfer, Wire

HONEST_ENDS = {"skipped", "dead", "expired", "cancelled", "withdrawn"}
COUNTED_BESIDES = {"lapse", "ambiguous"}
GRACE = timedelta(seconds=5)

# The work item knows how often an email has failed; once it is gone, the recorded attempts do.
EMAILS = text("""
    SELECT j.message_id, j.username, j.to_email,
           CASE WHEN j.status = 'pending' AND lane = 8 THEN 'sending' ELSE j.status END AS status,
           j.replay_of IS NOT NULL AS replay, coalesce(i.max_failures, 12) AS max_failures,
           coalesce(i.failures, (SELECT count(*) FROM notify.email_attempts a
             WHERE a.job_id = j.id AND a.outcome LIKE 'retry: %')) AS failures,
           greatest(i.lapses, j.lapses) AS lapses, j.outcome_reason IS NOT DISTINCT FROM 'poison' AS poison,
           coalesce(lane = 8 AND i.due_at < now() - :grace, false) AS stuck,
           (SELECT count(*) FROM notify.email_attempts a
             WHERE a.job_id = j.id AND a.outcome LIKE '%: no_final_answer') AS unanswered
      FROM notify.email_jobs j
      LEFT JOIN notify.work_items i ON stage = 'deliver' AND i.id = j.id AND j.status IN ('pending', 'dead')
""")
NOTIFICATIONS = text("""
    SELECT e.key, n.username, j.message_id AS told_by
      FROM notify.notifications n JOIN notify.events e ON e.id = n.event_id
      LEFT JOIN notify.email_jobs j ON j.id = n.email_job_id
""")
EVENTS = text("""
    SELECT key, CASE WHEN lane = 8 THEN 'working' ELSE status END AS status, coalesce(failures, 0) AS failures,
           coalesce(max_failures, 0) AS max_failures, coalesce(lapses, 0) AS lapses,
           coalesce(lane = 8 AND due_at < now() - :grace, false) AS stuck
      FROM notify.events LEFT JOIN notify.work_items ON stage = 'fan_out' AND work_items.id = events.id
""")
OUTCOMES = text("SELECT outcome, sum(count)::int AS times FROM notify.delivery_stats GROUP BY outcome")
UNDONE = text("SELECT message_id || ': ' || became FROM faults.undone")

WATCH = """
    CREATE SCHEMA faults;
    CREATE TABLE faults.undone (message_id text, became text);
    CREATE FUNCTION faults.note() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN INSERT INTO faults.undone VALUES (old.message_id, new.status); RETURN NULL; END $$;
    CREATE TRIGGER sent_is_a_fact AFTER UPDATE ON notify.email_jobs FOR EACH ROW
        WHEN (old.status = 'sent' AND new.status <> 'sent') EXECUTE FUNCTION faults.note();
    CREATE FUNCTION faults.note_taken_out() RETURNS trigger LANGUAGE plpgsql AS
        $$ BEGIN
            INSERT INTO faults.undone SELECT message_id, 'not told of event ' || old.event_id
            FROM notify.email_jobs WHERE id = old.email_job_id AND status = 'sent';
            RETURN NULL;
        END $$;
    CREATE TRIGGER told_is_a_fact AFTER UPDATE ON notify.notifications FOR EACH ROW
        WHEN (old.email_job_id IS DISTINCT FROM new.email_job_id) EXECUTE FUNCTION faults.note_taken_out();
"""


class BrokenPromise(AssertionError):
    """notify broke a promise; one line for each violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EmailRow:
    """An email in the table. ``unanswered`` counts recorded attempts whose final dot was never answered."""

    message_id: str
    username: str
    to_email: str
    status: str
    replay: bool
    failures: int
    max_failures: int
    lapses: int
    poison: bool
    stuck: bool
    unanswered: int

    @property
    def name(self) -> str:
        """How violations name it."""
        return self.message_id

    @property
    def unknown_ends(self) -> int:
        """How many attempts ended without a known answer of the relay."""
        return self.lapses + self.unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class NotificationRow:
    """A notification in the table; ``told_by`` is the Message-ID of the email, null if it was skipped."""

    key: str
    username: str
    told_by: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event in the table."""

    key: str
    status: str
    failures: int
    max_failures: int
    lapses: int
    stuck: bool

    @property
    def name(self) -> str:
        """How violations name it."""
        return self.key


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What notify believes: rows, counted outcomes, and changes of emails after they were sent."""

    emails: Sequence[EmailRow]
    notifications: Sequence[NotificationRow]
    events: Sequence[EventRow]
    outcomes: Mapping[str, int]
    undone: Sequence[str]

    @property
    def attempt_outcomes(self) -> dict[str, int]:
        """How many attempts ended in each outcome, without the counters of special cases."""
        return {name: times for name, times in self.outcomes.items() if name not in COUNTED_BESIDES}


@dataclass(frozen=True)
class Evidence:
    """
    Everything that is known after a run.

    Args:
        bound: How many copies beyond the first the faults of this run may have caused.
    """

    emitted: Sequence[Emitted]
    wire: Wire
    tables: Tables
    bound: int

    @cached_property
    def committed(self) -> list[Emitted]:
        """The committed events; where the commit's reply was lost, the table decides."""
        stored = {row.key for row in self.tables.events}
        return [one for one in self.emitted if one.committed or (one.committed is None and one.key in stored)]

    @cached_property
    def owed(self) -> dict[str, tuple[Emitted, str]]:
        """Each event and person to be notified of it, by the Message-ID that an email about this event alone has."""
        return {name: (one, who) for one in self.committed for who, name in one.message_ids.items()}

    @property
    def rows(self) -> list[EmailRow | EventRow]:
        """Every row that can be leased."""
        return [*self.tables.emails, *self.tables.events]

    @cached_property
    def copies(self) -> Counter[str]:
        """How often the relay took each Message-ID."""
        return Counter(one.message_id for one in self.wire.copies)

    @cached_property
    def emails(self) -> dict[str, EmailRow]:
        """The emails by Message-ID."""
        return {row.message_id: row for row in self.tables.emails}

    @cached_property
    def told_by(self) -> dict[tuple[str, str], str | None]:
        """The Message-ID of the email about an event to a person, by key and person; null if it was skipped."""
        return {(row.key, row.username): row.told_by for row in self.tables.notifications}

    def unknown_ends(self, name: str) -> int:
        """How many attempts of the email with this Message-ID ended without a known answer."""
        return self.emails[name].unknown_ends if name in self.emails else 0

    def carrier(self, name: str) -> str | None:
        """The Message-ID of the email that carries the notification with this name; null if the row names none."""
        event, who = self.owed[name]
        return self.told_by.get((event.key, who), name)

    @property
    def repeated(self) -> int:
        """Copies beyond the first of each email."""
        return self.copies.total() - len(self.copies)

    @property
    def unsent(self) -> list[str]:
        """Notifications that reached nobody, for whatever reason."""
        return [name for name in self.owed if self.carrier(name) not in self.copies]

    @property
    def lost(self) -> list[str]:
        """Notifications that reached nobody and whose email gives no reason; in these runs nobody opts out."""
        ended = {name for name, row in self.emails.items() if row.status in HONEST_ENDS}
        return [name for name in self.unsent if self.carrier(name) not in ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """
    One run in figures.

    ``owed`` counts notifications to be delivered, ``unsent`` those that were not, with or without a reason, and
    ``explained`` the attempts without a known answer, as the tables report them.
    """

    emitted: int
    owed: int
    unsent: int
    lost: int
    repeated: int
    explained: int
    bound: int
    longest_delay: timedelta


def everyone_concerned_reaches_an_end(evidence: Evidence) -> Iterator[str]:
    """I1: a committed event has one notification for each person it concerns; every email has one, and ends."""
    ended = {row.key: row.status for row in evidence.tables.events}
    rows = Counter((row.key, row.username) for row in evidence.tables.notifications)
    telling = {row.told_by for row in evidence.tables.notifications}
    for one in evidence.committed:
        if ended.get(one.key) not in FINAL_EVENT:
            yield f"{one.key} is {ended.get(one.key, 'not there')}"
        yield from (
            f"{one.key} has {rows[one.key, name]} notifications for {name}"
            for name in one.people
            if rows[one.key, name] != 1
        )
    for row in evidence.tables.emails:
        if row.status not in FINAL_JOB:
            yield f"{row.name} for {row.username} is {row.status}"
        if not row.replay and row.name not in telling:
            yield f"{row.name} for {row.username} tells of nothing"


def nothing_rolled_back_reaches_the_wire(evidence: Evidence) -> Iterator[str]:
    """I2: an event that was never committed leaves neither a row nor a copy."""
    committed = {one.key for one in evidence.committed}
    for one in evidence.emitted:
        if one.key not in committed:
            yield from (
                f"{one.key} was rolled back, {name} on the wire"
                for name in one.message_ids.values()
                if evidence.copies[name]
            )
            yield from (
                f"{one.key} was rolled back and is {row.status}" for row in evidence.tables.events if row.key == one.key
            )


def sent_means_accepted(evidence: Evidence) -> Iterator[str]:
    """I3: a row says sent only if the relay took the email."""
    for name, row in evidence.emails.items():
        if row.status == "sent" and not evidence.copies[name]:
            yield f"{name} is sent, and the relay never had it"


def every_repeat_is_explained(evidence: Evidence) -> Iterator[str]:
    """I4: an email is repeated only after an attempt without a known answer, as often as the faults allow at most."""
    for name, copies in evidence.copies.items():
        unknown = evidence.unknown_ends(name)
        if copies - 1 > unknown:
            yield f"{name} arrived {copies} times, and {unknown} attempts ended unseen"
    if evidence.repeated > evidence.bound:
        yield f"{evidence.repeated} copies are repeats, the faults allow {evidence.bound}"


def unseen_ends_are_counted(evidence: Evidence) -> Iterator[str]:
    """I4 again: our counters count exactly those attempts; a dead poison item is known by its row, not as a lapse."""
    emails = evidence.tables.emails
    facts = {
        "lapse": sum(row.lapses - row.poison for row in emails),
        "ambiguous": sum(row.unanswered for row in emails),
    }
    for name, times in facts.items():
        if (counted := evidence.tables.outcomes.get(name, 0)) != times:
            yield f"{counted} counted as {name}, there were {times}"


def no_two_have_an_email_in_data_at_once(evidence: Evidence) -> Iterator[str]:
    """I5: a second worker reaches DATA while the first is there only after a lapse, or after the first gave up."""
    by_email: dict[str, list[DataTransfer]] = {}
    for one in evidence.wire.transfers:
        by_email.setdefault(one.message_id, []).append(one)
    for name, transfers in by_email.items():
        overlaps = sum(first.overlaps(second) for first, second in pairwise(transfers))
        if name in evidence.emails and overlaps > evidence.unknown_ends(name):
            yield f"{name} was in DATA twice at once, {overlaps} times"


def failures_stay_within_the_budget(evidence: Evidence) -> Iterator[str]:
    """I6: no row has failed more often than it may."""
    for row in evidence.rows:
        if row.failures > row.max_failures:
            yield f"{row.name} failed {row.failures} times of {row.max_failures}"


def nothing_stays_claimed_past_its_lease(evidence: Evidence) -> Iterator[str]:
    """I7: the next sweep takes up every row whose lease ran out."""
    for row in evidence.rows:
        if row.stuck:
            yield f"{row.name} is still {row.status}"


def sent_never_changes(evidence: Evidence) -> Iterator[str]:
    """I8: once a row says sent, it says so for ever, and so do its notifications."""
    yield from (f"{one} after it was sent" for one in evidence.tables.undone)


def all_copies_carry_one_message_id(evidence: Evidence) -> Iterator[str]:
    """I9: a copy has the Message-ID of its email or of a replay, and goes to that person and nobody else."""
    expected = {name: address(who) for one in evidence.emitted for who, name in one.message_ids.items()}
    expected |= {name: row.to_email for name, row in evidence.emails.items() if row.replay}
    for one in evidence.wire.copies:
        if expected.get(one.message_id) != one.recipient:
            yield f"{one.recipient} got {one.message_id}, which is not their email"
    for told in evidence.tables.notifications:
        email = evidence.emails.get(told.told_by or "")
        if told.told_by is not None and (email is None or email.username != told.username):
            yield f"{told.username} is told of {told.key} by {told.told_by}, which is not their email"


INVARIANTS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    everyone_concerned_reaches_an_end,
    nothing_rolled_back_reaches_the_wire,
    sent_means_accepted,
    every_repeat_is_explained,
    unseen_ends_are_counted,
    no_two_have_an_email_in_data_at_once,
    failures_stay_within_the_budget,
    nothing_stays_claimed_past_its_lease,
    sent_never_changes,
    all_copies_carry_one_message_id,
)


def violations(evidence: Evidence) -> list[str]:
    """All broken promises; each line begins with the sentence that is broken."""
    return [f"{invariant.__name__}: {what}" for invariant in INVARIANTS for what in invariant(evidence)]


def check(evidence: Evidence) -> Summary:
    """
    The run in figures, if it kept every promise.

    Raises:
        BrokenPromise: It did not.
    """
    found = violations(evidence)
    found += [f"lost: {name}" for name in evidence.lost]
    if found:
        raise BrokenPromise("\n".join(found))
    return summary(evidence)


def summary(evidence: Evidence) -> Summary:
    """The run in figures, whether it kept its promises or not."""
    first = {one.message_id: one.at for one in reversed(evidence.wire.copies)}
    delays = [
        first[by] - event.at for name, (event, _) in evidence.owed.items() if (by := evidence.carrier(name)) in first
    ]
    return Summary(
        emitted=len(evidence.committed),
        owed=len(evidence.owed),
        unsent=len(evidence.unsent),
        lost=len(evidence.lost),
        repeated=evidence.repeated,
        explained=sum(row.unknown_ends for row in evidence.tables.emails),
        bound=evidence.bound,
        longest_delay=max(delays, default=timedelta(0)),
    )


@contextmanager
def watched(database: Database) -> Iterator[None]:
    """During the block, a trigger records every change to a sent email or its notifications."""
    with database.begin() as connection:
        connection.execute(text("DROP SCHEMA IF EXISTS faults CASCADE"))
        connection.execute(text(WATCH))
    try:
        yield
    finally:
        with database.begin() as connection:
            connection.execute(text("DROP SCHEMA faults CASCADE"))


def tables(connection: Connection) -> Tables:
    """What notify believes now; the database must be ``watched``."""
    grace = {"grace": GRACE}
    return Tables(
        emails=[EmailRow(**row) for row in connection.execute(EMAILS, grace).mappings()],
        notifications=[NotificationRow(**row) for row in connection.execute(NOTIFICATIONS).mappings()],
        events=[EventRow(**row) for row in connection.execute(EVENTS, grace).mappings()],
        outcomes={row.outcome: row.times for row in connection.execute(OUTCOMES)},
        undone=connection.scalars(UNDONE).all(),
    )
