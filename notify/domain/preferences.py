"""People, their preferences, and the event types that those are about."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from notify.domain.schedule import AT_ONCE, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """
    Somebody in the directory.

    ``email`` None means no address is known. ``undeliverable_email`` is the address a relay has
    refused for good; it counts only while it is still the person's address.
    """

    username: str
    email: str | None = None
    display_name: str | None = None
    locale: str | None = None
    timezone: str | None = None
    is_bot: bool = False
    active: bool = True
    undeliverable_email: str | None = None

    @property
    def name(self) -> str:
        """What to call the person: the display name, or else the username."""
        return self.display_name or self.username


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """
    What a person has stored. The defaults are what holds when nothing is stored.

    Args:
        enabled: The master switch.
        email: Where emails go instead of the directory's address; None means the directory's.
        preferences: Whether emails of an event type are wanted, by its code; a missing code means the type's default.
        muted_cls: Links of the change lists that the person has muted.
        subscribed_cls: Links of the change lists about which the person has asked for emails.
        participating: Whether change lists on which the person has said something concern them.
        own_actions: Whether the person wants emails about what they do themselves.
        mentions_pierce_mutes: Whether a mention reaches the person on a muted change list.
        schedule: When emails arrive.
    """

    enabled: bool = True
    email: str | None = None
    preferences: Mapping[str, bool] = field(default_factory=dict)
    muted_cls: frozenset[str] = frozenset()
    subscribed_cls: frozenset[str] = frozenset()
    participating: bool = False
    own_actions: bool = False
    mentions_pierce_mutes: bool = False
    schedule: Schedule = AT_ONCE


NO_PREFERENCES = Preferences()


@dataclass(frozen=True, slots=True, kw_only=True)
class EventType:
    """
    One kind of event people can switch on and off, unless it is ``system_required``.

    ``bundle_within``: later notifications for the same person and topic are bundled for this long; None means
    the deployment's default, zero never.
    """

    code: str
    category: str
    description: str
    system_required: bool = False
    default_enabled: bool = True
    bundle_within: timedelta | None = None

    def is_on(self, chosen: bool | None) -> bool:
        """Whether a person has emails of this kind who has stored this about it; None: nothing."""
        return self.system_required or (self.default_enabled if chosen is None else chosen)
