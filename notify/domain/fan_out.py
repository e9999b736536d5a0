"""The decision who is told about an event, and why not. One pure function answers everywhere."""

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
    What is asked about a person and an event, in this order; the first that matches decides.

    Whom the event concerns at all (``audience``) is settled before ``resolve``, which asks the others. When the
    email leaves (``schedule``) is decided afterwards.
    """

    AUDIENCE = "audience"
    ADDRESS = "address"
    REQUIRED = "required"
    ACTOR = "actor"
    BOT = "bot"
    MASTER_SWITCH = "master_switch"
    MUTE = "mute"
    ROLE = "role"
    CHOICE = "choice"
    DEFAULT = "default"
    SCHEDULE = "schedule"


class Why(StrEnum):
    """What decided, in the order the rules are asked."""

    NO_ADDRESS = "no_address"
    BAD_ADDRESS = "bad_address"
    SYSTEM_REQUIRED = "system_required"
    IS_ACTOR = "is_actor"
    IS_BOT = "is_bot"
    MUTED_ALL = "muted_all"
    MUTED_CL = "muted_cl"
    UNSUBSCRIBED = "unsubscribed"
    NOT_PARTICIPATING = "not_participating"
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
    """One rule that was asked, and what it found. Only the last one decided."""

    rule: Rule
    found: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Occasion:
    """
    What one person may be told of.

    Args:
        event_type: The type under which the person is told.
        reason: Why the event concerns the person.
        by_bot: Whether the actor is a bot; emails about that let others go first.
    """

    event_type: EventType
    topic: str
    actor: str
    reason: Reason
    by_bot: bool = False


class _Case(NamedTuple):
    """What the rules are asked about. A tuple: each email makes one, and a dataclass takes three times as long."""

    person: Person
    address: str
    preferences: Preferences
    occasion: Occasion

    @property
    def chosen(self) -> bool | None:
        return self.preferences.preferences.get(self.occasion.event_type.code)

    def told(self, why: Why) -> Told:
        return Told(self.address, Lane.BULK if self.occasion.by_bot else Lane.NORMAL, why)


_Answer = tuple[Decision | None, str]
# Reasons that hold only while the person wants them to.
ASKED_FOR = frozenset({Reason.SUBSCRIBER, Reason.PARTICIPANT})


def usable_address(person: Person, preferences: Preferences) -> str | None:
    """Where the person reads mail: their own address, else the directory's; None if refused for good or no address."""
    address = preferences.email or person.email
    return None if not address or address == person.undeliverable_email or not is_address(address) else address


def resolve(person: Person | None, preferences: Preferences, occasion: Occasion) -> tuple[Decision, tuple[Step, ...]]:
    """
    Whether one person is told about one event, and every rule that was asked on the way, in order.

    Args:
        person: None when the directory does not know the username.
    """
    case = _case(person, preferences, occasion)
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


def decide(person: Person | None, preferences: Preferences, occasion: Occasion) -> Decision:
    """The decision of ``resolve`` without its trace, for a third of its time: every email is asked about twice."""
    case = _case(person, preferences, occasion)
    if case is None:
        return _no_address(person, preferences)[0]
    for _, ask in _RULES:
        decision, _ = ask(case)
        if decision is not None:
            return decision
    return _default(case)[0]


def _case(person: Person | None, preferences: Preferences, occasion: Occasion) -> _Case | None:
    """What the rules are asked about; None where nobody could be told."""
    address = usable_address(person, preferences) if person and person.active else None
    return None if person is None or address is None else _Case(person, address, preferences, occasion)


def plain_address(
    person: Person | None, preferences: Preferences, event_type: EventType, *, actor: str, reason: Reason
) -> str | None:
    """
    The address at which ``decide`` tells an ordinary person, who has stored nothing, of what is on by default.

    None: ask ``decide``. Nearly every email passes here, at a fraction of what the rules cost.
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
    if case.occasion.event_type.system_required:
        return Told(case.address, Lane.URGENT, Why.SYSTEM_REQUIRED), "this kind of event is required"
    return None, "this kind of event is not required"


def _actor(case: _Case) -> _Answer:
    if case.person.username != case.occasion.actor:
        return None, "somebody else did it"
    if case.preferences.own_actions:
        return None, "did it, and wants emails about own actions"
    return NotTold(Why.IS_ACTOR), "did it"


def _bot(case: _Case) -> _Answer:
    if not case.person.is_bot:
        return None, "is no bot"
    if case.chosen:
        return None, "is a bot that this kind of event is switched on for"
    return NotTold(Why.IS_BOT), "is a bot"


def _master_switch(case: _Case) -> _Answer:
    return (None, "is on") if case.preferences.enabled else (NotTold(Why.MUTED_ALL), "is off")


def _mute(case: _Case) -> _Answer:
    if case.occasion.topic not in case.preferences.muted_cls:
        return None, "the change list is not muted"
    if case.occasion.reason is Reason.MENTIONED and case.preferences.mentions_pierce_mutes:
        return None, "the change list is muted, but not for mentions"
    return NotTold(Why.MUTED_CL), "the change list is muted"


def _role(case: _Case) -> _Answer:
    reason = case.occasion.reason
    if reason is Reason.SUBSCRIBER and case.occasion.topic not in case.preferences.subscribed_cls:
        return NotTold(Why.UNSUBSCRIBED), "is not subscribed any more"
    if reason is Reason.PARTICIPANT and not case.preferences.participating:
        return NotTold(Why.NOT_PARTICIPATING), "does not want emails for having said something"
    return None, "still has the role"


def _choice(case: _Case) -> _Answer:
    if case.chosen is None:
        return None, "has not chosen about this kind of event"
    if case.chosen:
        return case.told(Why.CHOSEN_EVENT), "has switched this kind of event on"
    return NotTold(Why.MUTED_EVENT), "has switched this kind of event off"


def _default(case: _Case) -> tuple[Decision, str]:
    if case.occasion.event_type.default_enabled:
        return case.told(Why.DEFAULT), "this kind of event is on by default"
    return NotTold(Why.DEFAULT), "this kind of event is off by default"


_RULES: tuple[tuple[Rule, Callable[[_Case], _Answer]], ...] = (
    (Rule.REQUIRED, _required),
    (Rule.ACTOR, _actor),
    (Rule.BOT, _bot),
    (Rule.MASTER_SWITCH, _master_switch),
    (Rule.MUTE, _mute),
    (Rule.ROLE, _role),
    (Rule.CHOICE, _choice),
)
