"""The schedule on the preferences page: what the page shows of it, and what a posted form says about it."""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, time
from gettext import NullTranslations
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from notify.channels.languages import marked, weekdays
from notify.domain.preferences import Person
from notify.domain.schedule import Mode, QuietHours, Schedule, clock, instant, is_foreseeable, is_zone
from notify.http.pages import Refusal
from notify.store.directory.preferences import StoredSettings, quiet_columns
from notify.web.forms import Form, values

MODES: Mapping[Mode, str] = MappingProxyType(
    {
        Mode.REALTIME: marked("At once"),
        Mode.HOURLY: marked("In an hourly digest"),
        Mode.DAILY: marked("In a daily digest"),
        Mode.WEEKLY: marked("In a weekly digest"),
    }
)
WEEKDAYS = range(1, 8)
USUAL_NIGHT = (time(22), time(7))
TO_THE_MINUTE = "%Y-%m-%dT%H:%M"
NOT_THE_FORM = marked("Nothing was changed: expected the form of this page.")
NO_SUCH_TIMEZONE = marked("Nothing was changed: there is no such time zone. Expected a name such as Europe/Berlin.")
NO_SUCH_QUIET_HOURS = marked("Nothing was changed: quiet hours need two different times, such as 22:00 and 07:00.")
NO_SUCH_PAUSE = marked("Nothing was changed: a pause needs a day and a time, such as 2026-03-02T09:00.")


def facts(schedule: Schedule, person: Person, *, language: str, words: NullTranslations) -> dict[str, Any]:
    hours = schedule.quiet_hours
    start, end = (hours.start, hours.end) if hours else USUAL_NIGHT
    return {
        "modes": [(mode.value, words.gettext(said), mode is schedule.mode) for mode, said in MODES.items()],
        "hour": schedule.hour,
        "weekdays": list(enumerate(weekdays(language), start=1)),
        "weekday": schedule.weekday,
        "timezone": schedule.timezone or "",
        "home": person.timezone or "UTC",
        "quiet_days": hours.days if hours else frozenset(),
        "quiet_start": f"{start:%H:%M}",
        "quiet_end": f"{end:%H:%M}",
        "paused_until": _wall(schedule, person),
    }


def settings(posted: Form, *, before: Schedule, person: Person) -> StoredSettings:
    """The settings in the form; none if it did not show the schedule."""
    fields = defaultdict(str, posted)
    if not fields["shown_schedule"]:
        return StoredSettings()
    zone = fields["timezone"].strip() or None
    # A stored zone that is unknown here must not keep the person from changing something else.
    if zone and zone != before.timezone and not is_zone(zone):
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_TIMEZONE)
    with _refusing(NOT_THE_FORM):
        stated = StoredSettings(
            delivery_mode=Mode(fields["mode"]).value,
            digest_hour=_number(fields["hour"], range(24)),
            digest_weekday=_number(fields["weekday"], WEEKDAYS),
            timezone=zone,
        )
        days = frozenset(_number(day, WEEKDAYS) for day in values(posted, "quiet_day"))
    with _refusing(NO_SUCH_QUIET_HOURS):
        stated |= quiet_columns(_quiet_hours(days, fields["quiet_start"], fields["quiet_end"]) if days else None)
    if zone != before.timezone or fields["paused_until"] != _wall(before, person):
        with _refusing(NO_SUCH_PAUSE):
            stated["paused_until"] = _paused_until(fields["paused_until"], zone or person.timezone)
    return stated


def _wall(schedule: Schedule, person: Person) -> str:
    """The end of the pause in the person's time zone; empty: no pause."""
    if schedule.paused_until is None:
        return ""
    zone = clock(schedule.timezone or person.timezone).zone
    return f"{schedule.paused_until.astimezone(zone):{TO_THE_MINUTE}}"


@contextmanager
def _refusing(words: str) -> Iterator[None]:
    try:
        yield
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, words) from None


def _number(stated: str, allowed: range) -> int:
    if not (stated.isascii() and stated.isdigit() and int(stated) in allowed):
        raise ValueError(stated)
    return int(stated)


def _quiet_hours(days: frozenset[int], *walls: str) -> QuietHours:
    start, end = (datetime.strptime(wall, "%H:%M").time() for wall in walls)  # noqa: DTZ007 - a wall clock's reading
    if start == end:
        raise ValueError(end)
    return QuietHours(days=days, start=start, end=end)


def _paused_until(stated: str, timezone: str | None) -> datetime | None:
    if not stated:
        return None
    wall = datetime.strptime(stated, TO_THE_MINUTE)  # noqa: DTZ007 - a wall clock's reading
    if not is_foreseeable(wall.replace(tzinfo=UTC)):
        raise ValueError(stated)
    return instant(wall.date(), wall.time(), clock(timezone).zone)
