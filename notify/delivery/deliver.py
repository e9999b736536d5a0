"""The last look: before a letter is written, today's choices and address decide once more."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TypeVar, assert_never

from sqlalchemy import Connection

from notify.domain.audience import STRENGTH
from notify.domain.events import ChangeList
from notify.domain.fan_out import NotTold, Occasion, Told, decide
from notify.domain.jobs import Dossier, Job, Letter
from notify.domain.outcomes import Expired, Skipped
from notify.domain.preferences import NO_CHOICES, Person
from notify.domain.schedule import AT_ONCE, Wait, rest
from notify.store import directory, events, groups, preferences
from notify.store.groups import Move

UNKNOWN_TYPE = "unknown_type"
Value = TypeVar("Value")
Looked = tuple[Job, Letter | Skipped | Expired]


@dataclass(frozen=True, slots=True)
class Gathered:
    """What there is to send and to record, and the rows that are on another letter from now on."""

    looked: Sequence[Looked]
    moves: Sequence[Move]


def dossiers(connection: Connection, jobs: Sequence[Job]) -> list[Dossier]:
    """Today's facts about these jobs; a constant number of statements."""
    told_of = events.load(connection, _distinct(job.event_id for job in jobs))
    links = _distinct(job.cl_link for job in jobs)
    recipients = _distinct(job.username for job in jobs)
    change_lists = directory.change_lists(connection, links)
    people = directory.people(connection, {*recipients, *(event.actor for event in told_of.values())})
    choices = preferences.choices(connection, recipients, cl_links=links)
    event_types = preferences.event_types(connection)
    return [
        Dossier(
            job=job,
            event=told_of[job.event_id],
            event_type=event_types.get(job.event_type),
            change_list=change_lists.get(job.cl_link),
            person=people.get(job.username),
            choices=choices.get(job.username, NO_CHOICES),
            actor=people.get(told_of[job.event_id].actor),
        )
        for job in jobs
    ]


def resting(connection: Connection, found: Sequence[Dossier]) -> dict[int, Wait]:
    """
    How long the letters wait that came due in quiet hours or a pause, by the ids of their rows.

    Such are those that an outage held up, and those whose person has begun a pause since. No statement where
    nobody has either. What is on one letter is one person's.
    """
    asked = [one for one in found if one.choices.schedule is not AT_ONCE and not is_required(one)]
    if not asked:
        return {}
    now = groups.now(connection)
    waits = {
        one.job.claim.id: rest(one.choices.schedule, home=one.person.timezone if one.person else None, now=now)
        for one in asked
    }
    return {id_: wait for id_, wait in waits.items() if wait}


def is_required(dossier: Dossier) -> bool:
    """Whether the letter goes at once, whatever anybody has chosen."""
    return dossier.event_type is not None and dossier.event_type.system_required


def last_look(dossier: Dossier) -> Letter | Skipped | Expired:
    """The letter as it should go today, or why it should not."""
    job, event = dossier.job, dossier.event
    if job.expired:
        return Expired()
    if dossier.event_type is None:
        return Skipped(reason=UNKNOWN_TYPE)
    occasion = Occasion(
        event_type=dossier.event_type,
        cl_link=job.cl_link,
        actor=event.actor,
        reason=job.reason,
        by_bot=dossier.actor is not None and dossier.actor.is_bot,
    )
    decision = decide(dossier.person, dossier.choices, occasion)
    match decision:
        case NotTold(why=why):
            return Skipped(reason=why)
        case Told(to_email=to_email):
            return as_letter(dossier, to_email=to_email)
        case _:
            assert_never(decision)


def as_letter(dossier: Dossier, *, to_email: str) -> Letter:
    """The letter that these facts make, to that address."""
    job, event = dossier.job, dossier.event
    return Letter(
        claim=job.claim,
        message_id=job.message_id,
        event=event if event.type == job.event_type else replace(event, type=job.event_type),
        change_list=dossier.change_list or ChangeList(link=job.cl_link),
        actor=dossier.actor or Person(username=event.actor),
        recipient=_reader(dossier),
        to_email=to_email,
        reason=job.reason,
        held_by=job.held_by,
    )


def together(told: Sequence[Letter]) -> Letter:
    """All of these as one letter, of which the first is the leader's."""
    reason = min((one.reason for one in told), key=STRENGTH.index)
    return replace(told[0], entries=tuple(sorted(told, key=_happened)), reason=reason)


def gather(looked: Sequence[Looked]) -> Gathered:
    """
    The rows of each letter put together again, after the last look at each of them.

    Who is not to be told leaves the letter and is recorded alone. Where that is the leader, the
    next takes its place, under the Message-ID that the letter has had; where that is everybody,
    there is no letter.
    """
    parties: dict[int, list[Looked]] = {}
    for job, one in looked:
        parties.setdefault(job.leader_id or job.claim.id, []).append((job, one))
    found: list[Looked] = []
    moves: list[Move] = []
    for leader_id, party in parties.items():
        if len(party) == 1:
            found += party
        else:
            letter, left = _parted(party)
            found += [*letter, *left]
            moves += _moves(leader_id, letter, left)
    return Gathered(found, moves)


def _parted(party: Sequence[Looked]) -> tuple[list[Looked], list[Looked]]:
    """The letter, if anybody is left to be told, and those who are not on it."""
    told = [(job, one) for job, one in party if isinstance(one, Letter)]
    left = [(replace(job, leader_id=None, followers=()), one) for job, one in party if not isinstance(one, Letter)]
    if not told:
        return [], list(left)
    (job, first), *others = told
    led = replace(job, leader_id=None, followers=tuple(other for other, _ in others))
    if not others:
        return [(led, first)], list(left)
    return [(led, together([one for _, one in told]))], list(left)


def _happened(letter: Letter) -> tuple[datetime, int]:
    """Rows are written in the order of the fan-out, which a process that is killed leaves to another, later."""
    return letter.event.occurred_at, letter.event.id


def _moves(leader_id: int, letter: Sequence[Looked], left: Sequence[Looked]) -> list[Move]:
    if not left:
        return []
    moves = [Move(id=job.claim.id, was=leader_id, leader_id=None, stays=False) for job, _ in left]
    for job, _ in letter:
        if job.claim.id != leader_id:
            moves.append(Move(id=job.claim.id, was=leader_id, leader_id=None, stays=True))
            moves += [Move(id=one.claim.id, was=leader_id, leader_id=job.claim.id, stays=True) for one in job.followers]
    return moves


def _reader(dossier: Dossier) -> Person:
    """Whom the letter is for, with the time zone that they have chosen."""
    person, chosen = dossier.person or Person(username=dossier.job.username), dossier.choices.schedule.timezone
    return replace(person, timezone=chosen) if chosen else person


def _distinct(values: Iterable[Value]) -> list[Value]:
    return list(dict.fromkeys(values))
