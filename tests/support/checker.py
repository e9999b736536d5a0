"""
What must be true after any fault: sentences, held against what was emitted, what the relay saw and the tables.

The three sources are independent of each other: Message-IDs are worked out from what was emitted,
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
from tests.support.rows import FINAL_EVENT, FINAL_LETTER
from tests.support.wire import Holding, Wire

HONEST_ENDS = {"skipped", "dead", "expired", "cancelled"}
COUNTED_BESIDES = {"lapse", "ambiguous"}
GRACE = timedelta(seconds=5)

# How often a letter has failed is known to its item, and once that is gone to what was recorded of each attempt.
LETTERS = text("""
    SELECT e.key, j.username, j.to_email, j.message_id, coalesce(j.carried_as, j.message_id) AS carried_by,
           CASE WHEN j.status = 'pending' AND lane = 8 THEN 'sending' ELSE j.status END AS status,
           j.replay_of IS NOT NULL AS replay, coalesce(i.max_failures, 12) AS max_failures,
           coalesce(i.failures, (SELECT count(*) FROM notify.email_attempts a
             WHERE a.job_id = j.id AND a.verdict LIKE 'retry: %')) AS failures,
           greatest(i.lapses, j.lapses) AS lapses, j.outcome_reason IS NOT DISTINCT FROM 'poison' AS poison,
           coalesce(lane = 8 AND i.due_at < now() - :grace, false) AS stuck,
           (SELECT count(*) FROM notify.email_attempts a
             WHERE a.job_id = j.id AND a.verdict LIKE '%: no_final_answer') AS unanswered
      FROM notify.email_jobs j JOIN notify.events e ON e.id = j.event_id
      LEFT JOIN notify.work_items i ON stage = 'deliver' AND i.id = coalesce(j.leader_id, j.id)
       AND j.status IN ('pending', 'dead')
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
"""


class Broken(AssertionError):
    """What notify promises is not true; one line for each violation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LetterRow:
    """
    A letter as the table has it. ``unanswered`` counts recorded tries whose final dot was never answered.

    ``carried_by`` is the Message-ID of the letter that it went or goes with, which may be another's; None: its own.
    """

    key: str
    username: str
    to_email: str | None
    status: str
    message_id: str | None
    replay: bool
    failures: int
    max_failures: int
    lapses: int
    poison: bool
    stuck: bool
    unanswered: int
    carried_by: str | None = None

    @property
    def unknown_ends(self) -> int:
        """How many tries ended without anybody knowing whether the relay took the letter."""
        return self.lapses + self.unanswered


@dataclass(frozen=True, slots=True, kw_only=True)
class EventRow:
    """An event as the table has it."""

    key: str
    status: str
    failures: int
    max_failures: int
    lapses: int
    stuck: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Tables:
    """What notify believes: rows, outcomes as counted, and every letter that was sent once and is not any more."""

    letters: Sequence[LetterRow]
    events: Sequence[EventRow]
    outcomes: Mapping[str, int]
    undone: Sequence[str]

    @property
    def verdicts(self) -> dict[str, int]:
        """What tries came to; how they came to it is counted besides."""
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
        """The events that are ours; where the commit's reply was lost, the table decides."""
        stored = {row.key for row in self.tables.events}
        return [one for one in self.emitted if one.committed or (one.committed is None and one.key in stored)]

    @cached_property
    def owed(self) -> dict[str, Emitted]:
        """The Message-ID of every letter that must go out, and the event it tells of."""
        return {name: one for one in self.committed for name in one.message_ids.values()}

    @property
    def rows(self) -> list[LetterRow | EventRow]:
        """Every leased row."""
        return [*self.tables.letters, *self.tables.events]

    @cached_property
    def copies(self) -> Counter[str]:
        """How often the relay took each Message-ID."""
        return Counter(one.message_id for one in self.wire.copies)

    @cached_property
    def letters(self) -> dict[str, LetterRow]:
        """The rows that are letters, by Message-ID."""
        return {row.message_id: row for row in self.tables.letters if row.message_id}

    @cached_property
    def aboard(self) -> dict[str, list[LetterRow]]:
        """The rows that each letter tells of, by its Message-ID."""
        found: dict[str, list[LetterRow]] = {}
        for name, row in self.letters.items():
            found.setdefault(row.carried_by or name, []).append(row)
        return found

    def unknown_ends(self, name: str) -> int:
        """How many tries of the letter with this Message-ID ended unseen."""
        return max((row.unknown_ends for row in self.aboard.get(name, ())), default=0)

    def carrier(self, name: str) -> str:
        """The Message-ID of the letter that told what the letter of this name would have told."""
        row = self.letters.get(name)
        return row.carried_by or name if row else name

    @property
    def repeated(self) -> int:
        """Copies beyond the first of each letter."""
        return self.copies.total() - len(self.copies)

    @property
    def unsent(self) -> list[str]:
        """Letters that never left, for whatever reason."""
        return [name for name in self.owed if self.carrier(name) not in self.copies]

    @property
    def lost(self) -> list[str]:
        """Letters that never left, and whose row does not say why."""
        ended = {name for name, row in self.letters.items() if row.status in HONEST_ENDS}
        return [name for name in self.unsent if name not in ended]


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """
    One run in figures.

    ``unsent`` counts the lost and those whose row says why; ``explained`` the tries whose end
    nobody saw, as the tables report them.
    """

    emitted: int
    letters: int
    unsent: int
    lost: int
    repeated: int
    explained: int
    bound: int
    longest_delay: timedelta


def everyone_concerned_reaches_an_end(evidence: Evidence) -> Iterator[str]:
    """I1: every person whom a committed event concerns has one row, and its status is final."""
    ended = {row.key: row.status for row in evidence.tables.events}
    rows = Counter((row.key, row.username) for row in evidence.tables.letters if not row.replay)
    for one in evidence.committed:
        if ended.get(one.key) not in FINAL_EVENT:
            yield f"{one.key} is {ended.get(one.key, 'not there')}"
        yield from (
            f"{one.key} has {rows[one.key, name]} rows for {name}" for name in one.people if rows[one.key, name] != 1
        )
    yield from (
        f"{row.key} for {row.username} is {row.status}"
        for row in evidence.tables.letters
        if row.status not in FINAL_LETTER
    )


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
    """I3: a row says sent only if the relay took the letter."""
    for name, row in evidence.letters.items():
        if row.status == "sent" and not evidence.copies[evidence.carrier(name)]:
            yield f"{name} is sent, and the relay never had it"


def every_repeat_is_explained(evidence: Evidence) -> Iterator[str]:
    """I4: a letter is repeated only after a try whose end nobody saw, and no more often than the faults allow."""
    for name, copies in evidence.copies.items():
        unknown = evidence.unknown_ends(name)
        if copies - 1 > unknown:
            yield f"{name} arrived {copies} times, and {unknown} tries ended unseen"
    if evidence.repeated > evidence.bound:
        yield f"{evidence.repeated} copies are repeats, the faults allow {evidence.bound}"


def unseen_ends_are_counted(evidence: Evidence) -> Iterator[str]:
    """I4 again: the counters that we report are those ends; a burial is told by its row, not as a lapse."""
    letters = evidence.tables.letters
    facts = {
        "lapse": sum(row.lapses - row.poison for row in letters),
        "ambiguous": sum(row.unanswered for row in letters),
    }
    for name, times in facts.items():
        if (counted := evidence.tables.outcomes.get(name, 0)) != times:
            yield f"{counted} counted as {name}, there were {times}"


def no_two_hold_a_letter_in_data_at_once(evidence: Evidence) -> Iterator[str]:
    """I5: a second worker comes to DATA while the first is there only after a lapse, or after the first gave up."""
    by_letter: dict[str, list[Holding]] = {}
    for one in evidence.wire.holdings:
        by_letter.setdefault(one.message_id, []).append(one)
    for name, holdings in by_letter.items():
        overlaps = sum(first.overlaps(second) for first, second in pairwise(holdings))
        if name in evidence.letters and overlaps > evidence.unknown_ends(name):
            yield f"{name} was in DATA twice at once, {overlaps} times"


def failures_stay_within_the_budget(evidence: Evidence) -> Iterator[str]:
    """I6: no row has failed more often than it may."""
    for row in evidence.rows:
        if row.failures > row.max_failures:
            yield f"{row.key} failed {row.failures} times of {row.max_failures}"


def nothing_stays_claimed_past_its_lease(evidence: Evidence) -> Iterator[str]:
    """I7: a row whose lease ran out is taken up again by the next sweep."""
    for row in evidence.rows:
        if row.stuck:
            yield f"{row.key} is still {row.status}"


def sent_never_changes(evidence: Evidence) -> Iterator[str]:
    """I8: once a row says sent, it says so for ever."""
    yield from (f"{one} after it was sent" for one in evidence.tables.undone)


def all_copies_carry_one_message_id(evidence: Evidence) -> Iterator[str]:
    """I9: a copy bears the one Message-ID of its letter, or that of a replay, and goes to that letter's person."""
    expected = {name: address(who) for one in evidence.emitted for who, name in one.message_ids.items()}
    expected |= {name: row.to_email or "" for name, row in evidence.letters.items() if row.replay}
    for one in evidence.wire.copies:
        if expected.get(one.message_id) != one.recipient:
            yield f"{one.recipient} got {one.message_id}, which is not their letter"


INVARIANTS: tuple[Callable[[Evidence], Iterator[str]], ...] = (
    everyone_concerned_reaches_an_end,
    nothing_rolled_back_reaches_the_wire,
    sent_means_accepted,
    every_repeat_is_explained,
    unseen_ends_are_counted,
    no_two_hold_a_letter_in_data_at_once,
    failures_stay_within_the_budget,
    nothing_stays_claimed_past_its_lease,
    sent_never_changes,
    all_copies_carry_one_message_id,
)


def violations(evidence: Evidence) -> list[str]:
    """Everything that is not as promised; each line begins with the sentence that is broken."""
    return [f"{invariant.__name__}: {what}" for invariant in INVARIANTS for what in invariant(evidence)]


def check(evidence: Evidence) -> Summary:
    """
    The run in figures, if it kept every promise.

    Raises:
        Broken: It did not.
    """
    found = violations(evidence)
    found += [f"lost: {name}" for name in evidence.lost]
    if found:
        raise Broken("\n".join(found))
    return summary(evidence)


def summary(evidence: Evidence) -> Summary:
    """The run in figures, whether it kept its promises or not."""
    first = {one.message_id: one.at for one in reversed(evidence.wire.copies)}
    carried = {name: evidence.carrier(name) for name in evidence.owed}
    delays = [first[carried[name]] - one.at for name, one in evidence.owed.items() if carried[name] in first]
    return Summary(
        emitted=len(evidence.committed),
        letters=len(evidence.owed),
        unsent=len(evidence.unsent),
        lost=len(evidence.lost),
        repeated=evidence.repeated,
        explained=sum(row.unknown_ends for row in evidence.tables.letters),
        bound=evidence.bound,
        longest_delay=max(delays, default=timedelta(0)),
    )


@contextmanager
def watched(database: Database) -> Iterator[None]:
    """For the length of the block, the database itself notes every letter that was sent and is changed."""
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
        letters=[LetterRow(**row) for row in connection.execute(LETTERS, grace).mappings()],
        events=[EventRow(**row) for row in connection.execute(EVENTS, grace).mappings()],
        outcomes={row.outcome: row.times for row in connection.execute(OUTCOMES)},
        undone=connection.scalars(UNDONE).all(),
    )
