"""The recheck: repeats the fan-out's decision with today's preferences and address before an email is written."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import assert_never

from sqlalchemy import Connection

from notify.domain.audience import STRENGTH
from notify.domain.errors import NotifyError
from notify.domain.events import ChangeList
from notify.domain.fan_out import EventContext, NotTold, Told, decide, plain_address
from notify.domain.jobs import EmailFacts, Job, Notification
from notify.domain.outcomes import UNKNOWN_TYPE, WITHDRAWN, Expired, Skipped, Withdrawn
from notify.domain.preferences import Person
from notify.domain.schedule import IMMEDIATE, Deferral, quiet_until
from notify.store.outbox import events, facts


class NoEmail(NotifyError):
    """The job's email cannot be written."""


NotSent = Skipped | Expired | Withdrawn
Rechecked = tuple[Job, EmailFacts | NotSent]


@dataclass(frozen=True, slots=True)
class Dropped:
    """A notification that the email leaves out, and why."""

    id: int
    why: str


def recheck(job: Job) -> tuple[EmailFacts | NotSent, Sequence[Dropped]]:
    """
    The email as of today, or why it is not sent; and the notifications that it leaves out.

    If none is left, the job is skipped with the reason of the first, which stays with it; or withdrawn, if all were.
    """
    if job.expired:
        return Expired(), ()
    told: list[EmailFacts] = []
    dropped: list[Dropped] = []
    for one in job.notifications:
        decision = _decided(job, one)
        if isinstance(decision, Dropped):
            dropped.append(decision)
        else:
            told.append(_facts(job, one, to_email=decision))
    if not told:
        first, *others = sorted(dropped, key=_is_about_withdrawn)
        return Withdrawn() if first.why == WITHDRAWN else Skipped(reason=first.why), others
    return _as_one(told), dropped


def waits(jobs: Iterable[Job], *, now: datetime) -> dict[int, Deferral]:
    """
    Deferrals of emails that came due during quiet hours or a pause, by job id.

    They were delayed by an outage, or the person paused since.
    """
    found = {
        one.claim.id: quiet_until(one.preferences.schedule, home=one.person.timezone if one.person else None, now=now)
        for one in jobs
        if may_wait(one)
    }
    return {id_: wait for id_, wait in found.items() if wait}


def may_wait(job: Job) -> bool:
    """Whether the email may be deferred: it is not required and the person has a schedule."""
    return job.preferences.schedule is not IMMEDIATE and not job.is_required


def email_of(connection: Connection, job_id: int) -> EmailFacts:
    """
    The job's email with all its notifications, whether or not it would be sent today. Changes nothing.

    Raises:
        NoEmail: The job is gone, or the payload of one of its events was deleted.
    """
    job = facts.of_job(connection, job_id)
    if job is None:
        raise NoEmail(id=job_id, reason="there is no such job")
    if events.any_emptied(connection, [one.event.id for one in job.notifications]):
        raise NoEmail(id=job_id, reason="the text of its event was deleted")
    return _as_one([_facts(job, one, to_email=job.to_email) for one in job.notifications])


def _facts(job: Job, one: Notification, *, to_email: str) -> EmailFacts:
    """The facts for an email to this address about this event alone."""
    event = one.event
    return EmailFacts(
        claim=job.claim,
        message_id=job.message_id,
        event=event if event.type == one.type_code else replace(event, type=one.type_code),
        change_list=(event.is_about_change_list and one.change_list) or ChangeList(link=event.topic),
        actor=one.actor or Person(username=event.actor),
        recipient=_recipient(job),
        to_email=to_email,
        reason=one.reason,
        deferred_by=job.deferred_by,
    )


def _as_one(told: Sequence[EmailFacts]) -> EmailFacts:
    """One email about all of these, in the order in which they happened."""
    if len(told) == 1:
        return told[0]
    entries = tuple(sorted(told, key=_happened))
    return replace(entries[0], entries=entries, reason=min((one.reason for one in told), key=STRENGTH.index))


def _decided(job: Job, one: Notification) -> str | Dropped:
    """The address to notify, or why the notification is dropped."""
    if one.event.is_withdrawn:
        return Dropped(one.id, WITHDRAWN)
    if one.event_type is None:
        return Dropped(one.id, UNKNOWN_TYPE)
    plain = plain_address(job.person, job.preferences, one.event_type, actor=one.event.actor, reason=one.reason)
    if plain is not None:
        return plain
    occasion = EventContext(
        event_type=one.event_type,
        topic=one.event.topic,
        actor=one.event.actor,
        reason=one.reason,
        by_bot=one.actor is not None and one.actor.is_bot,
    )
    decision = decide(job.person, job.preferences, occasion)
    match decision:
        case NotTold(why=why):
            return Dropped(one.id, why)
        case Told(to_email=to_email):
            return to_email
        case _:
            assert_never(decision)


def _is_about_withdrawn(one: Dropped) -> bool:
    return one.why == WITHDRAWN


def _happened(email: EmailFacts) -> tuple[datetime, int]:
    """Ids follow the fan-out, which may be late for events of a killed worker."""
    return email.event.occurred_at, email.event.id


def _recipient(job: Job) -> Person:
    """The person, with the time zone from their preferences."""
    person, chosen = job.person or Person(username=job.username), job.preferences.schedule.timezone
    return replace(person, timezone=chosen) if chosen else person
