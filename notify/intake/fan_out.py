"""Fan-out: a batch of events becomes one row for each person it concerns, letters and skips alike."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from functools import partial
from random import Random
from time import monotonic
from typing import assert_never

from sqlalchemy import Connection

from notify.checkpoints import FAN_OUT_COMMITTED, FAN_OUT_WRITTEN, Checkpoint, pass_by
from notify.domain.audience import Circle, Concerned, requested
from notify.domain.claims import Claim, Lane
from notify.domain.events import COMMENT_MENTIONED, ChangeList, Event
from notify.domain.fan_out import Decision, NotTold, Occasion, Told, decide
from notify.domain.measures import Count, Measure, bucket, uncounted
from notify.domain.mentions import Names, Readings, mentioned
from notify.domain.ports import Doorbell
from notify.domain.preferences import NO_CHOICES, Choices, EventType, Person
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.statuses import EventStatus, JobStatus
from notify.domain.threads import message_id
from notify.intake import holding, together
from notify.intake.together import NEVER
from notify.intake.triggers import TRIGGERS
from notify.markdown import prose
from notify.store import directory, events, items, preferences
from notify.store.database import Database
from notify.store.items import Ending
from notify.store.outbox import NewJob
from notify.work.stage import counted

UNKNOWN_CL = "unknown_cl"
UNKNOWN_TYPE = "unknown_type"


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
    endings: Sequence[Ending]


class FanOut:
    """
    Works off the events of one database.

    Args:
        doorbell: Rung for the letters of each batch.
        message_host: Right-hand side of the letters' Message-IDs.
        traced: Told of each event that was fanned out, and how long its batch took.
        together: The window of kinds of events that state none; zero: every letter goes at once.
    """

    name = FAN_OUT
    ordered = True
    counts = ("letters", "skipped")

    def __init__(
        self,
        database: Database,
        *,
        doorbell: Doorbell,
        message_host: str,
        rng: Random,
        together: timedelta = NEVER,
        checkpoint: Checkpoint = pass_by,
        count: Count = uncounted,
        traced: Callable[[Event, float], None] | None = None,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._host = message_host
        self._rng = rng
        self._together = together
        self._checkpoint = checkpoint
        self._count = count
        self._traced = traced

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Write one row for each person whom these events concern, and end the events; all in one transaction."""
        began = monotonic()
        with self._database.begin() as connection:
            batch = events.load(connection, [one.id for one in claims])
            found = facts_about(list(batch.values()), connection)
            drawn_up = plan([(one, batch[one.id]) for one in claims], found, host=self._host, rng=self._rng)
            waits = holding.waits(connection, drawn_up.jobs, people=found.people, choices=found.choices)
            window = partial(self._window, found.event_types)
            written = together.write(connection, drawn_up.jobs, window=window, waits=waits)
            ours = items.settle(connection, FAN_OUT, drawn_up.endings)
            ended = [one for one in drawn_up.endings if one.name in ours]
            fanned_out = [one.id for one in ended if one.lane is None]
            events.end(connection, fanned_out, EventStatus.DONE)
            self.bury(connection, [one.id for one in ended if one.lane is Lane.DEAD])
            self._checkpoint(FAN_OUT_WRITTEN)
        self._checkpoint(FAN_OUT_COMMITTED)
        if written[JobStatus.PENDING]:
            self._doorbell.ring(DELIVER)
        self._time([batch[id_] for id_ in fanned_out], seconds=monotonic() - began)
        return counted(ended) + Counter(letters=written[JobStatus.PENDING], skipped=written[JobStatus.SKIPPED])

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Nobody was told of these events, and nobody will be."""
        events.end(connection, ids, EventStatus.DEAD)

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


def plan(claimed: Sequence[tuple[Claim, Event]], facts: Facts, *, host: str, rng: Random) -> Plan:
    """Who gets a letter about these events and who does not, and how each event ends."""
    jobs: list[NewJob] = []
    endings = []
    for claim, event in claimed:
        audience = audience_of(event, facts)
        if isinstance(audience, str):
            endings.append(items.later(claim, audience, rng=rng))
        else:
            jobs.extend(_job(event, person, _decision(event, person, facts), host=host) for person in audience)
            endings.append(items.done(claim))
    return Plan(jobs=jobs, endings=endings)


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
