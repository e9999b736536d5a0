"""Fan-out: a batch of events becomes one row for each person it concerns, letters and skips alike."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random
from time import monotonic
from typing import assert_never
from uuid import UUID

import structlog
from sqlalchemy import Connection

from notify.checkpoints import FAN_OUT_CLAIMED, FAN_OUT_COMMITTED, FAN_OUT_WRITTEN, Checkpoint, pass_by
from notify.domain.audience import Circle, Concerned, requested
from notify.domain.backoff import next_delay
from notify.domain.events import COMMENT_MENTIONED, ChangeList, Event
from notify.domain.fan_out import Decision, NotTold, Occasion, Told, decide
from notify.domain.jobs import Stage
from notify.domain.measures import Count, Measure, bucket, uncounted
from notify.domain.mentions import Names, Readings, mentioned
from notify.domain.ports import Doorbell
from notify.domain.preferences import NO_CHOICES, Choices, EventType, Person
from notify.domain.threads import message_id
from notify.intake import holding, together
from notify.intake.together import NEVER
from notify.intake.triggers import TRIGGERS
from notify.markdown import prose
from notify.store import directory, events, preferences
from notify.store.database import AWAY, Database
from notify.store.events import ClaimedEvent, EventEnding
from notify.store.leases import DEAD, DONE, PENDING
from notify.store.outbox import SKIPPED, NewJob

UNKNOWN_CL = "unknown_cl"
UNKNOWN_TYPE = "unknown_type"
BUG = "internal_error"
# With ten tries: 30 s doubling to 15 min, about an hour in all, which is how long a directory may lag behind.
FIRST_WAIT = timedelta(seconds=30)
LONGEST_WAIT = timedelta(minutes=15)

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What the directory and the people's choices say today about everyone a batch concerns."""

    change_lists: Mapping[str, ChangeList]
    mentioned: Mapping[int, tuple[str, ...]]
    subscribers: Mapping[str, Sequence[str]]
    participants: Mapping[str, Mapping[str, int]]
    people: Mapping[str, Person]
    choices: Mapping[str, Choices]
    event_types: Mapping[str, EventType]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a batch comes to: rows to write, and how each event ends."""

    jobs: Sequence[NewJob]
    endings: Sequence[EventEnding]


@dataclass(slots=True)
class FanOutReport:
    """What a drain did, in counts of events (``claimed retried dead released``) and of people (``letters skipped``)."""

    claimed: int = 0
    letters: int = 0
    skipped: int = 0
    retried: int = 0
    dead: int = 0
    released: int = 0


class FanOut:
    """
    Works off the events of one database.

    Args:
        message_host: Right-hand side of the letters' Message-IDs.
        worker: This process, for people to look at.
        traced: Told of each event that was fanned out, and how long its batch took.
        together: The window of kinds of events that state none; zero: every letter goes at once.
    """

    def __init__(
        self,
        database: Database,
        *,
        doorbell: Doorbell,
        worker: UUID,
        message_host: str,
        lease: timedelta,
        batch: int,
        rng: Random,
        together: timedelta = NEVER,
        checkpoint: Checkpoint = pass_by,
        count: Count = uncounted,
        traced: Callable[[Event, float], None] | None = None,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._worker = worker
        self._host = message_host
        self._lease = lease
        self._batch = batch
        self._rng = rng
        self._together = together
        self._checkpoint = checkpoint
        self._count = count
        self._traced = traced
        self._stopping = False
        self._unheard: list[ClaimedEvent] = []

    def is_due(self) -> bool:
        """Whether there is anything to do."""
        with self._database.begin() as connection:
            return events.LEASES.any_due(connection)

    def drain(self, *, at_most: timedelta) -> FanOutReport:
        """
        Fan out until nothing is due, the time is up or ``stop`` is called; ring for the letters after each batch.

        When the time is up first, rings for itself.
        """
        report = FanOutReport()
        self._take_back()
        self._lapsed(report)
        ends = monotonic() + at_most.total_seconds()
        while not self._stopping and self._batch_done(report):
            if monotonic() > ends:
                self._doorbell.ring(Stage.FAN_OUT)
                break
        return report

    def stop(self) -> None:
        """Claim nothing more; the batch at hand is finished."""
        self._stopping = True

    def _batch_done(self, report: FanOutReport) -> bool:
        """Work on one claim; whether it was full and of use, so that there may be more to do."""
        claimed = self._claimed(partial(events.claim, limit=self._batch))
        return self._take_up(claimed, report) and len(claimed) == self._batch

    def _lapsed(self, report: FanOutReport) -> None:
        """Events whose worker vanished are worked on one at a time: one of them may be the reason."""
        with self._database.begin() as connection:
            if not events.LEASES.outlook(connection).alone:
                return
            report.dead += events.bury_poison(connection)
        while not self._stopping and (one := self._claimed(_alone)):
            self._take_up(one, report)

    def _take_up(self, claimed: Sequence[ClaimedEvent], report: FanOutReport) -> bool:
        """Work on what was claimed, but for what has to wait for its turn; whether there was anything."""
        if not claimed:
            return False
        report.claimed += len(claimed)
        self._checkpoint(FAN_OUT_CLAIMED)
        early = too_early(claimed)
        if early:
            self._release([one for one in claimed if one.claim.id in early], report)
        ready = [one for one in claimed if one.claim.id not in early]
        self._work(ready, report)
        return bool(ready)

    def _release(self, early: Sequence[ClaimedEvent], report: FanOutReport) -> None:
        """Give them back their place in the queue: whoever has what comes before them takes them next."""
        with self._database.begin() as connection:
            endings = [EventEnding(claim=one.claim, status=PENDING, delay=-one.event.age_seconds) for one in early]
            report.released += len(events.record(connection, endings))

    def _claimed(self, claim: Callable[..., list[ClaimedEvent]]) -> list[ClaimedEvent]:
        """What a claim takes; if its commit is never answered, that is remembered, to be taken back."""
        claimed: list[ClaimedEvent] = []
        try:
            with self._database.begin() as connection:
                claimed = claim(connection, lease=self._lease, worker=self._worker)
        except AWAY:
            self._unheard += claimed
            raise
        return claimed

    def _take_back(self) -> None:
        """A lost answer is no lapse: what was claimed unheard is due again as if it had never been claimed."""
        unheard = list(self._unheard)
        if unheard:
            with self._database.begin() as connection:
                tries = [(one.claim.id, one.claim.attempt) for one in unheard]
                events.LEASES.take_back(connection, tries, worker=self._worker)
            del self._unheard[: len(unheard)]

    def _work(self, claimed: Sequence[ClaimedEvent], report: FanOutReport) -> None:
        """Write the batch; if that fails, each event by itself, so that one bad event stops no other."""
        if not claimed:
            return
        try:
            self._write(claimed, report)
        except AWAY:
            raise
        except Exception as bug:
            log.exception("fan_out.failed", events=[one.event.id for one in claimed])
            if len(claimed) > 1:
                for one in claimed:
                    self._work([one], report)
            else:
                self._put_off(claimed[0], bug, report)

    def _write(self, claimed: Sequence[ClaimedEvent], report: FanOutReport) -> None:
        began = monotonic()
        with self._database.begin() as connection:
            found = facts_about([one.event for one in claimed], connection)
            drawn_up = plan(claimed, found, host=self._host, rng=self._rng)
            waits = holding.waits(connection, drawn_up.jobs, people=found.people, choices=found.choices)
            window = partial(self._window, found.event_types)
            written = together.write(connection, drawn_up.jobs, window=window, waits=waits)
            ended = events.record(connection, drawn_up.endings)
            self._checkpoint(FAN_OUT_WRITTEN)
        self._checkpoint(FAN_OUT_COMMITTED)
        if written[PENDING]:
            self._doorbell.ring(Stage.DELIVER)
        report.letters += written[PENDING]
        report.skipped += written[SKIPPED]
        _count(report, [one for one in drawn_up.endings if one.claim.id in ended])
        done = {one.claim.id for one in drawn_up.endings if one.status == DONE} & ended
        self._time([one.event for one in claimed if one.claim.id in done], seconds=monotonic() - began)

    def _time(self, fanned_out: Sequence[Event], *, seconds: float) -> None:
        """Count how old these events are now; their batch took so long."""
        for event in fanned_out:
            age = event.age_seconds + seconds
            self._count(Measure.TO_FAN_OUT, bucket(age), age)
            if self._traced is not None:
                self._traced(event, seconds)

    def _window(self, event_types: Mapping[str, EventType], job: NewJob) -> timedelta:
        stated = event_types[job.event_type].together_within
        return self._together if stated is None else stated

    def _put_off(self, one: ClaimedEvent, bug: Exception, report: FanOutReport) -> None:
        ending = later(one, f"{BUG}: {type(bug).__name__}", rng=self._rng)
        with self._database.begin() as connection:
            events.record(connection, [ending])
        _count(report, [ending])


def _alone(connection: Connection, *, lease: timedelta, worker: UUID) -> list[ClaimedEvent]:
    one = events.claim_lapsed(connection, lease=lease, worker=worker)
    return [one] if one else []


def facts_about(batch: Sequence[Event], connection: Connection) -> Facts:
    """What is known about everyone these events may concern; a constant number of statements."""
    change_lists = directory.change_lists(connection, {event.cl_link for event in batch})
    subscribers = preferences.subscribers(connection, change_lists)
    participants = preferences.participants(connection, change_lists)
    mentions = {event.id: mentions_in(event) for event in batch}
    readings = {reading for found in mentions.values() for one in found for reading in one}
    called = directory.called(connection, readings) if readings else set[str]()
    names = {event.actor for event in batch}.union(called, *subscribers.values())
    names = names.union(*participants.values(), *({one.username for one in requested(event)} for event in batch))
    for cl in change_lists.values():
        names |= {cl.author or "", *cl.reviewers}
    people = directory.people(connection, sorted(names - {""}))
    known = Names(people)
    return Facts(
        change_lists=change_lists,
        mentioned={id_: _distinct(map(known.meant, found)) for id_, found in mentions.items()},
        subscribers=subscribers,
        participants=participants,
        people=people,
        choices=preferences.choices(connection, sorted(names - {""}), cl_links=sorted(change_lists)),
        event_types=preferences.event_types(connection),
    )


def mentions_in(event: Event) -> tuple[Readings, ...]:
    """Every name that the actor's words mention, known or not, each once; at most 50 a comment."""
    return tuple(dict.fromkeys(one for words in event.said for one in mentioned(prose(words))))


def plan(claimed: Sequence[ClaimedEvent], facts: Facts, *, host: str, rng: Random) -> Plan:
    """Who gets a letter about these events and who does not, and how each event ends."""
    jobs: list[NewJob] = []
    endings = []
    for one in claimed:
        audience = audience_of(one.event, facts)
        if isinstance(audience, str):
            endings.append(later(one, audience, rng=rng))
        else:
            jobs.extend(_job(one.event, person, _decision(one.event, person, facts), host=host) for person in audience)
            endings.append(EventEnding(claim=one.claim, status=DONE))
    return Plan(jobs=jobs, endings=endings)


def too_early(claimed: Sequence[ClaimedEvent]) -> set[int]:
    """
    The ids of those whose turn has not come: another has an event before them on the same change list.

    Letters about a change list leave in the order of its events, whoever is quicker.
    """
    early: set[int] = set()
    ids = {one.claim.id for one in claimed}
    for one in sorted(claimed, key=lambda one: one.claim.id):
        if one.follows is not None and (one.follows not in ids or one.follows in early):
            early.add(one.claim.id)
    return early


def later(one: ClaimedEvent, reason: str, *, rng: Random) -> EventEnding:
    """The event waits, or is dead when its budget is spent."""
    failures = one.claim.failures + 1
    if failures >= one.claim.max_failures:
        return EventEnding(claim=one.claim, status=DEAD, failed=1, error=reason)
    delay = next_delay(failures, rng=rng, base=FIRST_WAIT, cap=LONGEST_WAIT)
    return EventEnding(claim=one.claim, status=PENDING, delay=delay.total_seconds(), failed=1, error=reason)


def audience_of(event: Event, facts: Facts) -> Sequence[Concerned] | str:
    """Everyone the event concerns, or why that cannot be said yet."""
    change_list = facts.change_lists.get(event.cl_link)
    trigger = TRIGGERS.get(event.type)
    if trigger is None or event.type not in facts.event_types:
        return UNKNOWN_TYPE
    if change_list is None or not (change_list.author or change_list.reviewers):
        return UNKNOWN_CL
    return trigger(event, circle_of(event, change_list, facts))


def circle_of(event: Event, change_list: ChangeList, facts: Facts) -> Circle:
    """Who has to do with the change list when this event happens on it."""
    said = facts.participants.get(event.cl_link, {})
    return Circle(
        change_list=change_list,
        subscribers=tuple(facts.subscribers.get(event.cl_link, ())),
        participants=tuple(sorted(name for name, first in said.items() if first < event.id)),
        mentioned=facts.mentioned[event.id] if COMMENT_MENTIONED in facts.event_types else (),
    )


def standing(event: Event, concerned: Concerned, facts: Facts) -> tuple[Person | None, Choices, Occasion]:
    """What ``decide`` and ``resolve`` are asked about one person whom the event concerns."""
    actor = facts.people.get(event.actor)
    occasion = Occasion(
        event_type=facts.event_types[concerned.event_type or event.type],
        cl_link=event.cl_link,
        actor=event.actor,
        reason=concerned.reason,
        by_bot=actor is not None and actor.is_bot,
    )
    return facts.people.get(concerned.username), facts.choices.get(concerned.username, NO_CHOICES), occasion


def _decision(event: Event, concerned: Concerned, facts: Facts) -> Decision:
    return decide(*standing(event, concerned, facts))


def _job(event: Event, concerned: Concerned, decision: Decision, *, host: str) -> NewJob:
    job = NewJob(
        event_id=event.id,
        event_type=concerned.event_type or event.type,
        cl_link=event.cl_link,
        username=concerned.username,
        reason=concerned.reason,
    )
    match decision:
        case Told(to_email=to_email, priority=priority):
            name = message_id(event.cl_link, event_key=event.key, username=concerned.username, host=host)
            return replace(job, to_email=to_email, priority=int(priority), message_id=name)
        case NotTold(why=why):
            return replace(job, skipped_because=why)
        case _:
            assert_never(decision)


def _distinct(usernames: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, usernames)))


def _count(report: FanOutReport, endings: Sequence[EventEnding]) -> None:
    statuses = Counter(one.status for one in endings)
    report.retried += statuses[PENDING]
    report.dead += statuses[DEAD]
