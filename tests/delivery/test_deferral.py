"""Digests, quiet hours and pauses: what is deferred leaves as one email when its time comes, and nothing is lost."""

import asyncio
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from re import MULTILINE, findall
from typing import Any, cast
from uuid import uuid4

import pytest

from notify import wiring
from notify.domain.bundles import MAX_DEFERRED, BundleKey
from notify.domain.claims import Lane
from notify.domain.preferences import Person
from notify.domain.schedule import Mode
from notify.domain.stages import DELIVER
from notify.intake.receive import receive
from notify.intake.save_preferences import save_preferences
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import StoredSettings
from notify.store.outbox import bundles, outbox, retry_cancel_replay
from notify.store.outbox.retry_cancel_replay import Action, act_on
from tests.support import rows
from tests.support.harness import WorkerHarness, comment
from tests.support.messages import parsed, text_of
from tests.support.race import all_at_once, blocked_session, meanwhile
from tests.support.smtp import RCPT, ScriptedRelay
from tests.support.statements import statements
from tests.support.zones import UNKNOWN_ZONES

HOUR = timedelta(hours=1)
EVERY_DAY = [1, 2, 3, 4, 5, 6, 7]
MINUTE = timedelta(minutes=1)
HOURS_END = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8"
WAITING = "SELECT * FROM jobs WHERE status = 'pending'"
FOREVER = datetime(2099, 1, 1, tzinfo=UTC)
DAILY: dict[str, Any] = {"delivery_mode": "daily", "digest_hour": 9}


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker, and alice, on whose change lists dana and a bot comment."""
    with database.begin() as connection:
        for name in ("alice", "dana", "robot"):
            person = Person(username=name, email=f"{name}@example.com", is_bot=name == "robot")
            directory.put_person(connection, person)
    return WorkerHarness(database, relay.url, {"bundle_seconds": 180})


def change_preferences(harness: WorkerHarness, **settings: Any) -> None:
    """Change alice's preferences."""
    with harness.database.begin() as connection:
        save_preferences(connection, "alice", settings=cast("StoredSettings", settings), event_types={})


def quiet_hours_now(harness: WorkerHarness) -> dict[str, Any]:
    """Quiet hours that began an hour ago."""
    (row,) = harness.execute("SELECT now() AS now")
    begun = row.now.astimezone(UTC).replace(second=0, microsecond=0) - HOUR
    return {"quiet_days": EVERY_DAY, "quiet_start": begun.time(), "quiet_end": (begun + 4 * HOUR).time()}


def test_an_unknown_time_zone_delays_no_email(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    names = {f"r{number}": zone for number, zone in enumerate(UNKNOWN_ZONES)}
    with harness.database.begin() as connection:
        for name, zone in names.items():
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com", timezone=zone))
            wanted: dict[str, Any] = {"timezone": zone} | (DAILY if name in {"r0", "r1"} else quiet_hours_now(harness))
            save_preferences(connection, name, settings=cast("StoredSettings", wanted), event_types={})
        receive(connection, [parse(comment(key="deferred", reviewers=[*names]))])
    harness.fan_out()
    assert {one.deferred_by for one in harness.jobs("deferred") if one.username in names} == {"daily", "quiet_hours"}
    harness.execute(
        "UPDATE notify.user_notification_settings SET quiet_days = NULL, quiet_start = NULL, quiet_end = NULL"
    )
    harness.execute(HOURS_END)
    harness.drain()
    assert {one.status for one in harness.jobs("deferred") if one.username in names} == {"sent"}
    assert relay.count(RCPT) == len(names)


def comment_and_fan_out(harness: WorkerHarness, *numbers: int, by: str = "dana") -> None:
    """Emit these comments, each on a change list of its own, and fan them out."""
    emit_comments(harness, *numbers, by=by)
    harness.fan_out()


def emit_comments(harness: WorkerHarness, *numbers: int, by: str = "dana", link: str | None = None) -> None:
    """Emit these comments."""
    for number in numbers:
        event = comment(key=f"k{number}", link=link or f"CL-{number}", actor=by, body=f"Word {number}.")
        event["cl"]["author"] = "alice"
        with harness.database.begin() as connection:
            receive(connection, [parse(event)])


def told_numbers(relay: ScriptedRelay) -> list[list[int]]:
    """The numbers of the comments, by email and in the order of the text."""
    return [[int(one) for one in findall(r"^> Word (\d+)\.", text_of(one), MULTILINE)] for one in arrived(relay)]


def arrived(relay: ScriptedRelay) -> list[EmailMessage]:
    return [parsed(one.content) for one in relay.emails]


def due_times(harness: WorkerHarness) -> list[datetime]:
    """When the pending emails leave."""
    return sorted({row.id: row.due_at.astimezone(UTC) for row in harness.execute(WAITING)}.values())


def statuses_and_sizes(harness: WorkerHarness) -> list[tuple[str, int]]:
    """Each email's status and number of notifications."""
    query = """
        SELECT status, (SELECT count(*) FROM notify.notifications WHERE email_job_id = job.id)
        FROM notify.email_jobs AS job ORDER BY id
    """
    return [tuple(row) for row in harness.execute(query)]


@pytest.mark.parametrize("mode", [Mode.HOURLY, Mode.DAILY, Mode.WEEKLY])
def test_a_digest_is_one_email_about_everything_up_to_its_hour(
    harness: WorkerHarness, relay: ScriptedRelay, mode: Mode
) -> None:
    change_preferences(harness, delivery_mode=mode.value)
    comment_and_fan_out(harness, 1, 2, 3)
    harness.drain()
    assert told_numbers(relay) == []
    (at,) = due_times(harness)
    assert (at.minute, at.second) == (0, 0)
    harness.execute(HOURS_END)
    report = harness.drain()
    assert told_numbers(relay) == [[1, 2, 3]]
    assert (report["claimed"], report["sent"]) == (1, 1)
    assert statuses_and_sizes(harness) == [("sent", 3)]
    assert arrived(relay)[0]["X-Notify-Digest"] == mode.value


def test_a_digest_leaves_at_its_hour_in_the_persons_time_zone(harness: WorkerHarness) -> None:
    change_preferences(harness, **DAILY, timezone="Asia/Kathmandu")
    comment_and_fan_out(harness, 1)
    (at,) = due_times(harness)
    assert (at.hour, at.minute) == (3, 15)


def test_no_digest_is_sent_when_nothing_happened(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    change_preferences(harness, **DAILY)
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == []


@pytest.mark.parametrize("rest", ["quiet", "paused"])
def test_events_during_quiet_hours_or_a_pause_leave_as_one_email_at_their_end(
    harness: WorkerHarness, relay: ScriptedRelay, rest: str
) -> None:
    change_preferences(harness, **(quiet_hours_now(harness) if rest == "quiet" else {"paused_until": FOREVER}))
    comment_and_fan_out(harness, 1, 2)
    comment_and_fan_out(harness, 3)
    assert len(due_times(harness)) == 1
    end_of_rest(harness)
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == [[1, 2, 3]]


def end_of_rest(harness: WorkerHarness) -> None:
    """Let the rest end, as time would."""
    harness.execute(
        "UPDATE notify.user_notification_settings"
        " SET quiet_days = NULL, quiet_start = NULL, quiet_end = NULL, paused_until = NULL"
    )


def test_required_notifications_are_never_deferred(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    harness.execute("UPDATE notify.notification_event_types SET system_required = true")
    change_preferences(harness, **DAILY, **quiet_hours_now(harness), paused_until=FOREVER)
    comment_and_fan_out(harness, 1)
    harness.drain()
    assert told_numbers(relay) == [[1]]


def test_an_email_does_not_expire_while_it_is_deferred(harness: WorkerHarness) -> None:
    harness.execute("UPDATE notify.notification_event_types SET expires_after = '1 minute'")
    change_preferences(harness, paused_until=FOREVER)
    comment_and_fan_out(harness, 1, 2)
    lives = harness.execute("SELECT DISTINCT expires_at FROM notify.email_jobs")
    assert [row.expires_at for row in lives] == [datetime(2099, 1, 1, 0, 1, tzinfo=UTC)]
    change_preferences(harness, paused_until=datetime(2099, 2, 1, tzinfo=UTC))
    lives = harness.execute("SELECT DISTINCT expires_at FROM notify.email_jobs")
    assert [row.expires_at for row in lives] == [datetime(2099, 2, 1, 0, 1, tzinfo=UTC)]


def test_an_email_that_comes_due_in_quiet_hours_waits_for_their_end_without_a_failure(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    """An outage, for example, has delayed it until then."""
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2)
    harness.execute(HOURS_END)
    harness.execute("UPDATE notify.email_jobs SET expires_at = now() + interval '1 minute'")
    with harness.database.begin() as connection:
        preferences.put_config(
            connection, "alice", settings=cast("StoredSettings", quiet_hours_now(harness)), preferences={}
        )
    harness.drain()
    assert told_numbers(relay) == []
    found = harness.execute("SELECT id, status, failures, attempt, expires_at - due_at AS life FROM jobs")
    assert [(row.status, row.failures, row.attempt) for row in found] == [("pending", 0, 1)] * 2
    assert {(row.id, row.life > timedelta(0)) for row in found} == {(found[0].id, True)}
    end_of_rest(harness)
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == [[1, 2]]


def test_what_is_dropped_from_a_digest_is_skipped_and_the_rest_is_sent(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2, 3)
    with harness.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-2")
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == [[1, 3]]
    found = [harness.jobs(f"k{number}")[0] for number in (1, 2, 3)]
    assert [(row.status, row.outcome_reason) for row in found] == [
        ("sent", None),
        ("skipped", "muted_cl"),
        ("sent", None),
    ]


def test_a_claim_without_anyone_in_quiet_hours_runs_no_extra_statement(harness: WorkerHarness) -> None:
    """Three statements for the claim and its facts, one for the clock, two to defer what must wait."""
    costs = []
    for number, settings in enumerate(({}, {"participating": True}, DAILY, quiet_hours_now(harness)), start=1):
        change_preferences(harness, **settings)
        comment_and_fan_out(harness, number)
        harness.execute(HOURS_END)
        with harness.engine() as engine, statements(harness.database) as sent:
            claimed = asyncio.run(engine._ledger.claim(1))  # noqa: SLF001 - what one claim costs, without the sending
        costs.append((len(claimed.rechecked), len(sent)))
    assert costs == [(1, 3), (1, 3), (1, 4), (0, 6)]


@pytest.mark.parametrize("mode", ["realtime", "hourly"])
def test_events_by_bots_wait_for_the_digest(harness: WorkerHarness, relay: ScriptedRelay, mode: str) -> None:
    change_preferences(harness, delivery_mode=mode)
    comment_and_fan_out(harness, 1, 2, by="robot")
    comment_and_fan_out(harness, 3)
    harness.drain()
    assert told_numbers(relay) == ([[3]] if mode == "realtime" else [])
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == ([[3], [1, 2]] if mode == "realtime" else [[1, 2, 3]])


def test_switching_back_to_immediate_emails_sends_what_was_deferred_as_one_email(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2)
    change_preferences(harness, delivery_mode="realtime")
    comment_and_fan_out(harness, 3)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[1, 2], [3]]


def test_ending_a_pause_sends_what_it_deferred_but_not_what_waits_for_the_digest(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    change_preferences(harness, **DAILY, paused_until=FOREVER)
    comment_and_fan_out(harness, 1, 2)
    change_preferences(harness, paused_until=None)
    harness.drain()
    assert told_numbers(relay) == []
    (at,) = due_times(harness)
    assert (at.hour, at.year < 2099) == (9, True)


@pytest.mark.parametrize("order", [(1, 2), (2, 1), (2, 1, 4, 3), (1, 2, 3, 4)])
@pytest.mark.parametrize("before", [DAILY, {"paused_until": FOREVER}])
def test_a_new_schedule_separates_events_by_bots_from_those_by_people_as_fan_out_would(
    harness: WorkerHarness, relay: ScriptedRelay, order: tuple[int, ...], before: dict[str, Any]
) -> None:
    change_preferences(harness, **before)
    for number in order:
        comment_and_fan_out(harness, number, by="robot" if number % 2 else "dana")
    assert statuses_and_sizes(harness) == [("pending", len(order))]
    bots, peoples = ([number for number in order if number % 2 == odd] for odd in (1, 0))
    change_preferences(harness, delivery_mode="realtime", paused_until=None)
    lanes = harness.execute(
        "SELECT lane, due_at <= now() AS due, count(*) AS events FROM jobs GROUP BY 1, 2 ORDER BY 1"
    )
    assert lanes == [(Lane.NORMAL, True, len(peoples)), (Lane.BULK, False, len(bots))]
    assert sorted(int(row.id) for row in harness.execute("SELECT DISTINCT id FROM jobs")) == sorted(
        row.id for row in harness.execute("SELECT id FROM notify.work_items WHERE stage = 'deliver'")
    )
    harness.drain()
    assert told_numbers(relay) == [peoples]
    comment_and_fan_out(harness, 5, by="robot")
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == [peoples, [*bots, 5]]
    assert len({one["Message-ID"] for one in arrived(relay)}) == 2


def test_an_email_about_events_by_bots_and_people_has_the_priority_of_the_first(harness: WorkerHarness) -> None:
    lanes = []
    for number, by in ((1, "robot"), (11, "dana")):
        harness.execute("DELETE FROM notify.work_items WHERE stage = 'deliver'")
        change_preferences(harness, delivery_mode="realtime")
        comment_and_fan_out(harness, number, by=by)
        comment_and_fan_out(harness, number + 1, by="dana" if by == "robot" else "robot")
        change_preferences(harness, paused_until=FOREVER)
        (row,) = harness.execute("SELECT DISTINCT lane FROM notify.work_items WHERE stage = 'deliver'")
        lanes.append(row.lane)
        change_preferences(harness, paused_until=None)
        for one, its in ((number, by), (number + 1, "dana" if by == "robot" else "robot")):
            assert harness.jobs(f"k{one}")[0].lane == (Lane.BULK if its == "robot" else Lane.NORMAL)
    assert lanes == [Lane.BULK, Lane.NORMAL]


def test_a_bundle_waiting_for_its_window_follows_a_new_schedule_as_a_whole(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    comment_and_fan_out(harness, 1)
    harness.drain()
    emit_comments(harness, 9, link="CL-1")
    harness.fan_out()
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 2)
    (at,) = due_times(harness)
    assert at.hour == 9
    harness.execute(HOURS_END)
    harness.drain()
    assert told_numbers(relay) == [[1], [9, 2]]


def test_rescheduled_notifications_move_to_the_email_that_was_written_first(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    for link in ("CL-1", "CL-2", "CL-3"):
        emit_comments(harness, int(link[-1]), link=link)
    harness.fan_out()
    harness.drain()
    for number, link in ((11, "CL-1"), (12, "CL-2"), (13, "CL-3"), (14, "CL-1")):
        emit_comments(harness, number, link=link)
    harness.fan_out()
    first, *others = [harness.jobs(f"k{number}")[0] for number in (11, 12, 13)]
    change_preferences(harness, **DAILY)
    assert {row.id for number in (11, 12, 13, 14) for row in harness.jobs(f"k{number}")} == {first.id}
    assert statuses_and_sizes(harness) == [("sent", 1)] * 3 + [("pending", 4)]
    assert [rows.item_of(harness.database, DELIVER, other.id) for other in others] == [None, None]
    comment_and_fan_out(harness, 15)
    harness.execute(HOURS_END)
    harness.drain()
    assert sorted(told_numbers(relay)[-1]) == [11, 12, 13, 14, 15]
    assert arrived(relay)[-1]["Message-ID"] == f"<{first.message_id}>"


def test_an_email_that_takes_over_notifications_lives_as_long_as_the_longest_lived(harness: WorkerHarness) -> None:
    lives = {"cl.comment.created": 1, "cl.comment.mentioned": 5, "cl.review.submitted": 3}
    for code, minutes in lives.items():
        harness.execute(
            "UPDATE notify.notification_event_types SET expires_after = make_interval(mins => :minutes)"
            " WHERE code = :code",
            minutes=minutes,
            code=code,
        )
    with harness.database.begin() as connection:
        for code in lives:
            rows.job(connection, event_type=code, due_at=FOREVER, expires_at=rows.ago(minutes=-1))
    change_preferences(harness, paused_until=FOREVER)
    (waiting,) = harness.execute("SELECT DISTINCT id, expires_at - due_at AS life FROM jobs WHERE status = 'pending'")
    assert waiting.life == 5 * MINUTE


def test_an_email_takes_over_notifications_only_up_to_its_limit(harness: WorkerHarness) -> None:
    with harness.database.begin() as connection:
        there = [rows.job(connection, topic=f"CL-{number}", due_at=FOREVER) for number in range(3)]
    fill(harness, {there[0]: 499, there[1]: 399, there[2]: 149})
    before = [row.id for row in harness.execute("SELECT id FROM notify.notifications ORDER BY email_job_id, id")]
    change_preferences(harness, **DAILY)
    assert statuses_and_sizes(harness) == [("pending", MAX_DEFERRED), ("pending", 50)]
    after = harness.execute("SELECT email_job_id, array_agg(id) AS ids FROM notify.notifications GROUP BY 1 ORDER BY 1")
    assert [row.email_job_id for row in after] == there[:2]
    assert [set(row.ids) for row in after] == [set(before[:MAX_DEFERRED]), set(before[MAX_DEFERRED:])]
    comment_and_fan_out(harness, 1)
    assert harness.jobs("k1")[0].id == there[1]


def fill(harness: WorkerHarness, sizes: dict[int, int]) -> None:
    """Add notifications about this many more events to these jobs."""
    for job_id, count in sizes.items():
        harness.execute(
            "WITH made AS (INSERT INTO notify.events (key, type, topic, actor, status, finished_at)"
            " SELECT :job_id || '-' || number, 'cl.comment.created', 'CL-1', 'dana', 'done', now()"
            " FROM generate_series(1, :count) AS number RETURNING id)"
            " INSERT INTO notify.notifications (event_id, username, event_type, reason, decision, why, email_job_id)"
            " SELECT id, 'alice', 'cl.comment.created', 'author', 'told', 'default', :job_id FROM made ORDER BY id",
            job_id=job_id,
            count=count,
        )


def test_an_email_that_has_been_replayed_is_not_rescheduled(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    for number, link in ((8, "CL-8"), (9, "CL-9"), (18, "CL-8"), (19, "CL-9"), (29, "CL-9")):
        emit_comments(harness, number, link=link)
        harness.fan_out()
        harness.drain()
    (first,), (again,) = harness.jobs("k18"), harness.jobs("k19")
    for action in (Action.CANCEL, Action.REPLAY, Action.RETRY):
        with harness.database.begin() as connection:
            retry_cancel_replay.act_on(connection, action, again.id)
    change_preferences(harness, **DAILY)
    harness.drain()
    assert told_numbers(relay) == [[8], [9], [19, 29], [19, 29]]
    assert [(row.id, row.deferred_by) for row in harness.execute(WAITING)] == [(first.id, "daily")]


def test_other_changes_of_preferences_do_not_touch_pending_emails(harness: WorkerHarness) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2)
    before = harness.execute("SELECT id, note_id FROM jobs ORDER BY note_id")
    harness.execute(HOURS_END)
    change_preferences(harness, participating=True)
    change_preferences(harness, **DAILY)
    after = harness.execute("SELECT id, note_id, due_at <= now() AS due FROM jobs ORDER BY note_id")
    assert [(*row, True) for row in before] == after


def test_an_email_that_was_attempted_keeps_its_notifications(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2)
    harness.execute(HOURS_END)
    relay.answers[RCPT] = "451 4.3.0 later"
    harness.drain()
    comment_and_fan_out(harness, 3)
    change_preferences(harness, delivery_mode="weekly")
    del relay.answers[RCPT]
    harness.execute(HOURS_END)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[1, 2], [3]]


def test_rescheduling_costs_the_same_however_many_notifications_wait(harness: WorkerHarness) -> None:
    costs = []
    for hour, numbers in ((9, range(1, 3)), (10, range(3, 30))):
        comment_and_fan_out(harness, *numbers)
        with statements(harness.database) as sent:
            change_preferences(harness, delivery_mode="daily", digest_hour=hour)
        costs.append(len(sent))
    assert costs[0] == costs[1]


def test_the_number_of_statements_does_not_depend_on_how_many_notifications_are_deferred(
    harness: WorkerHarness,
) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 0)
    costs = []
    for numbers in (range(1, 3), range(3, 30)):
        emit_comments(harness, *numbers)
        with statements(harness.database) as sent:
            harness.fan_out()
        costs.append(len(sent))
    assert costs[0] == costs[1]


def test_workers_that_fan_out_concurrently_make_one_digest(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    change_preferences(harness, **DAILY)
    emit_comments(harness, *range(1, 31))
    fans = [
        wiring.fan_out(harness.settings, harness.database, doorbell=harness.doorbell, worker=uuid4()) for _ in range(3)
    ]
    for fan in fans:
        fan._batch = 3  # noqa: SLF001 - small batches, so that they interleave
    all_at_once([fan.drain for fan in fans])
    harness.execute(HOURS_END)
    harness.drain()
    assert [sorted(one) for one in told_numbers(relay)] == [list(range(1, 31))]


def test_a_change_of_schedule_during_fan_out_leaves_no_notification_behind(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    """Each of these would wait for years if it were overlooked."""
    change_preferences(harness, paused_until=FOREVER)

    def choose_often() -> None:
        for year in range(2098, 2088, -1):
            change_preferences(harness, paused_until=datetime(year, 1, 1, tzinfo=UTC))

    def talk() -> None:
        for number in range(1, 21):
            comment_and_fan_out(harness, number)

    all_at_once([choose_often, talk])
    change_preferences(harness, paused_until=None)
    harness.drain()
    assert sorted(number for email in told_numbers(relay) for number in email) == list(range(1, 21))


def test_of_two_concurrent_claims_one_takes_the_whole_digest(harness: WorkerHarness) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2, 3)
    harness.execute(HOURS_END)
    with harness.database.begin() as connection:
        (job,) = outbox.claim(connection, limit=1, lease=MINUTE, worker=uuid4())
    assert [one.event.topic for one in job.notifications] == ["CL-1", "CL-2", "CL-3"]
    with harness.database.begin() as connection:
        assert outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4()) == []


def test_an_event_after_a_digest_was_made_due_by_hand_waits_for_the_next_hour(harness: WorkerHarness) -> None:
    change_preferences(harness, **DAILY)
    comment_and_fan_out(harness, 1, 2)
    (first,) = harness.jobs("k1")
    with harness.database.begin() as connection:
        act_on(connection, Action.RETRY, first.id)
    comment_and_fan_out(harness, 3)
    (row,) = harness.jobs("k3")
    assert row.id != first.id
    assert row.due_at == first.due_at


def test_nothing_joins_an_email_that_was_deferred_in_the_meantime(harness: WorkerHarness) -> None:
    """A fan-out has read the preferences before they were changed."""
    comment_and_fan_out(harness, 1)
    harness.drain()
    emit_comments(harness, 8, link="CL-1")
    harness.fan_out()
    change_preferences(harness, paused_until=FOREVER)
    end_of_rest(harness)
    emit_comments(harness, 9, link="CL-1")
    harness.fan_out()
    (before,), (row,) = harness.jobs("k8"), harness.jobs("k9")
    assert (before.deferred_by, row.deferred_by) == ("pause", None)
    assert row.id != before.id


def test_a_change_of_schedule_waits_for_emails_that_are_being_written_under_the_old_one(harness: WorkerHarness) -> None:
    change_preferences(harness, paused_until=FOREVER)
    with harness.database.engine.connect() as fan_out:
        preferences.schedules(fan_out, ["alice"])
        with meanwhile(change_preferences, harness, paused_until=None) as choosing:
            blocked_session(harness.database)
            late = rows.job(fan_out, due_at=FOREVER, deferred_by="pause")
            fan_out.commit()
            choosing.result()
    item = rows.item_of(harness.database, DELIVER, late)
    assert item is not None
    assert item["due_at"] < datetime.now(UTC) + HOUR


def test_what_joins_an_email_during_its_deferral_is_deferred_with_it(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    """The notifications of the joined email move to one that was written earlier."""
    for number, link in ((1, "CL-1"), (2, "CL-2"), (11, "CL-1"), (12, "CL-2")):
        emit_comments(harness, number, link=link)
        harness.fan_out()
        harness.drain()
    (first,), (second,) = harness.jobs("k11"), harness.jobs("k12")
    with harness.database.engine.connect() as fan_out:
        bundles.lock(fan_out, {BundleKey("alice", "CL-2")})
        with meanwhile(change_preferences, harness, paused_until=FOREVER) as choosing:
            assert blocked_session(harness.database)
            payload = {"comment": {"body": "Word 22."}}
            event_id = rows.event(fan_out, key="k22", topic="CL-2", payload=payload, **rows.ended("done"))
            rows.notification(fan_out, event_id=event_id, email_job_id=second.id)
            fan_out.commit()
            choosing.result()
    (late,) = harness.jobs("k22")
    assert (late.id, late.deferred_by) == (first.id, "pause")
    assert late.expires_at > FOREVER
    change_preferences(harness, paused_until=None)
    harness.drain()
    assert told_numbers(relay) == [[1], [2], [11, 12, 22]]


def test_an_email_shows_times_in_the_time_zone_that_its_reader_has_chosen(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    change_preferences(harness, **DAILY, timezone="Asia/Kathmandu")
    comment_and_fan_out(harness, 1, 2)
    harness.execute(HOURS_END)
    harness.drain()
    assert "+0545" in text_of(arrived(relay)[0])
