"""Decides who is notified about an event and why; the same function serves fan-out, recheck and ``explain``."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from notify.domain.audience import Reason
from notify.domain.claims import Lane
from notify.domain.grammar import is_address
from notify.domain.preferences import NO_PREFERENCES, EventType, Person, Preferences


class Rule(StrEnum):
    """
    The rules, in the order they are applied; the first that matches decides.

    ``resolve`` applies all but ``audience``, which comes before it, and ``schedule``, which comes after it.
    """

    AUDIENCE = "audience"
    ADDRESS = "address"
    REQUIRED = "required"
    ACTOR = "actor"
    BOT = "bot"
    MASTER_SWITCH = "master_switch"
    MUTE = "mute"
    ROLE = "role"
    PREFERENCE = "preference"
    DEFAULT = "default"
    SCHEDULE = "schedule"


class Why(StrEnum):
    """What decided, in the order of the rules."""

    NO_ADDRESS = "no_address"
    BAD_ADDRESS = "bad_address"
    SYSTEM_REQUIRED = "system_required"
    IS_ACTOR = "is_actor"
    IS_BOT = "is_bot"
    MUTED_ALL = "muted_all"
    MUTED_CL = "muted_cl"
    UNSUBSCRIBED = "unsubscribed"
    NOT_PARTICIPATING = "not_participating"
    ALREADY_TOLD = "already_told"
    CHOSEN_EVENT = "chosen_event"
    MUTED_EVENT = "muted_event"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Told:
    """The person gets an email at this address."""

    to_email: str
    lane: Lane
    why: Why


@dataclass(frozen=True, slots=True)
class NotTold:
    """The person gets no email, for this reason."""

    why: Why


Decision = Told | NotTold


@dataclass(frozen=True, slots=True)
class Step:
    """One applied rule and what it found. Only the last step decided."""

    rule: Rule
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EventContext:
    """
    An event, from the point of view of one person in its audience.

    Args:
        event_type: The type whose preferences apply.
        reason: Why the person is in the audience.
        by_bot: The actor is a bot; emails about its actions have low priority.
        already_told: An earlier event told them what this one would.
    """

    event_type: EventType
    topic: str
    actor: str
    reason: Reason
    by_bot: bool = False
    already_told: bool = False


class _Case(NamedTuple):
    """The input of the rules. A tuple, because a dataclass takes three times as long to make, once for each email."""

    person: Person
    address: str
    preferences: Preferences
    context: EventContext

    @property
    def preference(self) -> bool | None:
        return self.preferences.preferences.get(self.context.event_type.code)

    def told(self, why: Why) -> Told:
        return Told(self.address, Lane.BULK if self.context.by_bot else Lane.NORMAL, why)


_Answer = tuple[Decision | None, str]
# Reasons that apply only while the person wants them to.
ASKED_FOR = frozenset({Reason.SUBSCRIBER, Reason.PARTICIPANT})


def usable_address(person: Person, preferences: Preferences) -> str | None:
    """The person's own address, else the directory's; None if there is none or a relay refused it permanently."""
    address = preferences.email or person.email
    return None if not address or address == person.undeliverable_email or not is_address(address) else address


def resolve(
    person: Person | None, preferences: Preferences, context: EventContext
) -> tuple[Decision, tuple[Step, ...]]:
    """
    Whether one person is notified about one event, and every rule applied, in order.

    Args:
        person: None if the username is not in the directory.
    """
    case = _case(person, preferences, context)
    if case is None:
        not_told, found = _no_address(person, preferences)
        return not_told, (Step(Rule.ADDRESS, found),)
    trace = [Step(Rule.ADDRESS, "has a usable address")]
    for rule, ask in _RULES:
        decision, found = ask(case)
        trace.append(Step(rule, found))
        if decision is not None:
            return decision, tuple(trace)
    by_default, found = _default(case)
    return by_default, (*trace, Step(Rule.DEFAULT, found))


def decide(person: Person | None, preferences: Preferences, context: EventContext) -> Decision:
    """The decision of ``resolve`` without the trace, in a third of the time; needed twice for each email."""
    case = _case(person, preferences, context)
    if case is None:
        return _no_address(person, preferences)[0]
    for _, ask in _RULES:
        decision, _ = ask(case)
        if decision is not None:
            return decision
    return _default(case)[0]


def _case(person: Person | None, preferences: Preferences, context: EventContext) -> _Case | None:
    """The input of the rules; None if the person cannot get email."""
    address = usable_address(person, preferences) if person and person.active else None
    return None if person is None or address is None else _Case(person, address, preferences, context)


def plain_address(
    person: Person | None, preferences: Preferences, event_type: EventType, *, actor: str, reason: Reason
) -> str | None:
    """
    Shortcut for ``decide``: the address of a person without stored preferences, for a type that is on by default.

    None: call ``decide``. Covers nearly every email at a fraction of the cost of the rules.
    """
    if preferences is not NO_PREFERENCES or person is None or reason in ASKED_FOR or person.username == actor:
        return None
    if person.is_bot or not person.active or event_type.system_required or not event_type.default_enabled:
        return None
    return usable_address(person, preferences)


def _no_address(person: Person | None, preferences: Preferences) -> tuple[Decision, str]:
    if person is None:
        return NotTold(Why.NO_ADDRESS), "the directory does not know the person"
    if not person.active:
        return NotTold(Why.NO_ADDRESS), "has left"
    address = preferences.email or person.email
    if address and not is_address(address):
        return NotTold(Why.BAD_ADDRESS), "has an address that no email can be sent to"
    return NotTold(Why.NO_ADDRESS), "has no usable address"


def _required(case: _Case) -> _Answer:
    if case.context.event_type.system_required:
        return Told(case.address, Lane.URGENT, Why.SYSTEM_REQUIRED), "this kind of event is required"
    return None, "this kind of event is not required"


def _actor(case: _Case) -> _Answer:
    if case.person.username != case.context.actor:
        return None, "somebody else did it"
    if case.preferences.own_actions:
        return None, "did it, and wants emails about own actions"
    return NotTold(Why.IS_ACTOR), "did it"


def _bot(case: _Case) -> _Answer:
    if not case.person.is_bot:
        return None, "is no bot"
    if case.preference:
        return None, "is a bot that this kind of event is switched on for"
    return NotTold(Why.IS_BOT), "is a bot"


def _master_switch(case: _Case) -> _Answer:
    return (None, "is on") if case.preferences.enabled else (NotTold(Why.MUTED_ALL), "is off")


def _mute(case: _Case) -> _Answer:
    if case.context.topic not in case.preferences.muted_cls:
        return None, "its topic is not muted"
    if case.context.reason is Reason.MENTIONED and case.preferences.mentions_pierce_mutes:
        return None, "its topic is muted, but not for mentions"
    return NotTold(Why.MUTED_CL), "its topic is muted"


def _role(case: _Case) -> _Answer:
    reason = case.context.reason
    if reason is Reason.SUBSCRIBER and case.context.topic not in case.preferences.subscribed_cls:
        return NotTold(Why.UNSUBSCRIBED), "is not subscribed any more"
    if reason is Reason.PARTICIPANT and not case.preferences.participating:
        return NotTold(Why.NOT_PARTICIPATING), "does not want emails for having said something"
    if case.context.already_told:
        return NotTold(Why.ALREADY_TOLD), "was told by an earlier event"
    return None, "still has the role"


def _preference(case: _Case) -> _Answer:
    if case.preference is None:
        return None, "has not chosen about this kind of event"
    if case.preference:
        return case.told(Why.CHOSEN_EVENT), "has switched this kind of event on"
    return NotTold(Why.MUTED_EVENT), "has switched this kind of event off"


def _default(case: _Case) -> tuple[Decision, str]:
    if case.context.event_type.default_enabled:
        return case.told(Why.DEFAULT), "this kind of event is on by default"
    return NotTold(Why.DEFAULT), "this kind of event is off by default"


_RULES: tuple[tuple[Rule, Callable[[_Case], _Answer]], ...] = (
    (Rule.REQUIRED, _required),
    (Rule.ACTOR, _actor),
    (Rule.BOT, _bot),
    (Rule.MASTER_SWITCH, _master_switch),
    (Rule.MUTE, _mute),
    (Rule.ROLE, _role),
    (Rule.PREFERENCE, _preference),
)
