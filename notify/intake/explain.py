"""Explains the decision about one person and one event, whether or not the event is stored."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection

from notify.domain.audience import AudienceMember, Reason
from notify.domain.claims import Lane
from notify.domain.events import Event
from notify.domain.fan_out import Rule, Step, Told, Why, resolve
from notify.domain.outcomes import UNKNOWN_TOPIC, UNKNOWN_TYPE, WITHDRAWN, JobStatus
from notify.domain.preferences import NO_PREFERENCES
from notify.domain.schedule import Deferral, DeferredBy, clock, defer
from notify.intake.fan_out import audience_of, decision_inputs, load_facts
from notify.intake.receive import receive
from notify.intake.schema import EventIn
from notify.store.directory import directory, preferences
from notify.store.outbox import bundles, events
from notify.store.outbox.audiences import Known
from notify.store.outbox.jobs import NotificationView

NOT_CONCERNED = "not_concerned"
MAX_NAMES = 5
NOT_YET = {
    UNKNOWN_TOPIC: "the directory knows neither author nor reviewers of the change list; the event waits",
    UNKNOWN_TYPE: "this kind of event is not in the table of event types yet; the event waits",
}
IS_WITHDRAWN = "the event was withdrawn: nobody more is told"


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """
    The current decision for one person and one event, with the steps that lead to it.

    ``event_type`` is the type whose preferences apply. ``reason`` None: the person is not in the audience.
    """

    username: str
    event_type: str
    reason: Reason | None
    told: bool
    why: str
    trace: tuple[Step, ...]


def explain(connection: Connection, event: Event, username: str, *, operators: Sequence[str] = ()) -> Explanation:
    """Whether the person would be notified of the event today, with every rule applied."""
    if event.is_withdrawn:
        return _not_concerned(event, username, why=WITHDRAWN, found=IS_WITHDRAWN)
    known, mentioned = load_facts([event], connection, operators=operators)
    audience = audience_of(event, known, mentioned, operators=operators)
    if isinstance(audience, str):
        return _not_concerned(event, username, why=audience, found=NOT_YET[audience])
    concerned = next((one for one in audience if one.username == username), None)
    if concerned is None:
        return _not_concerned(event, username, why=NOT_CONCERNED, found=_others(audience))
    person, own, context = decision_inputs(event, concerned, known)
    decision, trace = resolve(person, own, context)
    wait = None
    if person and isinstance(decision, Told) and decision.lane is not Lane.URGENT:
        by_bot, now = decision.lane is Lane.BULK, bundles.now(connection)
        wait = defer(own.schedule, home=person.timezone, now=now, by_bot=by_bot)
    return Explanation(
        username=username,
        event_type=context.event_type.code,
        reason=concerned.reason,
        told=isinstance(decision, Told),
        why=decision.why,
        trace=_trace(concerned.reason, trace, [Step(Rule.SCHEDULE, str(wait))] if wait else []),
    )


def explain_unstored(connection: Connection, given: EventIn, username: str) -> Explanation:
    """
    The same for an event that is not stored.

    It is stored with a new key, so that the directory learns from it; the caller must roll back.
    """
    (receipt,) = receive(connection, [given.model_copy(update={"key": None})])
    event = events.load(connection, [receipt.id])[receipt.id]
    return explain(connection, event, username)


def traces(connection: Connection, notifications: Sequence[NotificationView]) -> dict[int, tuple[Step, ...]]:
    """
    The rules as they would apply to each of these today, by notification id.

    What was decided when it was written is in the row. For a deferred or bundled one, the last step says when
    it leaves and as which job.
    A constant number of statements.
    """
    told_of = events.load(connection, sorted({one.event_id for one in notifications}))
    names = {one.username for one in notifications}
    known = Known(
        people=directory.people(connection, names | {event.actor for event in told_of.values()}),
        preferences=preferences.load(connection, names, topics={one.topic for one in notifications}),
        event_types=preferences.event_types(connection),
    )
    return {one.id: _trace_today(one, told_of[one.event_id], known) for one in notifications}


def _trace_today(one: NotificationView, event: Event, known: Known) -> tuple[Step, ...]:
    if event.is_withdrawn:
        return (Step(Rule.AUDIENCE, IS_WITHDRAWN),)
    leaves = _leaves(one, known)
    if one.event_type not in known.event_types:
        return (Step(Rule.AUDIENCE, NOT_YET[UNKNOWN_TYPE]), *leaves)
    reason = Reason(one.reason)
    concerned = AudienceMember(one.username, reason, one.event_type, already_told=one.why == Why.ALREADY_TOLD)
    _, trace = resolve(*decision_inputs(event, concerned, known))
    return _trace(reason, trace, leaves)


def _leaves(one: NotificationView, known: Known) -> tuple[Step, ...]:
    """When its email leaves, and as which job; nothing unless it is deferred or bundled."""
    if one.due_at is None:
        return ()
    own, person = known.preferences.get(one.username, NO_PREFERENCES), known.people.get(one.username)
    at = clock(own.schedule.timezone or (person.timezone if person else None))
    there = one.due_at.astimezone(at.zone)
    if one.deferred_by:
        found = str(Deferral(one.due_at, DeferredBy(one.deferred_by), at))
    elif one.status == JobStatus.PENDING and one.why is None and one.due_at > one.created_at:
        found = f"leaves at {there:%Y-%m-%d %H:%M} {there.tzname()}"
    else:
        return ()
    return (Step(Rule.SCHEDULE, f"{found}, in job {one.job_id}"),)


def _trace(reason: Reason, rules: Sequence[Step], schedule: Sequence[Step]) -> tuple[Step, ...]:
    return (Step(Rule.AUDIENCE, f"is concerned as {reason}"), *rules, *schedule)


def _others(audience: Sequence[AudienceMember]) -> str:
    """Who is in the audience instead."""
    named = ", ".join(f"{one.username} ({one.reason})" for one in audience[:MAX_NAMES])
    more = len(audience) - MAX_NAMES
    return f"the event concerns {named or 'nobody'}" + (f" and {more} more" if more > 0 else "")


def _not_concerned(event: Event, username: str, *, why: str, found: str) -> Explanation:
    return Explanation(
        username=username,
        event_type=event.type,
        reason=None,
        told=False,
        why=why,
        trace=(Step(Rule.AUDIENCE, found),),
    )
