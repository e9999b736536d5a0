"""
The event types of other packages in this environment, loaded when they are first asked for, once per process.

Decided: one that cannot be used is logged and left out, and stops no process: events of its type wait as those of an
    unknown type do, and everybody else gets their email. ``notify doctor`` names it.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, entry_points
from logging import getLogger

from notify.domain.custom_types import CustomEventType, faults_of
from notify.domain.errors import NotifyError

GROUP = "notify.event_types"
FILES = ("subject.txt", "body.txt", "body.html")

log = getLogger(__name__)


class UnusableEventType(NotifyError):
    """An event type cannot be used."""


@dataclass(frozen=True, slots=True)
class RefusedEntryPoint:
    """An entry point that is left out, the distribution that has it, and why."""

    name: str
    distribution: str
    why: str


@dataclass(frozen=True, slots=True)
class EntryPoints:
    """What was loaded, by code, and what was refused."""

    types: Mapping[str, CustomEventType]
    refused: tuple[RefusedEntryPoint, ...]


@cache
def custom_event_types() -> EntryPoints:
    """The event types of other packages; of several with one code, none."""
    found: list[tuple[EntryPoint, CustomEventType]] = []
    refused: list[RefusedEntryPoint] = []
    for entry in sorted(entry_points(group=GROUP), key=lambda one: (one.name, _distribution(one))):
        try:
            found.append((entry, _load(entry)))
        except UnusableEventType as error:
            refused.append(_refused(entry, str(error.facts["why"])))
    times = Counter(one.code for _, one in found)
    refused += [
        _refused(entry, f"{one.code} is stated {times[one.code]} times: {_stated_by(one.code, found)}")
        for entry, one in found
        if times[one.code] > 1
    ]
    for wrong in refused:
        log.error("event type %s of %s is left out: %s", wrong.name, wrong.distribution, wrong.why)
    return EntryPoints({one.code: one for _, one in found if times[one.code] == 1}, tuple(refused))


def _load(entry: EntryPoint) -> CustomEventType:
    """
    Raises:
        UnusableEventType: With ``why``.
    """
    try:
        return _checked(entry.load())
    except UnusableEventType:
        raise
    except Exception as error:  # whatever another package raises
        raise UnusableEventType(why=f"{entry.value} cannot be loaded: {type(error).__name__}: {error}") from error


def _checked(one: object) -> CustomEventType:
    if not isinstance(one, CustomEventType):
        raise UnusableEventType(why=f"expected a notify.CustomEventType, found {type(one).__name__}")
    if faults := faults_of(one) or _missing_files(one):
        raise UnusableEventType(why="; ".join(faults))
    return one


def _missing_files(one: CustomEventType) -> list[str]:
    folder = one.templates / "email" / one.code
    missing = [name for name in FILES if not (folder / name).is_file()]
    return [f"templates: {folder} lacks {', '.join(missing)}"] if missing else []


def _refused(entry: EntryPoint, why: str) -> RefusedEntryPoint:
    return RefusedEntryPoint(name=entry.name, distribution=_distribution(entry), why=why)


def _stated_by(code: str, found: list[tuple[EntryPoint, CustomEventType]]) -> str:
    return ", ".join(_distribution(entry) for entry, one in found if one.code == code)


def _distribution(entry: EntryPoint) -> str:
    return entry.dist.name if entry.dist else "an unknown distribution"
