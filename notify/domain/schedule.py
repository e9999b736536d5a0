"""
When an email may go: a person's digests, quiet hours and pause, by the clock where the person lives.

All that is deferred until the same instant leaves as one email; nothing is dropped.
What is required is never asked about here: it goes at once.

Decided: a digest's hour that the clock skips is the first instant after the gap, one that it shows twice is the
    first; quiet hours last until the clock shows their end for the last time.
Decided: a digest that falls into quiet hours or a pause leaves when they end, and is still a digest.
Decided: the weekday of quiet hours over midnight is that of their beginning.
Rejected: the clock's reading alone as the rule for quiet hours; in the hour that an autumn night has twice
    they would end, begin and end again.
"""

from bisect import bisect_left
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from enum import StrEnum
from functools import lru_cache
from zoneinfo import ZoneInfo, available_timezones

DAY = timedelta(days=1)
HOUR = timedelta(hours=1)
DAYS_AHEAD = 15
FORESEEABLE = (datetime(2000, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))

_zones = lru_cache(maxsize=1)(available_timezones)


class Mode(StrEnum):
    """How a person wants emails that are not required."""

    REALTIME = "realtime"
    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"


class DeferredBy(StrEnum):
    """What an email waits for."""

    HOURLY = "hourly"
    DAILY = "daily"
    WEEKLY = "weekly"
    QUIET_HOURS = "quiet_hours"
    PAUSE = "pause"

    @property
    def is_digest(self) -> bool:
        """Whether it is the hour of a digest."""
        return self not in {DeferredBy.QUIET_HOURS, DeferredBy.PAUSE}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuietHours:
    """
    Hours in which no email comes, by the wall clock.

    Args:
        days: ISO weekdays on which they begin; 1 is Monday.
        end: Not before ``start``: the same day; before it: the next. Never the same.
    """

    days: frozenset[int]
    start: time
    end: time


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """
    When a person wants emails. The defaults are what holds when nothing is stored.

    Args:
        hour: Of the daily and the weekly digest.
        weekday: ISO weekday of the weekly digest; 1 is Monday.
        timezone: IANA name, instead of the directory's; None means the directory's.
        paused_until: No email before this instant; None: not paused.
    """

    mode: Mode = Mode.REALTIME
    hour: int = 9
    weekday: int = 1
    timezone: str | None = None
    quiet_hours: QuietHours | None = None
    paused_until: datetime | None = None


AT_ONCE = Schedule()


@dataclass(frozen=True, slots=True)
class Clock:
    """A person's wall clock. ``trouble`` says why it shows UTC although another zone was named; None: it does not."""

    zone: tzinfo
    trouble: str | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """That an email waits: until when (aware UTC), for what, and by which clock."""

    until: datetime
    by: DeferredBy
    clock: Clock = Clock(UTC)

    def __str__(self) -> str:
        """For people who wonder where it is."""
        name = self.by.replace("_", " ")
        what = f"the {name} digest" if self.by.is_digest else f"the end of the {name}"
        there = self.until.astimezone(self.clock.zone)
        trouble = f" ({self.clock.trouble})" if self.clock.trouble else ""
        return f"waits for {what} at {there:%Y-%m-%d %H:%M} {there.tzname()}{trouble}"


def is_zone(name: str) -> bool:
    """Whether it is a zone of the IANA database."""
    return name in _zones()


def is_foreseeable(at: datetime) -> bool:
    """Whether anybody can mean it: it is not in another century."""
    return FORESEEABLE[0] <= at < FORESEEABLE[1]


@lru_cache(maxsize=1_000)
def clock(name: str | None) -> Clock:
    """The clock in this time zone; UTC where none is named, and where none has this name, which is said."""
    try:
        return Clock(ZoneInfo(name)) if name else Clock(UTC)
    except (KeyError, OSError, ValueError):
        return Clock(UTC, f"the time zone {name!r} is unknown: UTC")


def defer(schedule: Schedule, *, home: str | None, now: datetime, by_bot: bool = False) -> Wait | None:
    """
    Until when an optional email waits that could go *now*, and for what; None: it waits for nothing.

    The instant is the first that is in neither quiet hours nor the pause, from the digest's hour on where it is
    for a digest.

    Args:
        home: The person's time zone in the directory.
        by_bot: Whether a bot did what it tells of; that waits for the daily digest unless the person has another.
    """
    mode = Mode.DAILY if by_bot and schedule.mode is Mode.REALTIME else schedule.mode
    if mode is Mode.REALTIME:
        return rest(schedule, home=home, now=now)
    digest = DeferredBy(mode)
    at = clock(schedule.timezone or home)
    slot = _slot(digest, schedule, now=now, zone=at.zone)
    later = rest(schedule, home=home, now=slot)
    return Wait(later.until if later else slot, digest, at)


def rest(schedule: Schedule, *, home: str | None, now: datetime) -> Wait | None:
    """How long the pause or the quiet hours last in which *now* is, one after the other; None: it is in neither."""
    if schedule.quiet_hours is None and schedule.paused_until is None:
        return None
    at = clock(schedule.timezone or home)
    until, by = now, DeferredBy.PAUSE
    if schedule.paused_until and schedule.paused_until > now:
        until = schedule.paused_until.astimezone(UTC)
    while schedule.quiet_hours and (ends := _quiet_until(schedule.quiet_hours, until, at.zone)):
        until, by = ends, DeferredBy.QUIET_HOURS
    return Wait(until, by, at) if until > now else None


def instant(day: date, at: time, zone: tzinfo, *, last: bool = False) -> datetime:
    """
    When the clock shows this, the first time or the last; the end of the gap where it never does.

    Source: PEP 495: of a time in a gap, fold 0 is read with the offset before it and so is the later instant.
    """
    wall = datetime.combine(day, at, zone)
    first, second = wall.astimezone(UTC), wall.replace(fold=1).astimezone(UTC)
    if first <= second:
        return second if last else first
    seconds = range(int(second.timestamp()), int(first.timestamp()))
    after = first.astimezone(zone).utcoffset()
    index = bisect_left(seconds, x=True, key=lambda one: datetime.fromtimestamp(one, zone).utcoffset() == after)
    return datetime.fromtimestamp(seconds[0] + index, UTC)


def _slot(digest: DeferredBy, schedule: Schedule, *, now: datetime, zone: tzinfo) -> datetime:
    """When the next digest is, which may be now."""
    there = now.astimezone(zone)
    if digest is DeferredBy.HOURLY:
        into = timedelta(minutes=there.minute, seconds=there.second, microseconds=there.microsecond)
        return now + HOUR - into if into else now
    days = (there.date() + ahead * DAY for ahead in range(DAYS_AHEAD))
    wanted = (day for day in days if digest is DeferredBy.DAILY or day.isoweekday() == schedule.weekday)
    slots = (instant(day, time(schedule.hour), zone) for day in wanted)
    return next(slot for slot in slots if slot >= now)


def _quiet_until(quiet: QuietHours, at: datetime, zone: tzinfo) -> datetime | None:
    """When the quiet hours end in which *at* is; None: it is in none."""
    today = at.astimezone(zone).date()
    for day in (today - DAY, today):
        ends_on = day if quiet.start < quiet.end else day + DAY
        ends = instant(ends_on, quiet.end, zone, last=True)
        if day.isoweekday() in quiet.days and instant(day, quiet.start, zone) <= at < ends:
            return ends
    return None
