"""Fan-out: a batch of events becomes one notification for each person it concerns, told or skipped."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from random import Random
from time import monotonic

from sqlalchemy import Connection

from notify.checkpoints import FAN_OUT_COMMITTED, FAN_OUT_WRITTEN, Checkpoint, pass_by
from notify.domain.audience import Concerned, Involved
from notify.domain.claims import Claim
from notify.domain.events import COMMENT_MENTIONED, Event
from notify.domain.fan_out import NotTold, Occasion, decide
from notify.domain.measures import Count, Measure, bucket, uncounted
from notify.domain.mentions import Names, Readings, mentioned
from notify.domain.outcomes import UNKNOWN_TOPIC, UNKNOWN_TYPE, EventStatus
from notify.domain.ports import Doorbell
from notify.domain.preferences import NO_PREFERENCES, Person, Preferences
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.threads import message_id
from notify.intake import bundling
from notify.intake.triggers import TRIGGERS
from notify.markdown import prose
from notify.store.database import Database
from notify.store.outbox import audiences, events, items
from notify.store.outbox.audiences import Known
from notify.store.outbox.items import Ending
from notify.store.outbox.notifications import SKIPPED, TOLD, NewNotification
from notify.work.stage import counted

NO_WINDOW = timedelta(0)
# Whom each event mentions, by its id.
Mentioned = Mapping[int, tuple[str, ...]]


class FanOut:
    """
    Works off the events of one database.

    Args:
        doorbell: Rung for the emails of each batch.
        message_host: Right-hand side of the emails' Message-IDs.
        traced: Called with each event that was fanned out, and how long its batch took.
        bundle: The window of types that state none; zero: every email leaves at once.
    """

    name = FAN_OUT
    ordered = True
    counts = (TOLD, SKIPPED)

    def __init__(
        self,
        database: Database,
        *,
        doorbell: Doorbell,
        message_host: str,
        rng: Random,
        bundle: timedelta = NO_WINDOW,
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
            known, mentioned = facts_about(list(batch.values()), connection)
            claimed = [(one, batch[one.id]) for one in claims]
            rows, endings = plan(claimed, known, mentioned, host=self._host, rng=self._rng)
            written = bundling.write(connection, rows, known=known, window=self._bundle)
            ours = events.settle(connection, endings)
            self._checkpoint(FAN_OUT_WRITTEN)
        self._checkpoint(FAN_OUT_COMMITTED)
        ended = [one for one in endings if one.name in ours]
        if written[TOLD]:
            self._doorbell.ring(DELIVER)
        self._time([batch[one.id] for one in ended if one.lane is None], seconds=monotonic() - began)
        return counted(ended) + Counter({name: written[name] for name in self.counts})

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


def facts_about(batch: Sequence[Event], connection: Connection) -> tuple[Known, Mentioned]:
    """What is known today about everyone these events may concern, and whom each mentions; one statement."""
    readings = {event.id: mentions_in(event) for event in batch}
    known = audiences.around(
        connection,
        {event.topic for event in batch},
        names={event.actor for event in batch}.union(*(event.requested_reviewers for event in batch)),
        called={reading for found in readings.values() for one in found for reading in one},
    )
    names = Names(known.people)
    meant = {id_: filter(None, map(names.meant, found)) for id_, found in readings.items()}
    return known, {id_: tuple(dict.fromkeys(usernames)) for id_, usernames in meant.items()}


def mentions_in(event: Event) -> tuple[Readings, ...]:
    """Every name that the actor's words mention, known or not, each once; at most 50 a comment."""
    return tuple(dict.fromkeys(one for words in event.said for one in mentioned(prose(words))))


def plan(
    claimed: Sequence[tuple[Claim, Event]], known: Known, mentioned: Mentioned, *, host: str, rng: Random
) -> tuple[list[NewNotification], list[Ending]]:
    """Who is told of these events and who is not, and how each event ends."""
    rows: list[NewNotification] = []
    endings = []
    for claim, event in claimed:
        audience = audience_of(event, known, mentioned)
        if isinstance(audience, str):
            endings.append(items.later(claim, audience, rng=rng))
        else:
            rows.extend(_notification(event, person, known, host=host) for person in audience)
            endings.append(items.done(claim))
    return rows, endings


def audience_of(event: Event, known: Known, mentioned: Mentioned) -> Sequence[Concerned] | str:
    """Everyone the event concerns, or why that cannot be said yet."""
    change_list, trigger = known.change_lists.get(event.topic), TRIGGERS.get(event.type)
    if trigger is None or event.type not in known.event_types:
        return UNKNOWN_TYPE
    if change_list is None or not (change_list.author or change_list.reviewers):
        return UNKNOWN_TOPIC
    said = known.participants.get(event.topic, {})
    involved = Involved(
        change_list=change_list,
        subscribers=tuple(known.subscribers.get(event.topic, ())),
        participants=tuple(sorted(name for name, first in said.items() if first < event.id)),
        mentioned=mentioned[event.id] if COMMENT_MENTIONED in known.event_types else (),
        requested=event.requested_reviewers,
    )
    return trigger(involved)


def question(event: Event, concerned: Concerned, known: Known) -> tuple[Person | None, Preferences, Occasion]:
    """What ``decide`` and ``resolve`` are asked about one person whom the event concerns."""
    actor = known.people.get(event.actor)
    occasion = Occasion(
        event_type=known.event_types[concerned.event_type or event.type],
        topic=event.topic,
        actor=event.actor,
        reason=concerned.reason,
        by_bot=actor is not None and actor.is_bot,
    )
    return known.people.get(concerned.username), known.preferences.get(concerned.username, NO_PREFERENCES), occasion


def _notification(event: Event, concerned: Concerned, known: Known, *, host: str) -> NewNotification:
    decision = decide(*question(event, concerned, known))
    row = NewNotification(
        event_id=event.id,
        event_type=concerned.event_type or event.type,
        topic=event.topic,
        username=concerned.username,
        reason=concerned.reason,
        why=decision.why,
    )
    if isinstance(decision, NotTold):
        return row
    id_ = message_id(event.topic, event_key=event.key, username=concerned.username, host=host)
    return replace(row, to_email=decision.to_email, lane=decision.lane, message_id=id_)
