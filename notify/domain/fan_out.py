"""The decision who is told about an event, and why not. One pure function answers everywhere."""

from dataclasses import dataclass
from enum import IntEnum, StrEnum

from notify.domain.preferences import Choices, EventType, Person


class Priority(IntEnum):
    """Claim order; lower goes first."""

    URGENT = 0
    NORMAL = 1
    BULK = 2


class Why(StrEnum):
    """The rule that decided, in the order the rules are asked."""

    NO_ADDRESS = "no_address"
    SYSTEM_REQUIRED = "system_required"
    IS_ACTOR = "is_actor"
    IS_BOT = "is_bot"
    MUTED_ALL = "muted_all"
    MUTED_CL = "muted_cl"
    CHOSEN_EVENT = "chosen_event"
    MUTED_EVENT = "muted_event"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class Told:
    """The person gets a letter at this address."""

    to_email: str
    priority: Priority
    why: Why


@dataclass(frozen=True, slots=True)
class NotTold:
    """The person gets no letter, for this reason."""

    why: Why


Decision = Told | NotTold


def usable_address(person: Person, choices: Choices) -> str | None:
    """Where the person reads mail: their own choice, else the directory's; None if refused for good."""
    address = choices.email or person.email
    return None if address == person.undeliverable_email else address


def decide(person: Person | None, choices: Choices, *, event_type: EventType, cl_link: str, actor: str) -> Decision:  # noqa: PLR0911 - a list of rules reads best as one
    """
    Whether one person is told about one event. The first rule that matches decides.

    Args:
        person: None when the directory does not know the username.
    """
    address = usable_address(person, choices) if person and person.active else None
    if person is None or address is None:
        return NotTold(Why.NO_ADDRESS)
    if event_type.system_required:
        return Told(address, Priority.URGENT, Why.SYSTEM_REQUIRED)
    if person.username == actor:
        return NotTold(Why.IS_ACTOR)
    if person.is_bot:
        return NotTold(Why.IS_BOT)
    if not choices.enabled:
        return NotTold(Why.MUTED_ALL)
    if cl_link in choices.muted_cls:
        return NotTold(Why.MUTED_CL)
    chosen = choices.preferences.get(event_type.code)
    if chosen is not None:
        return Told(address, Priority.NORMAL, Why.CHOSEN_EVENT) if chosen else NotTold(Why.MUTED_EVENT)
    return Told(address, Priority.NORMAL, Why.DEFAULT) if event_type.default_enabled else NotTold(Why.DEFAULT)
