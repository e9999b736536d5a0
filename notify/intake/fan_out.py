"""Fan-out: a batch of events becomes one notification for each person it concerns, told or skipped."""

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
from notify.domain.claims import Claim
from notify.domain.events import COMMENT_MENTIONED, ChangeList, Event
from notify.domain.fan_out import Decision, NotTold, Occasion, Told, decide
from notify.domain.measures import Count, Measure, bucket, uncounted
from notify.domain.mentions import Names, Readings, mentioned
from notify.domain.outcomes import UNKNOWN_TOPIC, UNKNOWN_TYPE, EventStatus
from notify.domain.ports import Doorbell
from notify.domain.preferences import NO_PREFERENCES, EventType, Person, Preferences
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.threads import message_id
from notify.intake import bundling, deferral
from notify.intake.bundling import NEVER
from notify.intake.triggers import TRIGGERS
from notify.markdown import prose
from notify.store.database import Database
from notify.store.outbox import audiences, events, items
from notify.store.outbox.audiences import Known
from notify.store.outbox.items import Ending
from notify.store.outbox.notifications import SKIPPED, TOLD, NewNotification
from notify.work.stage import counted


@dataclass(frozen=True, slots=True, kw_only=True)
class Facts:
    """What is known today about everyone a batch concerns, and whom its events mention, by their ids."""

    known: Known
    mentioned: Mapping[int, tuple[str, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a batch comes to: notifications to write, and how each event ends."""

    notifications: Sequence[NewNotification]
    endings: Sequence[Ending]


class FanOut:
    """
    Works off the events of one database.

    Args:
        doorbell: Rung for the emails of each batch.
        message_host: Right-hand side of the emails' Message-IDs.
        traced: Told of each event that was fanned out, and how long its batch took.
        bundle: The window of types that state none; zero: every email leaves at once.
    """

    name = FAN_OUT
    ordered = True
    counts = ("told", "skipped")

    def __init__(
        self,
        database: Database,
        *,
        doorbell: Doorbell,
        message_host: str,
        rng: Random,
        bundle: timedelta = NEVER,
        checkpoint: Checkpoint = pass_by,
        count: Count = uncounted,
        traced: Callable[[Event, float], None] | None = None,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._host = message_host
        self._rng = rng
        self._bundle = bundle
        self._checkpoint = checkpoint
        self._count = count
        self._traced = traced

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Write a notification for each person whom these events concern, and end the events; in one transaction."""
        began = monotonic()
        with self._database.begin() as connection:
            batch = events.load(connection, [one.id for one in claims])
            found = facts_about(list(batch.values()), connection)
            drawn_up = plan([(one, batch[one.id]) for one in claims], found, host=self._host, rng=self._rng)
            rows = drawn_up.notifications
            waits = deferral.waits(connection, rows, people=found.known.people, choices=found.known.choices)
            window = partial(self._window, found.known.event_types)
            written = bundling.write(connection, rows, window=window, waits=waits)
            ours = events.settle(connection, drawn_up.endings)
            self._checkpoint(FAN_OUT_WRITTEN)
        self._checkpoint(FAN_OUT_COMMITTED)
        ended = [one for one in drawn_up.endings if one.name in ours]
        fanned_out = [batch[one.id] for one in ended if one.lane is None]
        if written[TOLD]:
            self._doorbell.ring(DELIVER)
        self._time(fanned_out, seconds=monotonic() - began)
        return counted(ended) + Counter(told=written[TOLD], skipped=written[SKIPPED])

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

    def _window(self, event_types: Mapping[str, EventType], row: NewNotification) -> timedelta:
        stated = event_types[row.event_type].bundle_within
        return self._bundle if stated is None else stated


def facts_about(batch: Sequence[Event], connection: Connection) -> Facts:
    """What is known about everyone these events may concern; one statement."""
    mentions = {event.id: mentions_in(event) for event in batch}
    known = audiences.around(
        connection,
        {event.topic for event in batch},
        names={event.actor for event in batch}.union(*({one.username for one in requested(event)} for event in batch)),
        called={reading for found in mentions.values() for one in found for reading in one},
    )
    names = Names(known.people)
    return Facts(known=known, mentioned={id_: _distinct(map(names.meant, found)) for id_, found in mentions.items()})


def mentions_in(event: Event) -> tuple[Readings, ...]:
    """Every name that the actor's words mention, known or not, each once; at most 50 a comment."""
    return tuple(dict.fromkeys(one for words in event.said for one in mentioned(prose(words))))


def plan(claimed: Sequence[tuple[Claim, Event]], facts: Facts, *, host: str, rng: Random) -> Plan:
    """Who is told of these events and who is not, and how each event ends."""
    rows: list[NewNotification] = []
    endings = []
    for claim, event in claimed:
        audience = audience_of(event, facts)
        if isinstance(audience, str):
            endings.append(items.later(claim, audience, rng=rng))
        else:
            rows.extend(_notification(event, person, _decision(event, person, facts), host=host) for person in audience)
            endings.append(items.done(claim))
    return Plan(notifications=rows, endings=endings)


def audience_of(event: Event, facts: Facts) -> Sequence[Concerned] | str:
    """Everyone the event concerns, or why that cannot be said yet."""
    change_list = facts.known.change_lists.get(event.topic)
    trigger = TRIGGERS.get(event.type)
    if trigger is None or event.type not in facts.known.event_types:
        return UNKNOWN_TYPE
    if change_list is None or not (change_list.author or change_list.reviewers):
        return UNKNOWN_TOPIC
    return trigger(event, circle_of(event, change_list, facts))


def circle_of(event: Event, change_list: ChangeList, facts: Facts) -> Circle:
    """Who has to do with the change list when this event happens on it."""
    said = facts.known.participants.get(event.topic, {})
    return Circle(
        change_list=change_list,
        subscribers=tuple(facts.known.subscribers.get(event.topic, ())),
        participants=tuple(sorted(name for name, first in said.items() if first < event.id)),
        mentioned=facts.mentioned[event.id] if COMMENT_MENTIONED in facts.known.event_types else (),
    )


def standing(event: Event, concerned: Concerned, facts: Facts) -> tuple[Person | None, Preferences, Occasion]:
    """What ``decide`` and ``resolve`` are asked about one person whom the event concerns."""
    actor = facts.known.people.get(event.actor)
    occasion = Occasion(
        event_type=facts.known.event_types[concerned.event_type or event.type],
        topic=event.topic,
        actor=event.actor,
        reason=concerned.reason,
        by_bot=actor is not None and actor.is_bot,
    )
    return (
        facts.known.people.get(concerned.username),
        facts.known.choices.get(concerned.username, NO_PREFERENCES),
        occasion,
    )


def _decision(event: Event, concerned: Concerned, facts: Facts) -> Decision:
    return decide(*standing(event, concerned, facts))


def _notification(event: Event, concerned: Concerned, decision: Decision, *, host: str) -> NewNotification:
    row = NewNotification(
        event_id=event.id,
        event_type=concerned.event_type or event.type,
        topic=event.topic,
        username=concerned.username,
        reason=concerned.reason,
        why=decision.why,
    )
    match decision:
        case Told(to_email=to_email, lane=lane):
            name = message_id(event.topic, event_key=event.key, username=concerned.username, host=host)
            return replace(row, to_email=to_email, lane=lane, message_id=name)
        case NotTold():
            return row
        case _:
            assert_never(decision)


def _distinct(usernames: Iterable[str | None]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(filter(None, usernames)))
