"""Bundles: the first email goes at once; later events on the same change list leave as one email, in order."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email.message import EmailMessage
from random import Random
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from notify import wiring
from notify.checkpoints import FAN_OUT_WRITTEN
from notify.domain.bundles import BundleKey
from notify.domain.preferences import Person
from notify.domain.stages import DELIVER, FAN_OUT
from notify.intake.fan_out import FanOut
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.outbox import bundles, items, jobs, outbox, retry_cancel_replay
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView
from notify.store.outbox.retry_cancel_replay import Action, act_on
from notify.store.tables.people import notification_event_types
from tests.support import rows
from tests.support.harness import WorkerHarness, comment
from tests.support.messages import parsed, text_of
from tests.support.race import all_at_once, blocked_session, meanwhile
from tests.support.smtp import DOT, MAIL, RCPT, ScriptedRelay
from tests.support.statements import statements

TALKERS = ("bob", "carol", "dana")
WINDOW = timedelta(seconds=180)
MINUTE = timedelta(minutes=1)
WINDOW_ENDS = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8"
LEASES_END = "UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8"
OWN_ITEMS = "SELECT id FROM notify.work_items WHERE stage = 'deliver'"
BY_ALICE = "UPDATE notify.events SET actor = 'alice' WHERE key = ANY(:keys)"
NOTIFICATIONS = """
    SELECT decision, why, email_job_id FROM notify.notifications AS note JOIN notify.events ON events.id = event_id
    WHERE key = ANY(:keys) ORDER BY note.id
"""
COUNTED = "SELECT event_type, outcome, sum(count)::int FROM notify.delivery_stats GROUP BY 1, 2 ORDER BY 1, 2"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker that bundles for three minutes."""
    with database.begin() as connection:
        for name in ("alice", *TALKERS):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return WorkerHarness(database, relay.url, {"bundle_seconds": WINDOW.total_seconds()})


def comment_and_fan_out(harness: WorkerHarness, *numbers: int, link: str = "CL-1", author: str = "alice") -> None:
    """Emit these comments on a change list of this author's, one after the other, and fan them out."""
    emit_comments(harness, *numbers, link=link, author=author)
    harness.fan_out()


def emit_comments(harness: WorkerHarness, *numbers: int, link: str = "CL-1", author: str = "alice") -> None:
    """Emit these comments."""
    for number in numbers:
        event = comment(key=f"k{number}", link=link, actor=TALKERS[number % len(TALKERS)], reviewers=())
        event |= {"comment": {"id": str(number), "body": f"Word {number}.", "url": f"https://x.example/{number}"}}
        event["cl"] |= {"author": author}
        with harness.database.begin() as connection:
            receive(connection, [parse(event)])


def bundled(harness: WorkerHarness, *, count: int = 4) -> JobView:
    """Send one email and leave a second pending that is about *count* events; the second's job."""
    comment_and_fan_out(harness, 0)
    harness.drain()
    comment_and_fan_out(harness, *range(1, count + 1))
    (job_id,) = {row.id for number in range(1, count + 1) for row in harness.jobs(f"k{number}")}
    return job(harness, job_id)


def job(harness: WorkerHarness, job_id: int) -> JobView:
    """The job as people are shown it."""
    with harness.database.begin() as connection:
        found = jobs.show(connection, job_id)
    assert found is not None
    return found


def arrived(relay: ScriptedRelay) -> list[EmailMessage]:
    """The emails that the relay received, parsed by the standard library."""
    return [parsed(one.content) for one in relay.emails]


def message_ids(relay: ScriptedRelay) -> list[str]:
    """Message-IDs of the emails that the relay received, without brackets."""
    return [email["Message-ID"].strip("<>") for email in arrived(relay)]


def told_in(email: EmailMessage) -> list[int]:
    """The numbers of the comments, in the order of the email."""
    return [int(line.split()[2].strip(".")) for line in text_of(email).splitlines() if line.startswith("> Word")]


def told_numbers(relay: ScriptedRelay) -> list[list[int]]:
    return [told_in(email) for email in arrived(relay)]


def keys(numbers: Sequence[int]) -> list[str]:
    return [f"k{number}" for number in numbers]


def states(harness: WorkerHarness, numbers: Sequence[int]) -> list[str]:
    return [row.status for key in keys(numbers) for row in harness.jobs(key)]


def notifications_about(harness: WorkerHarness, *numbers: int) -> list[tuple[str, str, int | None]]:
    """Alice's notifications about these events: decision, why, and the id of the job."""
    return [tuple(row) for row in harness.execute(NOTIFICATIONS, keys=keys(numbers))]


def claim_and_vanish(harness: WorkerHarness) -> None:
    """A worker claims all that is due, and vanishes."""
    with harness.database.begin() as connection:
        outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())


def act(harness: WorkerHarness, action: Action, job_filter: JobFilter) -> tuple[int, ...]:
    """Act as an operator; the ids of the jobs that were changed or written."""
    with harness.database.begin() as connection:
        return retry_cancel_replay.act(connection, action, job_filter, last_id=2**62, limit=100).done


def about(number: int) -> JobFilter:
    """Jobs about this event."""
    return JobFilter(event_key=f"k{number}")


def fan_out(harness: WorkerHarness, *, before_it_commits: Callable[[], object]) -> None:
    """Fan out what is due in one batch, and call *before_it_commits* before its commit."""

    def pause(name: str) -> None:
        if name == FAN_OUT_WRITTEN:
            before_it_commits()

    handler = FanOut(
        harness.database,
        doorbell=harness.doorbell,
        message_host="example.com",
        rng=Random(1),
        bundle=WINDOW,
        checkpoint=pause,
    )
    with harness.database.begin() as connection:
        claims = items.claim(connection, FAN_OUT, limit=100, lease=MINUTE, worker=uuid4(), ordered=True)
    handler.work(claims)


def test_the_first_email_goes_at_once_and_later_events_leave_as_one_in_order(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness)
    assert told_numbers(relay) == [[0]]
    harness.drain()
    assert told_numbers(relay) == [[0]]
    harness.execute(WINDOW_ENDS)
    report = harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]
    assert (report["claimed"], report["sent"]) == (1, 1)
    assert states(harness, range(5)) == ["sent"] * 5


def test_a_bundle_is_one_job_with_several_notifications(harness: WorkerHarness) -> None:
    waiting = bundled(harness)
    assert harness.execute("SELECT id FROM notify.email_jobs WHERE status = 'pending'") == [(waiting.id,)]
    assert harness.execute(OWN_ITEMS) == [(waiting.id,)]
    assert notifications_about(harness, 1, 2, 3, 4) == [("told", "default", waiting.id)] * 4
    assert (waiting.topic, waiting.deferred_by, waiting.notification_count) == ("CL-1", None, 4)
    assert waiting.event_key == "k1"


def test_a_bundle_is_counted_under_the_type_of_its_first_event(harness: WorkerHarness) -> None:
    comment_and_fan_out(harness, 0)
    harness.drain()
    comment_and_fan_out(harness, 1, 2, 3)
    harness.execute(
        "UPDATE notify.notifications SET event_type = 'cl.comment.mentioned'"
        " WHERE id = (SELECT min(id) FROM notify.notifications WHERE email_job_id = :id)",
        id=harness.jobs("k1")[0].id,
    )
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert harness.execute(COUNTED) == [("cl.comment.created", "sent", 1), ("cl.comment.mentioned", "sent", 1)]


def test_each_entry_has_its_author_and_link_in_text_and_html(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    email = arrived(relay)[-1]
    for kind in ("plain", "html"):
        part = email.get_body((kind,))
        assert part is not None
        content = part.get_content()
        places = [content.index(f"https://x.example/{number}") for number in range(1, 5)]
        assert places == sorted(places)
        assert [content.count(f"{name}") >= 1 for name in TALKERS] == [True] * 3
    assert email["Subject"] == arrived(relay)[0]["Subject"]
    assert email["References"] == arrived(relay)[0]["References"]
    assert email["From"].addresses[0].display_name == "carol, dana, bob via Review"
    assert email["X-Notify-Actor"] == "carol, dana, bob"
    assert email.defects == []


def test_an_event_fanned_out_late_is_listed_where_it_happened(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    comment_and_fan_out(harness, 0)
    harness.drain()
    emit_comments(harness, 1, 2, 3)
    harness.execute(
        "UPDATE notify.work_items SET due_at = now() + interval '1 hour', failures = 1 WHERE stage = 'fan_out'"
    )
    harness.fan_out()
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'fan_out'")
    harness.fan_out()
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3]]


def test_an_email_has_the_message_id_of_its_job(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = bundled(harness)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert message_ids(relay)[-1] == waiting.message_id
    assert {row.message_id for number in range(1, 5) for row in harness.jobs(f"k{number}")} == {waiting.message_id}


def test_after_the_window_the_next_email_goes_at_once_again(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    harness.execute("UPDATE notify.bundles SET last_at = now() - interval '181 s'")
    comment_and_fan_out(harness, 7)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4], [7]]


def test_an_event_right_after_a_bundle_waits_for_another_window(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    before = bundled(harness)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    comment_and_fan_out(harness, 8, 9)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]
    (after,) = {row.due_at for number in (8, 9) for row in harness.jobs(f"k{number}")}
    assert after - before.due_at == WINDOW


def test_other_change_lists_and_other_people_are_not_delayed(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness)
    comment_and_fan_out(harness, 5, link="CL-2")
    harness.drain()
    comment_and_fan_out(harness, 6, author="carol")
    harness.drain()
    assert told_numbers(relay) == [[0], [5], [6]]
    assert relay.emails[-1].recipient == "carol@example.com"


@pytest.mark.parametrize(
    "facts", [{"bundle_within": timedelta(0)}, {"system_required": True}], ids=["never bundled", "required"]
)
def test_an_urgent_notification_is_not_bundled(
    harness: WorkerHarness, relay: ScriptedRelay, facts: dict[str, Any]
) -> None:
    with harness.database.begin() as connection:
        connection.execute(update(notification_event_types).values(**facts))
    comment_and_fan_out(harness, 0, 1)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[0], [1]]


def test_nothing_joins_an_email_that_is_already_claimed(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    before = bundled(harness, count=2)
    harness.execute(WINDOW_ENDS)
    with harness.database.begin() as connection:
        (one,) = outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())
    comment_and_fan_out(harness, 3, 4)
    assert before.id not in {row.id for number in (3, 4) for row in harness.jobs(f"k{number}")}
    with harness.database.begin() as connection:
        items.settle(connection, DELIVER, [items.released(one.claim)])
    comment_and_fan_out(harness, 5)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[0], [1, 2], [3, 4, 5]]


def test_a_bundle_counts_as_one_job_in_a_claim(harness: WorkerHarness) -> None:
    bundled(harness, count=5)
    harness.execute(WINDOW_ENDS)
    with harness.database.begin() as connection:
        (one,) = outbox.claim(connection, limit=1, lease=MINUTE, worker=uuid4())
    assert [told_numbers.event.key for told_numbers in one.notifications] == keys(range(1, 6))
    assert states(harness, range(1, 6)) == ["sending"] * 5
    with harness.database.begin() as connection:
        assert outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4()) == []


def test_a_claim_takes_three_statements_however_many_events_the_emails_are_about(harness: WorkerHarness) -> None:
    costs = []
    for numbers in ((0,), (1, 2), (3, 4, 5, 6)):
        comment_and_fan_out(harness, *numbers)
        comment_and_fan_out(harness, *(10 * number + 9 for number in numbers), link=f"CL-{10 + numbers[0]}")
        harness.execute(WINDOW_ENDS)
        with statements(harness.database) as sent, harness.database.begin() as connection:
            found = outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())
        costs.append((len(found) > 1, len(sent)))
    assert costs == [(True, 3)] * 3


def test_after_a_temporary_refusal_the_whole_bundle_is_retried(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = bundled(harness)
    harness.execute(WINDOW_ENDS)
    relay.answers[MAIL] = "451 4.3.0 later"
    harness.drain()
    assert [
        (row.status, row.failures, row.attempt) for number in range(1, 5) for row in harness.jobs(f"k{number}")
    ] == [("pending", 1, 1)] * 4
    assert harness.execute("SELECT job_id, attempt FROM notify.email_attempts") == [(waiting.id, 1)]
    assert harness.execute(OWN_ITEMS) == [(waiting.id,)]
    del relay.answers[MAIL]
    comment_and_fan_out(harness, 5)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[0], [1, 2, 3, 4], [5]]
    assert waiting.message_id in message_ids(relay)


def test_a_raised_failure_budget_applies_to_the_whole_bundle(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness, count=2)
    harness.execute("UPDATE notify.work_items SET failures = 11, max_failures = 20 WHERE stage = 'deliver'")
    relay.answers[MAIL] = "451 4.3.0 later"
    for _ in range(2):
        harness.execute(WINDOW_ENDS)
        harness.drain()
    assert [(row.status, row.failures) for number in (1, 2) for row in harness.jobs(f"k{number}")] == [
        ("pending", 13)
    ] * 2


def test_a_permanent_refusal_ends_the_whole_bundle(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness)
    harness.execute(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    harness.drain()
    assert states(harness, range(1, 5)) == ["dead"] * 4


def test_notifications_that_are_no_longer_wanted_are_dropped_from_the_email(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness)
    harness.execute(BY_ALICE, keys=["k1", "k3"])
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [2, 4]]
    assert states(harness, range(1, 5)) == ["skipped", "sent", "skipped", "sent"]
    assert notifications_about(harness, 1, 2, 3, 4) == [
        ("skipped", "is_actor", None),
        ("told", "default", waiting.id),
        ("skipped", "is_actor", None),
        ("told", "default", waiting.id),
    ]
    assert harness.execute(COUNTED) == [("cl.comment.created", "sent", 2)]


def test_an_email_whose_first_notification_is_dropped_keeps_its_message_id_on_the_next_attempt(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness)
    harness.execute(BY_ALICE, keys=["k1"])
    harness.execute(WINDOW_ENDS)
    relay.drop_at.add(DOT)
    harness.drain()
    relay.drop_at.clear()
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [2, 3, 4], [2, 3, 4]]
    assert message_ids(relay)[1:] == [waiting.message_id] * 2
    assert states(harness, range(1, 5)) == ["skipped", "sent", "sent", "sent"]


def test_a_dropped_notification_does_not_come_back_on_a_later_attempt(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness, count=3)
    harness.execute(BY_ALICE, keys=["k2"])
    harness.execute(WINDOW_ENDS)
    relay.drop_at.add(DOT)
    harness.drain()
    relay.drop_at.clear()
    harness.execute("UPDATE notify.events SET actor = 'bob' WHERE key = 'k2'")
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 3], [1, 3]]


def test_a_bundle_without_any_wanted_notification_is_not_sent(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = bundled(harness)
    with harness.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    harness.execute(WINDOW_ENDS)
    assert harness.drain()["skipped"] == 1
    assert told_numbers(relay) == [[0]]
    ended = job(harness, waiting.id)
    assert (ended.status, ended.outcome_reason, ended.notification_count) == ("skipped", "muted_cl", 1)
    assert [(row.status, row.outcome_reason) for number in range(1, 5) for row in harness.jobs(f"k{number}")] == [
        ("skipped", "muted_cl")
    ] * 4
    assert notifications_about(harness, 1, 2, 3, 4) == [
        ("told", "default", waiting.id),
        *[("skipped", "muted_cl", None)] * 3,
    ]
    assert harness.execute(COUNTED) == [("cl.comment.created", "sent", 1), ("cl.comment.created", "skipped", 1)]


def test_a_skipped_email_gives_the_reason_of_its_first_dropped_notification(harness: WorkerHarness) -> None:
    waiting = bundled(harness, count=2)
    harness.execute(BY_ALICE, keys=["k1"])
    with harness.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert job(harness, waiting.id).outcome_reason == "is_actor"
    assert notifications_about(harness, 2) == [("skipped", "muted_cl", None)]


def test_a_bundle_with_one_notification_left_is_sent_as_an_ordinary_email(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness, count=2)
    harness.execute(BY_ALICE, keys=["k1"])
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [2]]
    assert "updates on" not in text_of(arrived(relay)[1])


def test_a_bundle_whose_worker_vanished_is_sent_again_whole_and_counted_once(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness)
    harness.execute(WINDOW_ENDS)
    claim_and_vanish(harness)
    harness.execute(LEASES_END)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]
    assert [(row.lapses, row.attempt) for number in range(1, 5) for row in harness.jobs(f"k{number}")] == [(1, 2)] * 4
    assert harness.execute("SELECT sum(count) FROM notify.delivery_stats WHERE outcome = 'lapse'") == [(1,)]


def test_a_bundle_that_lapsed_three_times_is_dead_as_a_whole(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    bundled(harness)
    harness.execute(WINDOW_ENDS)
    for _ in range(3):
        with harness.database.begin() as connection:
            if not outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4()):
                outbox.claim_lapsed(connection, lease=MINUTE, worker=uuid4())
        harness.execute(LEASES_END)
    harness.drain()
    assert told_numbers(relay) == [[0]]
    assert [row.outcome_reason for number in range(1, 5) for row in harness.jobs(f"k{number}")] == ["poison"] * 4
    assert harness.execute("SELECT sum(count) FROM notify.delivery_stats WHERE outcome = 'dead'") == [(1,)]


def test_cancelling_one_event_of_a_bundle_cancels_the_email_and_later_events_get_another(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness)
    assert act(harness, Action.CANCEL, about(2)) == (waiting.id,)
    assert states(harness, range(1, 5)) == ["cancelled"] * 4
    comment_and_fan_out(harness, 5)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [5]]


def test_a_bundle_cancelled_while_it_is_sent_is_retried_whole(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = bundled(harness)
    harness.execute(WINDOW_ENDS)
    claim_and_vanish(harness)
    act(harness, Action.CANCEL, about(1))
    harness.execute(LEASES_END)
    harness.drain()
    assert told_numbers(relay) == [[0]]
    assert [(row.status, row.outcome_reason) for number in range(1, 5) for row in harness.jobs(f"k{number}")] == [
        ("cancelled", "by_hand")
    ] * 4
    act(harness, Action.RETRY, about(4))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]
    assert message_ids(relay)[-1] == waiting.message_id


def test_an_event_that_joins_an_email_during_its_cancellation_is_cancelled_with_it_and_recorded(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness, count=2)
    emit_comments(harness, 3)
    with ThreadPoolExecutor(1) as operator:

        def cancel() -> None:
            cancelling.append(operator.submit(act, harness, Action.CANCEL, about(1)))
            assert blocked_session(harness.database)

        cancelling: list[Any] = []
        fan_out(harness, before_it_commits=cancel)
        assert cancelling[0].result() == (waiting.id,)
    assert [(row.status, row.outcome_reason) for row in harness.jobs("k3")] == [("cancelled", "by_hand")]
    assert notifications_about(harness, 3) == [("told", "default", waiting.id)]
    act(harness, Action.RETRY, about(3))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3]]


def test_an_event_that_arrives_just_after_a_cancellation_gets_its_own_email(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness, count=2)
    emit_comments(harness, 3, 4)
    with harness.database.engine.connect() as operator:
        assert act_on(operator, Action.CANCEL, waiting.id)
        with meanwhile(harness.fan_out) as fanning_out:
            assert blocked_session(harness.database)
            operator.commit()
            fanning_out.result()
    assert states(harness, range(1, 5)) == ["cancelled", "cancelled", "pending", "pending"]
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert told_numbers(relay) == [[0], [3, 4]]


def test_making_one_event_of_a_bundle_due_makes_the_whole_email_due(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness)
    act(harness, Action.RETRY, about(4))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]


def test_a_dead_bundle_is_retried_once_and_whole_whichever_event_is_named(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness)
    harness.execute(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    harness.drain()
    del relay.answers[RCPT]
    assert act(harness, Action.RETRY, JobFilter(topic="CL-1", status="dead")) == (waiting.id,)
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4]]
    assert message_ids(relay)[-1] == waiting.message_id


def test_a_replay_repeats_the_whole_bundle_at_once_under_its_own_message_id(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    (again,) = act(harness, Action.REPLAY, about(4))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert message_ids(relay)[1:] == [waiting.message_id, job(harness, again).message_id]
    assert len(set(message_ids(relay))) == 3
    assert job(harness, again).notification_count == 4
    assert notifications_about(harness, 1, 2, 3, 4) == [("told", "default", waiting.id)] * 4


def test_notifications_dropped_from_a_replay_stay_with_the_original(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness, count=3)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    harness.execute(BY_ALICE, keys=["k1"])
    act(harness, Action.REPLAY, about(1))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3], [2, 3]]
    assert notifications_about(harness, 1, 2, 3) == [("told", "default", waiting.id)] * 3


def test_a_replay_that_drops_every_notification_is_skipped_and_leaves_the_original_unchanged(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    waiting = bundled(harness, count=3)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    with harness.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    (again,) = act(harness, Action.REPLAY, about(1))
    harness.drain()
    assert told_numbers(relay) == [[0], [1, 2, 3]]
    assert (job(harness, again).status, job(harness, again).outcome_reason) == ("skipped", "muted_cl")
    assert job(harness, waiting.id).status == "sent"
    assert notifications_about(harness, 1, 2, 3) == [("told", "default", waiting.id)] * 3


def test_nothing_joins_an_email_that_has_been_replayed(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    waiting = bundled(harness, count=2)
    act(harness, Action.CANCEL, about(1))
    (again,) = act(harness, Action.REPLAY, about(1))
    act(harness, Action.RETRY, JobFilter(ids=(waiting.id,)))
    comment_and_fan_out(harness, 3)
    assert job(harness, again).notification_count == 2
    harness.drain()
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert sorted(told_numbers(relay)) == [[0], [1, 2], [1, 2], [3]]


def test_the_lifetime_of_an_email_starts_when_it_may_leave(harness: WorkerHarness) -> None:
    harness.execute("UPDATE notify.notification_event_types SET expires_after = '1 minute'")
    bundled(harness)
    assert harness.execute(
        "SELECT expires_at - (SELECT last_at FROM notify.bundles) FROM notify.email_jobs WHERE status = 'pending'"
    ) == [(MINUTE,)]


def test_an_email_lives_as_long_as_its_longest_lived_notification(harness: WorkerHarness) -> None:
    lives = []
    comment_and_fan_out(harness, 0)
    for number, minutes in enumerate((2, 1, 5, 3), start=1):
        harness.execute(
            "UPDATE notify.notification_event_types SET expires_after = make_interval(mins => :minutes)",
            minutes=minutes,
        )
        comment_and_fan_out(harness, number)
        waiting = job(harness, harness.jobs(f"k{number}")[0].id)
        assert waiting.due_at is not None
        lives.append(waiting.expires_at - waiting.due_at)
    assert lives == [minutes * MINUTE for minutes in (2, 2, 5, 5)]


def test_workers_that_fan_out_concurrently_write_one_first_email_and_one_bundle(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    emit_comments(harness, *range(40))
    fans = [
        wiring.fan_out(harness.settings, harness.database, doorbell=harness.doorbell, worker=uuid4()) for _ in range(3)
    ]
    for fan in fans:
        fan._batch = 3  # noqa: SLF001 - small batches, so that they interleave
    all_at_once([fan.drain for fan in fans])
    harness.fan_out()  # as the next sweep does, once each has given way to another
    harness.drain()
    harness.execute(WINDOW_ENDS)
    harness.drain()
    emails = told_numbers(relay)
    assert len(emails) == 2
    assert sorted(number for email in emails for number in email) == list(range(40))


def test_an_event_that_is_fanned_out_again_joins_no_email_and_opens_none(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness, count=2)
    for _ in range(2):
        harness.execute(rows.FAN_OUT_AGAIN)
        harness.fan_out()
        assert harness.execute("SELECT DISTINCT status FROM notify.events") == [("done",)]
        harness.execute(WINDOW_ENDS)
        harness.drain()
    assert told_numbers(relay) == [[0], [1, 2]]


def test_a_new_recipient_of_a_repeated_fan_out_is_not_lost_although_its_bundle_was_pruned(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    bundled(harness, count=1)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    harness.execute("DELETE FROM notify.bundles")
    harness.execute(rows.FAN_OUT_AGAIN)
    comment_and_fan_out(harness, 2, 3)
    harness.execute(WINDOW_ENDS)
    harness.drain()
    assert sorted(number for email in told_numbers(relay) for number in email) == [0, 1, 2, 3]


def test_two_fan_outs_for_the_same_person_and_change_list_take_turns(harness: WorkerHarness) -> None:
    comment_and_fan_out(harness, 0)
    emit_comments(harness, 1)
    with harness.database.engine.connect() as other:
        bundles.lock(other, {BundleKey("alice", "CL-1")})
        with meanwhile(harness.fan_out) as fanning_out:
            assert blocked_session(harness.database)
            other.commit()
            fanning_out.result()
    assert states(harness, [1]) == ["pending"]


def test_the_number_of_statements_does_not_depend_on_how_many_notifications_are_bundled(harness: WorkerHarness) -> None:
    comment_and_fan_out(harness, 0)
    costs = []
    for numbers in (range(1, 30), range(30, 32), range(32, 60)):
        emit_comments(harness, *numbers)
        with statements(harness.database) as sent:
            harness.fan_out()
        costs.append(len(sent))
    opening, joining, many_joining = costs
    assert opening <= joining == many_joining
