"""Fan-out: turns a batch of events into one notification for each person in their audience, told or skipped."""

from collections import Counter
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import replace
from datetime import timedelta
from random import Random
from time import monotonic
from typing import Protocol

from sqlalchemy import Connection

from notify.checkpoints import FAN_OUT_COMMITTED, FAN_OUT_WRITTEN, Checkpoint, no_checkpoint
from notify.domain.audience import AudienceMember, InvolvedPeople
from notify.domain.claims import Claim
from notify.domain.events import COMMENT_MENTIONED, FOR_OPERATORS, HEAD_BROKEN, HEAD_RECOVERED, ChangeList, Event
from notify.domain.fan_out import EventContext, NotTold, decide
from notify.domain.measures import Count, Measure, bucket, no_count
from notify.domain.mentions import Readings, UsernameIndex, find_mentions
from notify.domain.outcomes import UNKNOWN_TOPIC, UNKNOWN_TYPE, EventStatus
from notify.domain.ports import Doorbell
from notify.domain.preferences import NO_PREFERENCES, Person, Preferences
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.threads import message_id
from notify.intake import bundling
from notify.intake.triggers import custom_type, trigger_of
from notify.markdown import prose
from notify.store.database import Database
from notify.store.heads import people
from notify.store.outbox import audiences, events, items
from notify.store.outbox.audiences import Known
from notify.store.outbox.items import ItemOutcome
from notify.store.outbox.notifications import SKIPPED, TOLD, NewNotification
from notify.work.stage import counted

NO_WINDOW = timedelta(0)
# Events whose audience depends on who was told before.
AFTER_OTHERS = frozenset({HEAD_BROKEN, HEAD_RECOVERED})
# The people whom each event mentions, by event id.
Mentioned = Mapping[int, tuple[str, ...]]


class FanOutSpans(Protocol):
    """Records a span of each event."""

    def are_wanted(self) -> bool: ...

    def add_fan_out(self, event: Event, seconds: float) -> None: ...


class FanOut:
    """
    The handler of the fan-out stage.

    Args:
        doorbell: Rung when a batch has created emails.
        message_host: Right-hand side of Message-IDs.
        operators: Usernames of the people who operate notify.
        spans: Records a span of each event; None: no tracing.
        bundle: Bundling window of event types without their own; zero: no bundling.
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
        operators: Sequence[str] = (),
        bundle: timedelta = NO_WINDOW,
        checkpoint: Checkpoint = no_checkpoint,
        count: Count = no_count,
        spans: FanOutSpans | None = None,
    ) -> None:
        self._database = database
        self._doorbell = doorbell
        self._host = message_host
        self._rng = rng
        self._operators = tuple(operators)
        self._bundle = bundle
        self._checkpoint = checkpoint
        self._count = count
        self._spans = spans

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Write the notifications of these events and finish the events, in one transaction."""
        began = monotonic()
        with self._database.begin() as connection:
            batch = events.load(connection, [one.id for one in claims])
            known, mentioned = load_facts(list(batch.values()), connection, operators=self._operators)
            claimed = [(one, batch[one.id]) for one in claims]
            rows, outcomes = plan(claimed, known, mentioned, host=self._host, rng=self._rng, operators=self._operators)
            # First, and with the item's lock: an event that is withdrawn meanwhile must not be told to anybody.
            ours = events.settle(connection, outcomes)
            ids = {id_ for id_, _ in ours}
            told_of = [(claim, event) for claim, event in claimed if event.id in ids]
            written = self._write(connection, rows, told_of, known, mentioned)
            self._checkpoint(FAN_OUT_WRITTEN)
        self._checkpoint(FAN_OUT_COMMITTED)
        ended = [one for one in outcomes if one.name in ours]
        if written[TOLD]:
            self._doorbell.ring(DELIVER)
        self._time([batch[one.id] for one in ended if one.lane is None], seconds=monotonic() - began)
        return counted(ended) + Counter({name: written[name] for name in self.counts})

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Mark these events as dead; nobody was notified of them."""
        events.end(connection, ids, EventStatus.DEAD)

    def _write(
        self,
        connection: Connection,
        rows: Sequence[NewNotification],
        told_of: Sequence[tuple[Claim, Event]],
        known: Known,
        mentioned: Mentioned,
    ) -> Counter[str]:
        """Write the rows of these events; those whose audience depends on earlier events of the batch after them."""
        written: Counter[str] = Counter()
        for number, turn in enumerate(in_turn([event for _, event in told_of])):
            if number:
                late = [pair for pair in told_of if pair[1].id in turn]
                known = replace(known, told_broken=_told_broken(connection, [event for _, event in late]))
                rows, _ = plan(late, known, mentioned, host=self._host, rng=self._rng, operators=self._operators)
            in_part = [row for row in rows if row.event_id in turn]
            written += bundling.write(connection, in_part, known=known, window=self._bundle)
        return written

    def _time(self, fanned_out: Sequence[Event], *, seconds: float) -> None:
        """Count the age of these events, whose batch took this long."""
        for event in fanned_out:
            age = event.age_seconds + seconds
            self._count(Measure.TO_FAN_OUT, bucket(age), age)
            if self._spans is not None and self._spans.are_wanted():
                self._spans.add_fan_out(event, seconds)


def load_facts(
    batch: Sequence[Event], connection: Connection, *, operators: Sequence[str] = ()
) -> tuple[Known, Mentioned]:
    """
    Load everyone these events may concern, and find whom each mentions; one statement.

    One more if a queue is broken or has recovered, and one if the function of another package names people whom
    neither the event nor the directory names.
    """
    readings = {event.id: mentions_in(event) for event in batch}
    told = _told_broken(connection, batch)
    named = {event.actor for event in batch}.union(*map(_stated_people, batch), *told.values())
    known = audiences.around(
        connection,
        {event.topic for event in batch},
        names=named.union(operators) if any(event.type in FOR_OPERATORS for event in batch) else named,
        called={reading for found in readings.values() for one in found for reading in one},
    )
    known = replace(known, told_broken=told) if told else known
    usernames = UsernameIndex(known.people)
    found = {id_: filter(None, map(usernames.find, names)) for id_, names in readings.items()}
    mentioned = {id_: tuple(dict.fromkeys(names)) for id_, names in found.items()}
    custom = [event for event in batch if custom_type(event.type)]
    concerned = [audience_of(event, known, mentioned, operators=operators) for event in custom]
    missing = {one.username for found in concerned if not isinstance(found, str) for one in found} - set(known.people)
    return _with_people(connection, known, custom, missing) if missing else known, mentioned


def _with_people(connection: Connection, known: Known, batch: Sequence[Event], names: AbstractSet[str]) -> Known:
    more = audiences.around(connection, {event.topic for event in batch}, names=names, called=())
    return replace(known, people={**more.people, **known.people}, preferences={**more.preferences, **known.preferences})


def _told_broken(connection: Connection, batch: Sequence[Event]) -> Mapping[int, Mapping[str, AbstractSet[str]]]:
    """Whom earlier events told that a queue is broken, by the id of the event of this batch that is about it."""
    after_others = [event.id for event in batch if event.type in AFTER_OTHERS]
    return people.told_broken(connection, after_others) if after_others else {}


def _stated_people(event: Event) -> tuple[str, ...]:
    """The people whom the event itself names."""
    return (*event.requested_reviewers, *event.suspects)


def in_turn(batch: Sequence[Event]) -> list[set[int]]:
    """The ids of these events, in parts to write one after the other: audiences depend on earlier parts only."""
    parts: list[set[int]] = [set()]
    last: dict[str, int] = {}
    for event in sorted(batch, key=lambda one: one.id):
        part = last.get(event.topic, -1) + 1 if event.type in AFTER_OTHERS else last.get(event.topic, 0)
        last[event.topic] = part
        parts += [set() for _ in range(part + 1 - len(parts))]
        parts[part].add(event.id)
    return parts


def mentions_in(event: Event) -> tuple[Readings, ...]:
    """Every name mentioned, known or not, each once; at most 50 per text."""
    return tuple(dict.fromkeys(one for text in event.texts for one in find_mentions(prose(text))))


def plan(
    claimed: Sequence[tuple[Claim, Event]],
    known: Known,
    mentioned: Mentioned,
    *,
    host: str,
    rng: Random,
    operators: Sequence[str] = (),
) -> tuple[list[NewNotification], list[ItemOutcome]]:
    """The notifications to write, and how each event ends."""
    rows: list[NewNotification] = []
    outcomes = []
    for claim, event in claimed:
        audience = audience_of(event, known, mentioned, operators=operators)
        if isinstance(audience, str):
            outcomes.append(items.later(claim, audience, rng=rng))
        else:
            rows.extend(_notification(event, person, known, host=host) for person in audience)
            outcomes.append(items.done(claim))
    return rows, outcomes


def audience_of(
    event: Event, known: Known, mentioned: Mentioned, *, operators: Sequence[str] = ()
) -> Sequence[AudienceMember] | str:
    """The audience of the event, or why it is not known yet."""
    trigger = trigger_of(event)
    if trigger is None or event.type not in known.event_types:
        return UNKNOWN_TYPE
    change_list = known.change_lists.get(event.topic) if event.is_about_change_list else ChangeList(link=event.topic)
    if change_list is None or not (change_list.author or change_list.reviewers or not event.is_about_change_list):
        return UNKNOWN_TOPIC
    said = known.participants.get(event.topic, {})
    involved = InvolvedPeople(
        change_list=change_list,
        subscribers=tuple(known.subscribers.get(event.topic, ())),
        participants=tuple(sorted(name for name, first in said.items() if first < event.id)),
        mentioned=mentioned[event.id] if COMMENT_MENTIONED in known.event_types else (),
        requested=event.requested_reviewers,
        operators=tuple(operators),
        suspects=event.suspects,
        told_broken=known.told_broken.get(event.id, {}),
    )
    return trigger(involved)


def decision_inputs(
    event: Event, concerned: AudienceMember, known: Known
) -> tuple[Person | None, Preferences, EventContext]:
    """The arguments of ``decide`` and ``resolve`` for one member of the audience."""
    actor = known.people.get(event.actor)
    context = EventContext(
        event_type=known.event_types[concerned.event_type or event.type],
        topic=event.topic,
        actor=event.actor,
        reason=concerned.reason,
        by_bot=actor is not None and actor.is_bot,
        already_told=concerned.already_told,
    )
    return known.people.get(concerned.username), known.preferences.get(concerned.username, NO_PREFERENCES), context


def _notification(event: Event, concerned: AudienceMember, known: Known, *, host: str) -> NewNotification:
    decision = decide(*decision_inputs(event, concerned, known))
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
    id_ = message_id(
        event.topic,
        event_key=event.key,
        username=concerned.username,
        host=host,
        is_change_list=event.is_about_change_list,
    )
    return replace(row, to_email=decision.to_email, lane=decision.lane, message_id=id_)
