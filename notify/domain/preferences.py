"""People, event types, and what people prefer."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from notify.domain.schedule import IMMEDIATE, Schedule


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """
    Somebody in the directory.

    ``email`` None: unknown. ``undeliverable_email`` is an address that a relay refused permanently; it matters only
    while it is still the person's address.
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
        """The display name, or else the username."""
        return self.display_name or self.username


@dataclass(frozen=True, slots=True, kw_only=True)
class Preferences:
    """
    What a person has stored; the defaults apply when nothing is stored.

    Args:
        enabled: The master switch.
        email: Overrides the directory's address; None: the directory's.
        preferences: Which event types are on or off, by code; a missing code: the type's default.
        muted_cls: Links of muted change lists.
        subscribed_cls: Links of subscribed change lists.
        participating: The person wants emails about change lists they have commented on.
        own_actions: The person wants emails about their own actions.
        mentions_pierce_mutes: A mention on a muted change list is sent anyway.
        schedule: When emails are sent.
    """

    enabled: bool = True
    email: str | None = None
    preferences: Mapping[str, bool] = field(default_factory=dict)
    muted_cls: frozenset[str] = frozenset()
    subscribed_cls: frozenset[str] = frozenset()
    participating: bool = False
    own_actions: bool = False
    mentions_pierce_mutes: bool = False
    schedule: Schedule = IMMEDIATE


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

    def is_on(self, preference: bool | None) -> bool:
        """Whether a person with this preference gets emails of this type; None: nothing stored."""
        return self.system_required or (self.default_enabled if preference is None else preference)
