"""Event types of other packages: what such a package states, and whom its events concern."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from re import compile as pattern

from notify.domain.audience import STRENGTH, AudienceMember, InvolvedPeople
from notify.domain.errors import NotifyError
from notify.domain.events import Event

RESERVED = ("cl.", "queue.", "source.", "status.")
LONGEST_WINDOW = timedelta(days=1)
MAX_CODE = 100
MAX_LABEL = 200

_CODE = pattern(r"[a-z][a-z0-9_]*(\.[a-z][a-z0-9_]*)+")

AudienceFunction = Callable[[Event, InvolvedPeople], Iterable[AudienceMember]]


class BadAudience(NotifyError):
    """The audience function of an event type returned something else than AudienceMembers that leave the type out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CustomEventType:
    """
    An event type of another package, which names it by an entry point of the group ``notify.event_types``.

    Its events are about change lists and may have a ``change``.

    Args:
        code: Such as ``acme.build.failed``.
        category: Group on the preferences page.
        description: Label on the preferences page.
        audience: Whom an event concerns, and why. Workers call it, perhaps several times: it must be a pure function.
        templates: A folder laid out like ``NOTIFY_TEMPLATES_DIR``: ``email/CODE/subject.txt``, ``body.txt``,
            ``body.html``; a ``locale``, if there are translations.
        system_required: Nobody can switch it off.
        default_enabled: Whether it is on for people who have stored no preference.
        expires_after: For how long its emails are still sent.
        bundle_within: For how long they are bundled; None: ``NOTIFY_BUNDLE_SECONDS``.
    """

    code: str
    category: str
    description: str
    audience: AudienceFunction
    templates: Path
    system_required: bool = False
    default_enabled: bool = True
    expires_after: timedelta = timedelta(hours=72)
    bundle_within: timedelta | None = None


def faults_of(one: CustomEventType) -> list[str]:
    """What is wrong with it and what was expected; the folder is not looked at."""
    is_window = one.bundle_within is None or timedelta(0) <= one.bundle_within <= LONGEST_WINDOW
    checks = {
        f"code {one.code!r}: expected lower-case words with dots, such as acme.build.failed": _is_code(one.code),
        f"code {one.code!r}: {', '.join(RESERVED)} are notify's own": not str(one.code).startswith(RESERVED),
        f"category: expected up to {MAX_LABEL} characters": _is_label(one.category),
        f"description: expected up to {MAX_LABEL} characters": _is_label(one.description),
        "audience: expected a function": callable(one.audience),
        "templates: expected a Path": isinstance(one.templates, Path),
        "expires_after: expected more than zero": one.expires_after > timedelta(0),
        "bundle_within: expected zero to a day, or None": is_window,
    }
    return [fault for fault, is_right in checks.items() if not is_right]


def members_of(one: CustomEventType, event: Event, involved: InvolvedPeople) -> tuple[AudienceMember, ...]:
    """
    Everyone whom the event concerns, each once, with their strongest reason.

    Raises:
        BadAudience: The type's function returned something else.
    """
    strongest: dict[str, AudienceMember] = {}
    for member in sorted(_checked(one, one.audience(event, involved)), key=_strength):
        strongest.setdefault(member.username, member)
    return tuple(strongest.values())


def _checked(one: CustomEventType, returned: object) -> list[AudienceMember]:
    members = list(returned) if isinstance(returned, Iterable) else [returned]
    found = [member for member in members if isinstance(member, AudienceMember) and member.event_type is None]
    if len(found) < len(members):
        raise BadAudience(type=one.code)
    return found


def _is_code(code: object) -> bool:
    return isinstance(code, str) and len(code) <= MAX_CODE and _CODE.fullmatch(code) is not None


def _is_label(label: object) -> bool:
    return isinstance(label, str) and label.isprintable() and 0 < len(label.strip()) <= MAX_LABEL


def _strength(member: AudienceMember) -> int:
    return STRENGTH.index(member.reason)
