"""The last look: before a letter is written, today's choices and address decide once more."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import TypeVar, assert_never

from sqlalchemy import Connection

from notify.domain.events import ChangeList
from notify.domain.fan_out import NotTold, Occasion, Told, decide
from notify.domain.jobs import Dossier, Job, Letter
from notify.domain.outcomes import Expired, Skipped
from notify.domain.preferences import NO_CHOICES, Person
from notify.store import directory, events, preferences

UNKNOWN_TYPE = "unknown_type"
Value = TypeVar("Value")


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
            return Letter(
                claim=job.claim,
                message_id=job.message_id,
                event=event if event.type == job.event_type else replace(event, type=job.event_type),
                change_list=dossier.change_list or ChangeList(link=job.cl_link),
                actor=dossier.actor or Person(username=event.actor),
                recipient=dossier.person or Person(username=job.username),
                to_email=to_email,
                reason=job.reason,
            )
        case _:
            assert_never(decision)


def _distinct(values: Iterable[Value]) -> list[Value]:
    return list(dict.fromkeys(values))
