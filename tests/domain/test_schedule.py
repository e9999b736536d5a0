"""When an email may go, as tables: digests, quiet hours and pauses, across clock changes."""

from datetime import UTC, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.schedule import (
    IMMEDIATE,
    Deferral,
    DeferredBy,
    Mode,
    QuietHours,
    Schedule,
    clock,
    defer,
    quiet_until,
)

EVERY_DAY = frozenset(range(1, 8))
WORKDAYS = frozenset(range(1, 6))
NIGHT = QuietHours(days=EVERY_DAY, start=time(22), end=time(7))
MONDAY = "2026-03-02"
MINUTE = timedelta(minutes=1)
BERLIN, NEW_YORK, LORD_HOWE = "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"


def at(text: str) -> datetime:
    """An instant from date, time and offset; UTC where no offset is given."""
    instant = datetime.fromisoformat(text)
    return instant if instant.tzinfo else instant.replace(tzinfo=UTC)


def digest(mode: str, *, hour: int = 9, weekday: int = 1) -> Schedule:
    return Schedule(mode=Mode(mode), hour=hour, weekday=weekday)


def quiet(start: str, end: str, *, days: frozenset[int] = EVERY_DAY) -> Schedule:
    hours = QuietHours(days=days, start=time.fromisoformat(start), end=time.fromisoformat(end))
    return Schedule(quiet_hours=hours)


@pytest.mark.parametrize(
    ("schedule", "home", "now", "until"),
    [
        pytest.param(digest("hourly"), None, f"{MONDAY}T12:20:30", f"{MONDAY}T13:00", id="the next full hour"),
        pytest.param(digest("hourly"), None, f"{MONDAY}T12:00", f"{MONDAY}T12:00", id="on the hour"),
        pytest.param(digest("hourly"), "Asia/Kathmandu", f"{MONDAY}T12:20", f"{MONDAY}T13:15", id="its own hour"),
        pytest.param(digest("daily"), None, f"{MONDAY}T08:59", f"{MONDAY}T09:00", id="today"),
        pytest.param(digest("daily"), None, f"{MONDAY}T09:00", f"{MONDAY}T09:00", id="at the hour"),
        pytest.param(digest("daily"), None, f"{MONDAY}T09:01", "2026-03-03T09:00", id="tomorrow"),
        pytest.param(digest("daily"), NEW_YORK, f"{MONDAY}T13:00", f"{MONDAY}T14:00", id="there it is earlier"),
        pytest.param(digest("weekly"), None, f"{MONDAY}T09:01", "2026-03-09T09:00", id="in a week"),
        pytest.param(digest("weekly", weekday=7), None, f"{MONDAY}T09:01", "2026-03-08T09:00", id="on Sunday"),
        pytest.param(digest("weekly", weekday=2), None, "2026-12-30T09:01", "2027-01-05T09:00", id="next year"),
        pytest.param(digest("daily", hour=2), BERLIN, "2026-03-28T12:00", "2026-03-29T01:00", id="Berlin skips it"),
        pytest.param(digest("daily", hour=2), BERLIN, "2026-10-24T12:00", "2026-10-25T00:00", id="Berlin has it twice"),
        pytest.param(digest("daily", hour=2), NEW_YORK, "2026-03-08T00:00", "2026-03-08T07:00", id="so does New York"),
        pytest.param(
            digest("daily", hour=1), NEW_YORK, "2026-11-01T00:00", "2026-11-01T05:00", id="New York has it twice"
        ),
        pytest.param(
            digest("daily", hour=2), LORD_HOWE, "2026-10-03T00:00", "2026-10-04T02:30+11:00", id="half an hour skipped"
        ),
        pytest.param(digest("daily"), BERLIN, "2026-03-28T12:00", "2026-03-29T07:00", id="nine o'clock in summer"),
        pytest.param(digest("daily"), BERLIN, "2026-10-24T12:00", "2026-10-25T08:00", id="nine o'clock in winter"),
    ],
)
def test_a_digest_leaves_at_its_hour_in_the_persons_time_zone(
    schedule: Schedule, home: str | None, now: str, until: str
) -> None:
    wait = defer(schedule, home=home, now=at(now))
    assert wait == Deferral(at(until), DeferredBy(schedule.mode), clock(home))


@pytest.mark.parametrize(
    ("schedule", "home", "now", "until"),
    [
        pytest.param(quiet("12:00", "13:00"), None, f"{MONDAY}T12:30", f"{MONDAY}T13:00", id="at noon"),
        pytest.param(quiet("22:00", "07:00"), None, f"{MONDAY}T23:00", "2026-03-03T07:00", id="before midnight"),
        pytest.param(quiet("22:00", "07:00"), None, f"{MONDAY}T06:59", f"{MONDAY}T07:00", id="after midnight"),
        pytest.param(quiet("22:00", "07:00"), None, f"{MONDAY}T07:00", None, id="over"),
        pytest.param(quiet("22:00", "07:00"), None, f"{MONDAY}T21:59", None, id="not yet"),
        pytest.param(quiet("22:00", "07:00", days=WORKDAYS), None, f"{MONDAY}T06:00", None, id="Sunday night is free"),
        pytest.param(
            quiet("22:00", "07:00", days=frozenset({7})),
            None,
            f"{MONDAY}T06:00",
            f"{MONDAY}T07:00",
            id="begun on Sunday",
        ),
        pytest.param(
            quiet("00:00", "23:59", days=frozenset({6, 7})), None, "2026-03-07T12:00", "2026-03-07T23:59", id="Saturday"
        ),
        pytest.param(quiet("22:00", "07:00"), BERLIN, f"{MONDAY}T21:30", "2026-03-03T06:00", id="there it is later"),
        pytest.param(quiet("22:00", "02:30"), BERLIN, "2026-03-28T22:00", "2026-03-29T01:00", id="its end is skipped"),
        pytest.param(quiet("22:00", "02:30"), BERLIN, "2026-10-25T00:40", "2026-10-25T01:30", id="its end comes twice"),
        pytest.param(quiet("02:30", "04:00"), BERLIN, "2026-10-25T01:10", "2026-10-25T03:00", id="it begins once"),
        pytest.param(
            quiet("02:30", "04:00"), BERLIN, "2026-03-29T01:00", "2026-03-29T02:00", id="its start is skipped"
        ),
        pytest.param(quiet("23:00", "01:45"), NEW_YORK, "2026-11-01T05:50", "2026-11-01T06:45", id="New York"),
        pytest.param(
            quiet("23:00", "02:15"), LORD_HOWE, "2026-10-03T15:00", "2026-10-04T02:30+11:00", id="half an hour skipped"
        ),
        pytest.param(quiet("03:00", "02:00"), BERLIN, "2026-03-28T12:00", "2026-03-30T02:00+02:00", id="two in a row"),
    ],
)
def test_quiet_hours_end_at_the_last_occurrence_of_their_end(
    schedule: Schedule, home: str | None, now: str, until: str | None
) -> None:
    wait = defer(schedule, home=home, now=at(now))
    assert wait == (Deferral(at(until), DeferredBy.QUIET_HOURS, clock(home)) if until else None)


@pytest.mark.parametrize(
    ("schedule", "until", "by"),
    [
        pytest.param(Schedule(paused_until=at(f"{MONDAY}T15:00")), f"{MONDAY}T15:00", DeferredBy.PAUSE, id="paused"),
        pytest.param(Schedule(paused_until=at(f"{MONDAY}T12:00")), None, None, id="over"),
        pytest.param(
            Schedule(paused_until=at(f"{MONDAY}T23:00"), quiet_hours=NIGHT),
            "2026-03-03T07:00",
            DeferredBy.QUIET_HOURS,
            id="paused into the night",
        ),
        pytest.param(
            Schedule(mode=Mode.DAILY, hour=23, quiet_hours=NIGHT),
            "2026-03-03T07:00",
            DeferredBy.DAILY,
            id="a digest by night",
        ),
        pytest.param(
            Schedule(mode=Mode.HOURLY, paused_until=at(f"{MONDAY}T15:30")),
            f"{MONDAY}T15:30",
            DeferredBy.HOURLY,
            id="a digest in a pause",
        ),
    ],
)
def test_overlapping_waits_last_until_the_end_of_all_of_them(
    schedule: Schedule, until: str | None, by: DeferredBy | None
) -> None:
    wait = defer(schedule, home=None, now=at(f"{MONDAY}T12:00"))
    assert (wait.until, wait.by) == (at(until), by) if wait and until else wait is None and until is None


@pytest.mark.parametrize(
    ("mode", "by"),
    [
        ("realtime", DeferredBy.DAILY),
        ("hourly", DeferredBy.HOURLY),
        ("daily", DeferredBy.DAILY),
        ("weekly", DeferredBy.WEEKLY),
    ],
)
def test_events_by_bots_wait_for_the_digest(mode: str, by: DeferredBy) -> None:
    wait = defer(digest(mode), home=None, now=at(f"{MONDAY}T12:00"), by_bot=True)
    assert wait is not None
    assert wait.by is by


def test_a_person_without_stored_preferences_waits_for_nothing() -> None:
    assert defer(IMMEDIATE, home="Mars/Base", now=at(f"{MONDAY}T03:00")) is None


def test_a_persons_chosen_time_zone_wins_over_the_directorys() -> None:
    schedule = Schedule(mode=Mode.DAILY, timezone="Asia/Tokyo")
    wait = defer(schedule, home=BERLIN, now=at(f"{MONDAY}T12:00"))
    assert wait is not None
    assert wait.until == at("2026-03-03T09:00+09:00")


@pytest.mark.parametrize("name", ["Mars/Base", "../../etc/passwd", "Europe", "Europe/Berlin\0", "x" * 300])
def test_an_unknown_time_zone_counts_as_utc_and_is_reported(name: str) -> None:
    wait = defer(digest("daily"), home=name, now=at(f"{MONDAY}T12:00"))
    assert wait is not None
    assert wait.until == at("2026-03-03T09:00")
    assert repr(name) in str(wait)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (digest("daily"), "waits for the daily digest at 2026-03-03 09:00 CET"),
        (quiet("11:00", "14:00"), "waits for the end of the quiet hours at 2026-03-02 14:00 CET"),
        (Schedule(paused_until=at(f"{MONDAY}T15:00")), "waits for the end of the pause at 2026-03-02 16:00 CET"),
    ],
)
def test_a_wait_has_its_reason_and_its_end_in_the_persons_time_zone(schedule: Schedule, words: str) -> None:
    assert str(defer(schedule, home=BERLIN, now=at(f"{MONDAY}T12:00"))) == words


ZONES = st.sampled_from([BERLIN, NEW_YORK, LORD_HOWE, "Asia/Kathmandu", "Pacific/Apia", "Antarctica/Troll", "UTC"])
INSTANTS = st.one_of(
    st.datetimes(datetime.fromisoformat("2020-01-01"), datetime.fromisoformat("2030-01-01")),
    st.sampled_from(["2026-03-28", "2026-10-24", "2026-03-07", "2026-10-31", "2026-10-03", "2026-04-04"]).flatmap(
        lambda day: st.integers(0, 2880).map(lambda minutes: datetime.fromisoformat(day) + minutes * MINUTE)
    ),
).map(lambda instant: instant.replace(second=0, microsecond=0, tzinfo=UTC))
TIMES = st.builds(time, st.integers(0, 23), st.sampled_from([0, 15, 30, 59]))
QUIET = st.builds(
    lambda days, both: QuietHours(days=days, start=both[0], end=both[1]),
    st.frozensets(st.integers(1, 7), min_size=1),
    st.tuples(TIMES, TIMES).filter(lambda both: both[0] != both[1]),
)


def reads_quiet(quiet_hours: QuietHours, instant: datetime, zone: ZoneInfo) -> bool:
    """Whether a person looking at the clock would call it quiet: a second implementation."""
    there = instant.astimezone(zone)
    today, now = there.isoweekday(), there.time()
    yesterday = (today - 2) % 7 + 1
    if quiet_hours.start < quiet_hours.end:
        return today in quiet_hours.days and quiet_hours.start <= now < quiet_hours.end
    return (today in quiet_hours.days and now >= quiet_hours.start) or (
        yesterday in quiet_hours.days and now < quiet_hours.end
    )


def jumps_near(instant: datetime, zone: ZoneInfo) -> bool:
    hours = (instant + timedelta(hours=ahead) for ahead in range(-3, 4))
    return len({hour.astimezone(zone).utcoffset() for hour in hours}) > 1


@given(QUIET, st.one_of(st.none(), INSTANTS), INSTANTS, ZONES)
def test_an_email_leaves_at_the_first_instant_that_is_neither_quiet_nor_paused(
    quiet_hours: QuietHours, paused_until: datetime | None, now: datetime, name: str
) -> None:
    paused_until = paused_until if paused_until and paused_until < now + timedelta(days=3) else None
    zone = ZoneInfo(name)
    wait = quiet_until(Schedule(quiet_hours=quiet_hours, paused_until=paused_until), home=name, now=now)
    due = wait.until if wait else now
    assert due >= max(now, paused_until or now)
    assert not reads_quiet(quiet_hours, due, zone)
    minutes = (now + number * MINUTE for number in range(int((due - now) / MINUTE)))
    assert all(
        (paused_until and minute < paused_until) or reads_quiet(quiet_hours, minute, zone) or jumps_near(minute, zone)
        for minute in minutes
    )


@given(st.sampled_from([Mode.HOURLY, Mode.DAILY, Mode.WEEKLY]), st.integers(0, 23), st.integers(1, 7), INSTANTS, ZONES)
def test_a_digest_is_never_in_the_past_and_never_further_than_its_period(
    mode: Mode, hour: int, weekday: int, now: datetime, name: str
) -> None:
    wait = defer(Schedule(mode=mode, hour=hour, weekday=weekday), home=name, now=now)
    longest = {Mode.HOURLY: timedelta(hours=1), Mode.DAILY: timedelta(hours=26), Mode.WEEKLY: timedelta(days=8)}[mode]
    assert wait is not None
    assert now <= wait.until <= now + longest
    there = wait.until.astimezone(ZoneInfo(name))
    if not jumps_near(wait.until, ZoneInfo(name)):
        assert there.minute == 0
        assert mode is Mode.HOURLY or there.hour == hour
        assert mode is not Mode.WEEKLY or there.isoweekday() == weekday
