"""The part of the preferences page about time: what it shows of a schedule, and what its fields say."""

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, time
from gettext import NullTranslations
from http import HTTPStatus
from types import MappingProxyType
from typing import Any

from notify.channels.languages import marked, weekdays
from notify.domain.preferences import Person
from notify.domain.schedule import Mode, QuietHours, Schedule, clock, instant, is_foreseeable, is_zone
from notify.http.pages import Refusal
from notify.store.preferences import Settings, quiet
from notify.web.forms import Form

MODES: Mapping[Mode, str] = MappingProxyType(
    {
        Mode.REALTIME: marked("At once"),
        Mode.HOURLY: marked("Together, every hour"),
        Mode.DAILY: marked("Together, once a day"),
        Mode.WEEKLY: marked("Together, once a week"),
    }
)
USUAL_NIGHT = (time(22), time(7))
TO_THE_MINUTE = "%Y-%m-%dT%H:%M"
NOT_THE_FORM = marked("Nothing was changed: expected the form of this page.")
NO_SUCH_TIMEZONE = marked("Nothing was changed: there is no such time zone. Expected a name such as Europe/Berlin.")
NO_SUCH_QUIET_HOURS = marked("Nothing was changed: quiet hours need two different times, such as 22:00 and 07:00.")
NO_SUCH_PAUSE = marked("Nothing was changed: a pause needs a day and a time, such as 2026-03-02T09:00.")


def facts(schedule: Schedule, person: Person, *, language: str, words: NullTranslations) -> dict[str, Any]:
    """What the page shows of a schedule."""
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


def settings(posted: Form, *, before: Schedule, person: Person) -> Settings:
    """
    What the form says about time; nothing where it did not ask.

    Raises:
        Refusal: A field makes no sense.
    """
    fields = dict(posted)
    if "shown_schedule" not in fields:
        return Settings()
    stated = Settings(
        delivery_mode=_mode(fields),
        digest_hour=_number(fields, "hour", least=0, most=23),
        digest_weekday=_number(fields, "weekday", least=1, most=7),
        timezone=_timezone(fields, before),
    )
    stated |= quiet(_quiet_hours(posted, fields))
    if stated["timezone"] != before.timezone or fields.get("paused_until", "") != _wall(before, person):
        stated["paused_until"] = _paused_until(fields, stated["timezone"] or person.timezone)
    return stated


def changes(before: Schedule, now: Schedule, person: Person, *, language: str, words: NullTranslations) -> list[str]:
    """What is otherwise than it was, as sentences, in the order of the page."""
    said, days = words.gettext, weekdays(language)
    found = []
    if before.mode != now.mode:
        found.append(said(marked("Letters come: %(how)s")) % {"how": said(MODES[now.mode])})
    if (before.hour, before.weekday) != (now.hour, now.weekday):
        when = f"{now.hour:02}:00"
        when = f"{days[now.weekday - 1]}, {when}" if now.mode is Mode.WEEKLY else when
        found.append(said(marked("Digest: %(when)s")) % {"when": when})
    if before.timezone != now.timezone:
        found.append(said(marked("Time zone: %(name)s")) % {"name": now.timezone or person.timezone or "UTC"})
    if before.quiet_hours != now.quiet_hours:
        found.append(_said_of_quiet(now.quiet_hours, days, said))
    if before.paused_until != now.paused_until:
        until = _wall(now, person).replace("T", " ")
        found.append(
            said(marked("Paused until %(instant)s")) % {"instant": until} if until else said(marked("No pause"))
        )
    return found


def _said_of_quiet(hours: QuietHours | None, days: Sequence[str], said: Callable[[str], str]) -> str:
    if hours is None:
        return said(marked("No quiet hours"))
    return said(marked("Quiet hours: %(days)s, %(start)s to %(end)s")) % {
        "days": ", ".join(days[day - 1] for day in sorted(hours.days)),
        "start": f"{hours.start:%H:%M}",
        "end": f"{hours.end:%H:%M}",
    }


def _wall(schedule: Schedule, person: Person) -> str:
    """The end of the pause by the person's clock; empty where there is none."""
    if schedule.paused_until is None:
        return ""
    zone = clock(schedule.timezone or person.timezone).zone
    return f"{schedule.paused_until.astimezone(zone):{TO_THE_MINUTE}}"


def _mode(fields: Mapping[str, str]) -> str:
    try:
        return Mode(fields.get("mode", "")).value
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_THE_FORM) from None


def _number(fields: Mapping[str, str], name: str, *, least: int, most: int) -> int:
    stated = fields.get(name, "")
    if not (stated.isascii() and stated.isdigit() and len(stated) <= len(str(most)) and least <= int(stated) <= most):
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_THE_FORM)
    return int(stated)


def _timezone(fields: Mapping[str, str], before: Schedule) -> str | None:
    """A zone that is stored and unknown here is in nobody's way who changes something else."""
    name = fields.get("timezone", "").strip()
    if name == before.timezone:
        return name
    if name and not is_zone(name):
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_TIMEZONE)
    return name or None


def _quiet_hours(posted: Form, fields: Mapping[str, str]) -> QuietHours | None:
    days = {value for name, value in posted if name == "quiet_day"}
    if not days:
        return None
    if not days <= set("1234567"):
        raise Refusal(HTTPStatus.BAD_REQUEST, NOT_THE_FORM)
    try:
        start, end = (datetime.strptime(fields.get(name, ""), "%H:%M").time() for name in ("quiet_start", "quiet_end"))  # noqa: DTZ007 - a wall clock's reading
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_QUIET_HOURS) from None
    if start == end:
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_QUIET_HOURS)
    return QuietHours(days=frozenset(map(int, days)), start=start, end=end)


def _paused_until(fields: Mapping[str, str], timezone: str | None) -> datetime | None:
    stated = fields.get("paused_until", "")
    if not stated:
        return None
    try:
        wall = datetime.strptime(stated, TO_THE_MINUTE)  # noqa: DTZ007 - a wall clock's reading
    except ValueError:
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_PAUSE) from None
    if not is_foreseeable(wall.replace(tzinfo=UTC)):
        raise Refusal(HTTPStatus.BAD_REQUEST, NO_SUCH_PAUSE)
    return instant(wall.date(), wall.time(), clock(timezone).zone)
