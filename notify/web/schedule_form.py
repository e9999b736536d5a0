"""The schedule on the preferences page: the facts to show, and the settings that a posted form asks for."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from gettext import NullTranslations
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from notify.channels.languages import marked, moment, weekday_and_time, weekdays
from notify.domain.preferences import Person
from notify.domain.schedule import Mode, QuietHours, Schedule, clock, defer, is_plausible, is_zone, utc_of
from notify.http.pages import Refusal
from notify.store.directory.preferences import StoredSettings, quiet_columns
from notify.web import time_zones
from notify.web.forms import Form, values

MODES: Mapping[Mode, str] = MappingProxyType(
    {
        Mode.REALTIME: marked("Immediately"),
        Mode.HOURLY: marked("Hourly digest"),
        Mode.DAILY: marked("Daily digest"),
        Mode.WEEKLY: marked("Weekly digest"),
    }
)
WEEKDAYS = range(1, 8)
USUAL_NIGHT = (time(22), time(7))
WEEK = timedelta(days=7)
TO_THE_MINUTE = "%Y-%m-%dT%H:%M"
NOT_THE_FORM = marked("Nothing was changed: expected the form of this page.")
NO_SUCH_TIMEZONE = marked("Choose a time zone from the list, such as Europe/Berlin.")
NO_SUCH_QUIET_HOURS = marked("Quiet hours need two different times, such as 22:00 and 07:00.")
NO_SUCH_PAUSE = marked("A pause needs a date and a time, such as 2026-03-02 09:00.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleFields:
    """The fields of the form, as somebody types them."""

    mode: str
    hour: str
    weekday: str
    timezone: str
    quiet_days: frozenset[str]
    quiet_start: str
    quiet_end: str
    paused_until: str


def of_schedule(schedule: Schedule, person: Person) -> ScheduleFields:
    """The fields that show a stored schedule."""
    hours = schedule.quiet_hours
    start, end = (hours.start, hours.end) if hours else USUAL_NIGHT
    return ScheduleFields(
        mode=schedule.mode.value,
        hour=str(schedule.hour),
        weekday=str(schedule.weekday),
        timezone=schedule.timezone or "",
        quiet_days=frozenset(map(str, hours.days if hours else ())),
        quiet_start=f"{start:%H:%M}",
        quiet_end=f"{end:%H:%M}",
        paused_until=_pause_end(schedule, person),
    )


def of_form(posted: Form) -> ScheduleFields | None:
    """The fields as they were posted; None: the form did not show the schedule."""
    fields = defaultdict(str, posted)
    if not fields["shown_schedule"]:
        return None
    return ScheduleFields(
        mode=fields["mode"],
        hour=fields["hour"],
        weekday=fields["weekday"],
        timezone=fields["timezone"].strip(),
        quiet_days=frozenset(values(posted, "quiet_day")),
        quiet_start=fields["quiet_start"],
        quiet_end=fields["quiet_end"],
        paused_until=fields["paused_until"],
    )


def facts(
    shown: ScheduleFields, schedule: Schedule, person: Person, *, language: str, words: NullTranslations, now: datetime
) -> dict[str, Any]:
    """
    What the page says about the schedule.

    Args:
        shown: The fields, which may differ from the stored *schedule* if they were refused.
    """
    wait = defer(schedule, home=person.timezone, now=now) if schedule.mode is not Mode.REALTIME else None
    named = weekday_and_time if wait and wait.until - now <= WEEK else moment
    at = named(wait.until, language=language, timezone=schedule.timezone or person.timezone) if wait else None
    modes = [
        {
            "code": mode.value,
            "label": words.gettext(label),
            "chosen": mode.value == shown.mode,
            "next": at if mode is schedule.mode else None,
        }
        for mode, label in MODES.items()
    ]
    zones = time_zones.by_region(language)
    listed = {name for named in zones.values() for name, _ in named} | {"", "UTC"}
    return {
        "fields": shown,
        "modes": modes,
        "weekdays": [(str(number), name) for number, name in enumerate(weekdays(language), start=1)],
        "zones": zones,
        "unlisted_zone": None if shown.timezone in listed else shown.timezone,
        "home": person.timezone or "UTC",
    }


def settings(typed: ScheduleFields, *, before: Schedule, person: Person) -> tuple[StoredSettings, Mapping[str, str]]:
    """
    What to store, and what is wrong, by field.

    Raises:
        Refusal: The fields are not those of this form.
    """
    errors: dict[str, str] = {}
    zone = typed.timezone or None
    # A stored zone that is unknown here must not keep the person from changing something else.
    if zone and zone != before.timezone and not is_zone(zone):
        errors["timezone"] = NO_SUCH_TIMEZONE
    try:
        stated = StoredSettings(
            delivery_mode=Mode(typed.mode).value,
            digest_hour=_number(typed.hour, range(24)),
            digest_weekday=_number(typed.weekday, WEEKDAYS),
            timezone=zone,
        )
        days = frozenset(_number(day, WEEKDAYS) for day in typed.quiet_days)
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_THE_FORM) from None
    try:
        stated |= quiet_columns(_quiet_hours(days, typed.quiet_start, typed.quiet_end) if days else None)
    except ValueError:
        errors["quiet_hours"] = NO_SUCH_QUIET_HOURS
    if zone != before.timezone or typed.paused_until != _pause_end(before, person):
        try:
            stated["paused_until"] = _paused_until(typed.paused_until, zone or person.timezone)
        except ValueError:
            errors["paused_until"] = NO_SUCH_PAUSE
    return stated, errors


def _pause_end(schedule: Schedule, person: Person) -> str:
    """The end of the pause on the person's clock, as the form shows it; empty: no pause."""
    if schedule.paused_until is None:
        return ""
    zone = clock(schedule.timezone or person.timezone).zone
    return f"{schedule.paused_until.astimezone(zone):{TO_THE_MINUTE}}"


def _number(stated: str, allowed: range) -> int:
    if not (stated.isascii() and stated.isdigit() and int(stated) in allowed):
        raise ValueError(stated)
    return int(stated)


def _quiet_hours(days: frozenset[int], *times: str) -> QuietHours:
    start, end = (datetime.strptime(wall, "%H:%M").time() for wall in times)  # noqa: DTZ007 - a wall clock's reading
    if start == end:
        raise ValueError(end)
    return QuietHours(days=days, start=start, end=end)


def _paused_until(stated: str, timezone: str | None) -> datetime | None:
    if not stated:
        return None
    wall = datetime.strptime(stated, TO_THE_MINUTE)  # noqa: DTZ007 - a wall clock's reading
    if not is_plausible(wall.replace(tzinfo=UTC)):
        raise ValueError(stated)
    return utc_of(wall.date(), wall.time(), clock(timezone).zone)
