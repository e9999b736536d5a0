"""
When an email may be sent: a person's digest, quiet hours and pause, in their own time zone.

All notifications deferred until the same instant share one email; none is dropped. Required emails are never deferred.

Decided: if the clock skips a digest's hour, the digest is sent right after the gap; if the hour comes twice, at the
    first. Quiet hours last until the last time the clock shows their end.
Decided: a digest due during quiet hours or a pause is sent when they end, and is still a digest.
Decided: quiet hours over midnight belong to the weekday on which they begin.
Rejected: comparing wall-clock readings for quiet hours; when clocks go back they would end, begin and end again.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
MAX_DAYS_AHEAD = 15
PLAUSIBLE = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

_zones = lru_cache(maxsize=1)(available_timezones)


class Mode(StrEnum):
    """How often a person wants emails that are not required."""

    REALTIME = "realtime"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"


class DeferredBy(StrEnum):
    """Why an email is deferred."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    QUIET_HOURS = "quiet_hours"
    PAUSE = "pause"

    @property
    def is_digest(self) -> bool:
        """Whether the reason is a digest."""
        return self not in {DeferredBy.QUIET_HOURS, DeferredBy.PAUSE}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """
    Hours without emails, in local time.

    Args:
        days: ISO weekdays on which they begin; 1 is Monday.
        end: After ``start``: the same day; before it: the next day. Never equal.
    """

    days: frozenset[int]
    start: time
    end: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """
    When a person wants emails; the defaults apply when nothing is stored.

    Args:
        hour: Of the daily and the weekly digest, in local time.
        weekday: ISO weekday of the weekly digest; 1 is Monday.
        timezone: IANA name; None: the directory's.
        paused_until: None: not paused.
    """

    mode: Mode = Mode.REALTIME
    hour: int = 9
    weekday: int = 1
    timezone: str | None = None
    quiet_hours: QuietHours | None = None
    paused_until: datetime | None = None


IMMEDIATE = Schedule()


@dataclass(frozen=True, slots=True)
class Clock:
    """A time zone. ``warning`` says why it is UTC although another zone was configured; None: all is well."""

    zone: tzinfo
    warning: str | None = None


@dataclass(frozen=True, slots=True)
class Deferral:
    """Until when an email waits (aware UTC), why, and in which time zone."""

    until: datetime
    by: DeferredBy
    clock: Clock = Clock(UTC)

    def __str__(self) -> str:
        """A sentence fragment for people."""
        name = self.by.replace("_", " ")
        what = f"the {name} digest" if self.by.is_digest else f"the end of the {name}"
        there = self.until.astimezone(self.clock.zone)
        warning = f" ({self.clock.warning})" if self.clock.warning else ""
        return f"waits for {what} at {there:%Y-%m-%d %H:%M} {there.tzname()}{warning}"


def is_zone(name: str) -> bool:
    """Whether this is a time zone of the IANA database."""
    return name in _zones()


def is_plausible(at: datetime) -> bool:
    """Whether the instant is in this century; others are typos."""
    return PLAUSIBLE[0] <= at < PLAUSIBLE[1]


@lru_cache(maxsize=1_000)
def clock(name: str | None) -> Clock:
    """The clock of this time zone; UTC if the name is None or, with a warning, unknown."""
    try:
        return Clock(ZoneInfo(name)) if name else Clock(UTC)
    except (KeyError, OSError, ValueError):
        return Clock(UTC, f"the time zone {name!r} is unknown: UTC")


def defer(schedule: Schedule, *, home: str | None, now: datetime, by_bot: bool = False) -> Deferral | None:
    """
    Until when an optional email is deferred, and why; None: it may be sent *now*.

    That is the first instant outside quiet hours and pause, starting from the digest's hour if there is a digest.

    Args:
        home: The person's time zone in the directory.
        by_bot: A bot is the actor; such emails wait for the daily digest unless the person has another.
    """
    mode = Mode.DAILY if by_bot and schedule.mode is Mode.REALTIME else schedule.mode
    if mode is Mode.REALTIME:
        return quiet_until(schedule, home=home, now=now)
    digest = DeferredBy(mode)
    at = clock(schedule.timezone or home)
    slot = _next_digest(digest, schedule, now=now, zone=at.zone)
    later = quiet_until(schedule, home=home, now=slot)
    return Deferral(later.until if later else slot, digest, at)


def quiet_until(schedule: Schedule, *, home: str | None, now: datetime) -> Deferral | None:
    """When the current pause and quiet hours are over; None: *now* is in neither."""
    if schedule.quiet_hours is None and schedule.paused_until is None:
        return None
    at = clock(schedule.timezone or home)
    until, by = now, DeferredBy.PAUSE
    if schedule.paused_until and schedule.paused_until > now:
        until = schedule.paused_until.astimezone(UTC)
    while schedule.quiet_hours and (ends := _end_of_quiet_hours(schedule.quiet_hours, until, at.zone)):
        until, by = ends, DeferredBy.QUIET_HOURS
    return Deferral(until, by, at) if until > now else None


def utc_of(day: date, at: time, zone: tzinfo, *, last: bool = False) -> datetime:
    """
    The first (or last) instant at which the clock shows this local time; if it skips it, the end of the gap.

    Source: PEP 495: for a time in a gap, fold 0 uses the offset before it and so is the later instant.
    """
    wall = datetime.combine(day, at, zone)
    first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if first <= second:
        return second if last else first
    seconds = range(int(second.timestamp()), int(first.timestamp()))
    after = first.astimezone(zone).utcoffset()
    index = bisect_left(seconds, x=True, key=lambda one: datetime.fromtimestamp(one, zone).utcoffset() == after)
    return datetime.fromtimestamp(seconds[0] + index, UTC)


def _next_digest(digest: DeferredBy, schedule: Schedule, *, now: datetime, zone: tzinfo) -> datetime:
    """When the next digest is due, which may be now."""
    there = now.astimezone(zone)
    if digest is DeferredBy.HOURLY:
        into = timedelta(minutes=there.minute, seconds=there.second, microseconds=there.microsecond)
        return now + HOUR - into if into else now
    days = (there.date() + ahead * DAY for ahead in range(MAX_DAYS_AHEAD))
    wanted = (day for day in days if digest is DeferredBy.DAILY or day.isoweekday() == schedule.weekday)
    slots = (utc_of(day, time(schedule.hour), zone) for day in wanted)
    return next(slot for slot in slots if slot >= now)


def _end_of_quiet_hours(quiet: QuietHours, at: datetime, zone: tzinfo) -> datetime | None:
    """When the quiet hours around *at* end; None: it is outside them."""
    today = at.astimezone(zone).date()
    for day in (today - DAY, today):
        ends_on = day if quiet.start < quiet.end else day + DAY
        ends = utc_of(ends_on, quiet.end, zone, last=True)
        if day.isoweekday() in quiet.days and utc_of(day, quiet.start, zone) <= at < ends:
            return ends
    return None
