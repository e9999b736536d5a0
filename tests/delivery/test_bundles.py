"""First at once, then bundled: what is said on a change list soon after an email leaves as one email, in order."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
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
from notify.store.outbox import bundles, by_hand, items, jobs, outbox
from notify.store.outbox.by_hand import Action, act_on
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.jobs import JobView
from notify.store.tables.people import notification_event_types
from tests.support import rows
from tests.support.office import Office, comment
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
def office(database: Database, relay: ScriptedRelay) -> Office:
    """A worker that bundles what comes within three minutes."""
    with database.begin() as connection:
        for name in ("alice", *TALKERS):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return Office(database, relay.url, {"bundle_seconds": WINDOW.total_seconds()})


def said(office: Office, *numbers: int, link: str = "CL-1", author: str = "alice") -> None:
    """Somebody says these on a change list of this author's, one after the other, and it is fanned out."""
    tell(office, *numbers, link=link, author=author)
    office.fan_out()


def tell(office: Office, *numbers: int, link: str = "CL-1", author: str = "alice") -> None:
    """Somebody says these."""
    for number in numbers:
        event = comment(key=f"k{number}", link=link, actor=TALKERS[number % len(TALKERS)], reviewers=())
        event |= {"comment": {"id": str(number), "body": f"Word {number}.", "url": f"https://x.example/{number}"}}
        event["cl"] |= {"author": author}
        with office.database.begin() as connection:
            receive(connection, [parse(event)])


def bundled(office: Office, *, count: int = 4) -> JobView:
    """The first email is out, and one that tells of so many more waits: its job."""
    said(office, 0)
    office.drain()
    said(office, *range(1, count + 1))
    (job_id,) = {row.id for number in range(1, count + 1) for row in office.jobs(f"k{number}")}
    return job(office, job_id)


def job(office: Office, job_id: int) -> JobView:
    """As people are shown it."""
    with office.database.begin() as connection:
        found = jobs.show(connection, job_id)
    assert found is not None
    return found


def arrived(relay: ScriptedRelay) -> list[EmailMessage]:
    """The emails that the relay took, as the standard library reads them."""
    return [BytesParser(EmailMessage, policy=policy.SMTP).parsebytes(one.content) for one in relay.letters]


def message_ids(relay: ScriptedRelay) -> list[str]:
    """Those of the emails that the relay took, without brackets."""
    return [email["Message-ID"].strip("<>") for email in arrived(relay)]


def words(email: EmailMessage) -> list[int]:
    """The numbers of what was said, in the order of the email."""
    part = email.get_body(("plain",))
    assert part is not None
    return [int(line.split()[2].strip(".")) for line in part.get_content().splitlines() if line.startswith("> Word")]


def told(relay: ScriptedRelay) -> list[list[int]]:
    return [words(email) for email in arrived(relay)]


def keys(numbers: Sequence[int]) -> list[str]:
    return [f"k{number}" for number in numbers]


def states(office: Office, numbers: Sequence[int]) -> list[str]:
    return [row.status for key in keys(numbers) for row in office.jobs(key)]


def written(office: Office, *numbers: int) -> list[tuple[str, str, int | None]]:
    """What the tables say of alice's notifications about these: decision, why, and the job whose email tells of it."""
    return [tuple(row) for row in office.now(NOTIFICATIONS, keys=keys(numbers))]


def claimed(office: Office) -> None:
    """A worker takes all that is due, and vanishes."""
    with office.database.begin() as connection:
        outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())


def act(office: Office, action: Action, which: JobFilter) -> tuple[int, ...]:
    """An operator does it; the ids of the jobs that were changed or written."""
    with office.database.begin() as connection:
        return by_hand.act(connection, action, which, last_id=2**62, limit=100).done


def about(number: int) -> JobFilter:
    """Emails that tell of this."""
    return JobFilter(event_key=f"k{number}")


def fan_out(office: Office, *, before_it_commits: Callable[[], object]) -> None:
    """Fan out what is due, as one batch that is held up just before it commits."""

    def pause(name: str) -> None:
        if name == FAN_OUT_WRITTEN:
            before_it_commits()

    handler = FanOut(
        office.database,
        doorbell=office.doorbell,
        message_host="example.com",
        rng=Random(1),
        bundle=WINDOW,
        checkpoint=pause,
    )
    with office.database.begin() as connection:
        claims = items.claim(connection, FAN_OUT, limit=100, lease=MINUTE, worker=uuid4(), ordered=True)
    handler.work(claims)


def test_the_first_goes_at_once_and_the_others_leave_as_one_in_order(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    assert told(relay) == [[0]]
    office.drain()
    assert told(relay) == [[0]]
    office.now(WINDOW_ENDS)
    report = office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert (report["claimed"], report["sent"]) == (1, 1)
    assert states(office, range(5)) == ["sent"] * 5


def test_a_bundle_is_one_job_with_several_notifications(office: Office) -> None:
    waiting = bundled(office)
    assert office.now("SELECT id FROM notify.email_jobs WHERE status = 'pending'") == [(waiting.id,)]
    assert office.now(OWN_ITEMS) == [(waiting.id,)]
    assert written(office, 1, 2, 3, 4) == [("told", "default", waiting.id)] * 4
    assert (waiting.topic, waiting.deferred_by, waiting.notification_count) == ("CL-1", None, 4)
    assert waiting.event_key == "k1"


def test_emails_are_counted_by_the_type_of_what_they_tell_of_first(office: Office) -> None:
    said(office, 0)
    office.drain()
    said(office, 1, 2, 3)
    office.now(
        "UPDATE notify.notifications SET event_type = 'cl.comment.mentioned'"
        " WHERE id = (SELECT min(id) FROM notify.notifications WHERE email_job_id = :id)",
        id=office.jobs("k1")[0].id,
    )
    office.now(WINDOW_ENDS)
    office.drain()
    assert office.now(COUNTED) == [("cl.comment.created", "sent", 1), ("cl.comment.mentioned", "sent", 1)]


def test_each_entry_has_its_author_and_its_link_in_text_and_html(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    office.now(WINDOW_ENDS)
    office.drain()
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


def test_what_was_fanned_out_late_stands_where_it_happened(office: Office, relay: ScriptedRelay) -> None:
    said(office, 0)
    office.drain()
    tell(office, 1, 2, 3)
    office.now("UPDATE notify.work_items SET due_at = now() + interval '1 hour', failures = 1 WHERE stage = 'fan_out'")
    office.fan_out()
    office.now("UPDATE notify.work_items SET due_at = now() WHERE stage = 'fan_out'")
    office.fan_out()
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3]]


def test_an_email_bears_the_message_id_that_its_job_has(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    office.now(WINDOW_ENDS)
    office.drain()
    assert message_ids(relay)[-1] == waiting.message_id
    assert {row.message_id for number in range(1, 5) for row in office.jobs(f"k{number}")} == {waiting.message_id}


def test_after_the_window_the_next_goes_at_once_again(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    office.now(WINDOW_ENDS)
    office.drain()
    office.now("UPDATE notify.bundles SET last_at = now() - interval '181 s'")
    said(office, 7)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4], [7]]


def test_what_comes_right_after_a_bundle_waits_a_window_more(office: Office, relay: ScriptedRelay) -> None:
    before = bundled(office)
    office.now(WINDOW_ENDS)
    office.drain()
    said(office, 8, 9)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    (after,) = {row.due_at for number in (8, 9) for row in office.jobs(f"k{number}")}
    assert after - before.due_at == WINDOW


def test_other_change_lists_and_other_people_wait_for_nobody(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    said(office, 5, link="CL-2")
    office.drain()
    said(office, 6, author="carol")
    office.drain()
    assert told(relay) == [[0], [5], [6]]
    assert relay.letters[-1].recipient == "carol@example.com"


@pytest.mark.parametrize(
    "facts", [{"bundle_within": timedelta(0)}, {"system_required": True}], ids=["never bundled", "required"]
)
def test_what_must_not_wait_goes_at_once(office: Office, relay: ScriptedRelay, facts: dict[str, Any]) -> None:
    with office.database.begin() as connection:
        connection.execute(update(notification_event_types).values(**facts))
    said(office, 0, 1)
    office.drain()
    assert sorted(told(relay)) == [[0], [1]]


def test_nobody_joins_an_email_that_somebody_has_claimed(office: Office, relay: ScriptedRelay) -> None:
    before = bundled(office, count=2)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        (one,) = outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())
    said(office, 3, 4)
    assert before.id not in {row.id for number in (3, 4) for row in office.jobs(f"k{number}")}
    with office.database.begin() as connection:
        items.settle(connection, DELIVER, [items.released(one.claim)])
    said(office, 5)
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(told(relay)) == [[0], [1, 2], [3, 4, 5]]


def test_a_bundle_is_one_of_those_that_a_claim_may_take(office: Office) -> None:
    bundled(office, count=5)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        (one,) = outbox.claim(connection, limit=1, lease=MINUTE, worker=uuid4())
    assert [told.event.key for told in one.notifications] == keys(range(1, 6))
    assert states(office, range(1, 6)) == ["sending"] * 5
    with office.database.begin() as connection:
        assert outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4()) == []


def test_emails_are_claimed_with_three_statements_however_many_events_they_tell_of(office: Office) -> None:
    costs = []
    for numbers in ((0,), (1, 2), (3, 4, 5, 6)):
        said(office, *numbers)
        said(office, *(10 * number + 9 for number in numbers), link=f"CL-{10 + numbers[0]}")
        office.now(WINDOW_ENDS)
        with statements(office.database) as sent, office.database.begin() as connection:
            found = outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4())
        costs.append((len(found) > 1, len(sent)))
    assert costs == [(True, 3)] * 3


def test_a_refusal_is_one_of_the_email_which_comes_again_whole(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    office.now(WINDOW_ENDS)
    relay.answers[MAIL] = "451 4.3.0 later"
    office.drain()
    assert [(row.status, row.failures, row.attempt) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [
        ("pending", 1, 1)
    ] * 4
    assert office.now("SELECT job_id, attempt FROM notify.email_attempts") == [(waiting.id, 1)]
    assert office.now(OWN_ITEMS) == [(waiting.id,)]
    del relay.answers[MAIL]
    said(office, 5)
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(told(relay)) == [[0], [1, 2, 3, 4], [5]]
    assert waiting.message_id in message_ids(relay)


def test_a_budget_that_was_raised_holds_for_the_whole_email(office: Office, relay: ScriptedRelay) -> None:
    bundled(office, count=2)
    office.now("UPDATE notify.work_items SET failures = 11, max_failures = 20 WHERE stage = 'deliver'")
    relay.answers[MAIL] = "451 4.3.0 later"
    for _ in range(2):
        office.now(WINDOW_ENDS)
        office.drain()
    assert [(row.status, row.failures) for number in (1, 2) for row in office.jobs(f"k{number}")] == [
        ("pending", 13)
    ] * 2


def test_a_refusal_for_good_ends_all_that_the_email_tells_of(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    office.now(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    office.drain()
    assert states(office, range(1, 5)) == ["dead"] * 4


def test_what_is_not_to_be_told_any_more_is_dropped_from_the_email(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    office.now(BY_ALICE, keys=["k1", "k3"])
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2, 4]]
    assert states(office, range(1, 5)) == ["skipped", "sent", "skipped", "sent"]
    assert written(office, 1, 2, 3, 4) == [
        ("skipped", "is_actor", None),
        ("told", "default", waiting.id),
        ("skipped", "is_actor", None),
        ("told", "default", waiting.id),
    ]
    assert office.now(COUNTED) == [("cl.comment.created", "sent", 2)]


def test_an_email_whose_first_notification_is_dropped_keeps_its_message_id_over_the_next_attempt(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office)
    office.now(BY_ALICE, keys=["k1"])
    office.now(WINDOW_ENDS)
    relay.drop_at.add(DOT)
    office.drain()
    relay.drop_at.clear()
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2, 3, 4], [2, 3, 4]]
    assert message_ids(relay)[1:] == [waiting.message_id] * 2
    assert states(office, range(1, 5)) == ["skipped", "sent", "sent", "sent"]


def test_what_was_dropped_once_comes_with_no_later_attempt(office: Office, relay: ScriptedRelay) -> None:
    bundled(office, count=3)
    office.now(BY_ALICE, keys=["k2"])
    office.now(WINDOW_ENDS)
    relay.drop_at.add(DOT)
    office.drain()
    relay.drop_at.clear()
    office.now("UPDATE notify.events SET actor = 'bob' WHERE key = 'k2'")
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [1, 3], [1, 3]]


def test_where_nobody_is_to_be_told_there_is_no_email(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    with office.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    office.now(WINDOW_ENDS)
    assert office.drain()["skipped"] == 1
    assert told(relay) == [[0]]
    ended = job(office, waiting.id)
    assert (ended.status, ended.outcome_reason, ended.notification_count) == ("skipped", "muted_cl", 1)
    assert [(row.status, row.outcome_reason) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [
        ("skipped", "muted_cl")
    ] * 4
    assert written(office, 1, 2, 3, 4) == [("told", "default", waiting.id), *[("skipped", "muted_cl", None)] * 3]
    assert office.now(COUNTED) == [("cl.comment.created", "sent", 1), ("cl.comment.created", "skipped", 1)]


def test_an_email_that_is_skipped_says_why_of_the_first_that_it_drops(office: Office) -> None:
    waiting = bundled(office, count=2)
    office.now(BY_ALICE, keys=["k1"])
    with office.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    office.now(WINDOW_ENDS)
    office.drain()
    assert job(office, waiting.id).outcome_reason == "is_actor"
    assert written(office, 2) == [("skipped", "muted_cl", None)]


def test_where_one_is_left_the_email_is_an_ordinary_one(office: Office, relay: ScriptedRelay) -> None:
    bundled(office, count=2)
    office.now(BY_ALICE, keys=["k1"])
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2]]
    assert "updates on" not in arrived(relay)[1].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_an_email_whose_worker_vanished_comes_again_whole_and_is_counted_once(
    office: Office, relay: ScriptedRelay
) -> None:
    bundled(office)
    office.now(WINDOW_ENDS)
    claimed(office)
    office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert [(row.lapses, row.attempt) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [(1, 2)] * 4
    assert office.now("SELECT sum(count) FROM notify.delivery_stats WHERE outcome = 'lapse'") == [(1,)]


def test_an_email_that_has_outlived_three_workers_is_dead_whole(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    office.now(WINDOW_ENDS)
    for _ in range(3):
        with office.database.begin() as connection:
            if not outbox.claim(connection, limit=10, lease=MINUTE, worker=uuid4()):
                outbox.claim_lapsed(connection, lease=MINUTE, worker=uuid4())
        office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0]]
    assert [row.outcome_reason for number in range(1, 5) for row in office.jobs(f"k{number}")] == ["poison"] * 4
    assert office.now("SELECT sum(count) FROM notify.delivery_stats WHERE outcome = 'dead'") == [(1,)]


def test_to_cancel_one_of_them_is_to_cancel_the_email_and_what_follows_has_another(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office)
    assert act(office, Action.CANCEL, about(2)) == (waiting.id,)
    assert states(office, range(1, 5)) == ["cancelled"] * 4
    said(office, 5)
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [5]]


def test_an_email_that_is_cancelled_on_its_way_is_retried_whole(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    office.now(WINDOW_ENDS)
    claimed(office)
    act(office, Action.CANCEL, about(1))
    office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0]]
    assert [(row.status, row.outcome_reason) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [
        ("cancelled", "by_hand")
    ] * 4
    act(office, Action.RETRY, about(4))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert message_ids(relay)[-1] == waiting.message_id


def test_what_joins_while_the_email_is_cancelled_is_cancelled_with_it_and_not_forgotten(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office, count=2)
    tell(office, 3)
    with ThreadPoolExecutor(1) as operator:

        def cancel() -> None:
            cancelling.append(operator.submit(act, office, Action.CANCEL, about(1)))
            assert blocked_session(office.database)

        cancelling: list[Any] = []
        fan_out(office, before_it_commits=cancel)
        assert cancelling[0].result() == (waiting.id,)
    assert [(row.status, row.outcome_reason) for row in office.jobs("k3")] == [("cancelled", "by_hand")]
    assert written(office, 3) == [("told", "default", waiting.id)]
    act(office, Action.RETRY, about(3))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3]]


def test_what_would_join_an_email_that_was_just_cancelled_has_an_email_of_its_own(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office, count=2)
    tell(office, 3, 4)
    with office.database.engine.connect() as operator:
        assert act_on(operator, Action.CANCEL, waiting.id)
        with meanwhile(office.fan_out) as fanning_out:
            assert blocked_session(office.database)
            operator.commit()
            fanning_out.result()
    assert states(office, range(1, 5)) == ["cancelled", "cancelled", "pending", "pending"]
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [3, 4]]


def test_to_make_one_of_them_due_by_hand_is_to_make_the_email_due(office: Office, relay: ScriptedRelay) -> None:
    bundled(office)
    act(office, Action.RETRY, about(4))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]


def test_a_dead_bundle_is_retried_whole_once_whoever_is_named(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office)
    office.now(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    office.drain()
    del relay.answers[RCPT]
    assert act(office, Action.RETRY, JobFilter(topic="CL-1", status="dead")) == (waiting.id,)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert message_ids(relay)[-1] == waiting.message_id


def test_a_replay_repeats_the_whole_email_at_once_under_a_message_id_of_its_own(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office)
    office.now(WINDOW_ENDS)
    office.drain()
    (again,) = act(office, Action.REPLAY, about(4))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4], [1, 2, 3, 4]]
    assert message_ids(relay)[1:] == [waiting.message_id, job(office, again).message_id]
    assert len(set(message_ids(relay))) == 3
    assert job(office, again).notification_count == 4
    assert written(office, 1, 2, 3, 4) == [("told", "default", waiting.id)] * 4


def test_what_a_replay_drops_stays_with_the_original(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office, count=3)
    office.now(WINDOW_ENDS)
    office.drain()
    office.now(BY_ALICE, keys=["k1"])
    act(office, Action.REPLAY, about(1))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3], [2, 3]]
    assert written(office, 1, 2, 3) == [("told", "default", waiting.id)] * 3


def test_a_replay_that_drops_all_is_skipped_and_leaves_the_original_as_it_is(
    office: Office, relay: ScriptedRelay
) -> None:
    waiting = bundled(office, count=3)
    office.now(WINDOW_ENDS)
    office.drain()
    with office.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    (again,) = act(office, Action.REPLAY, about(1))
    office.drain()
    assert told(relay) == [[0], [1, 2, 3]]
    assert (job(office, again).status, job(office, again).outcome_reason) == ("skipped", "muted_cl")
    assert job(office, waiting.id).status == "sent"
    assert written(office, 1, 2, 3) == [("told", "default", waiting.id)] * 3


def test_nobody_joins_an_email_that_a_replay_has_repeated(office: Office, relay: ScriptedRelay) -> None:
    waiting = bundled(office, count=2)
    act(office, Action.CANCEL, about(1))
    (again,) = act(office, Action.REPLAY, about(1))
    act(office, Action.RETRY, JobFilter(ids=(waiting.id,)))
    said(office, 3)
    assert job(office, again).notification_count == 2
    office.drain()
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(told(relay)) == [[0], [1, 2], [1, 2], [3]]


def test_life_begins_when_an_email_may_go(office: Office) -> None:
    office.now("UPDATE notify.notification_event_types SET expires_after = '1 minute'")
    bundled(office)
    assert office.now(
        "SELECT expires_at - (SELECT last_at FROM notify.bundles) FROM notify.email_jobs WHERE status = 'pending'"
    ) == [(MINUTE,)]


def test_an_email_lives_as_long_as_the_longest_lived_of_its_notifications(office: Office) -> None:
    lives = []
    said(office, 0)
    for number, minutes in enumerate((2, 1, 5, 3), start=1):
        office.now(
            "UPDATE notify.notification_event_types SET expires_after = make_interval(mins => :minutes)",
            minutes=minutes,
        )
        said(office, number)
        waiting = job(office, office.jobs(f"k{number}")[0].id)
        assert waiting.due_at is not None
        lives.append(waiting.expires_at - waiting.due_at)
    assert lives == [minutes * MINUTE for minutes in (2, 2, 5, 5)]


def test_workers_that_fan_out_at_once_write_one_first_email_and_one_of_the_others(
    office: Office, relay: ScriptedRelay
) -> None:
    tell(office, *range(40))
    fans = [
        wiring.fan_out(office.settings, office.database, doorbell=office.doorbell, worker=uuid4()) for _ in range(3)
    ]
    for fan in fans:
        fan._batch = 3  # noqa: SLF001 - small batches, so that they interleave
    all_at_once([fan.drain for fan in fans])
    office.fan_out()  # as the next sweep does, where each has stood aside for another
    office.drain()
    office.now(WINDOW_ENDS)
    office.drain()
    emails = told(relay)
    assert len(emails) == 2
    assert sorted(number for email in emails for number in email) == list(range(40))


def test_an_event_fanned_out_again_joins_nothing_and_opens_nothing(office: Office, relay: ScriptedRelay) -> None:
    bundled(office, count=2)
    for _ in range(2):
        office.now(rows.FAN_OUT_AGAIN)
        office.fan_out()
        assert office.now("SELECT DISTINCT status FROM notify.events") == [("done",)]
        office.now(WINDOW_ENDS)
        office.drain()
    assert told(relay) == [[0], [1, 2]]


def test_what_comes_with_an_event_fanned_out_again_after_its_bundle_was_pruned_is_not_lost(
    office: Office, relay: ScriptedRelay
) -> None:
    bundled(office, count=1)
    office.now(WINDOW_ENDS)
    office.drain()
    office.now("DELETE FROM notify.bundles")
    office.now(rows.FAN_OUT_AGAIN)
    said(office, 2, 3)
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(number for email in told(relay) for number in email) == [0, 1, 2, 3]


def test_who_writes_to_a_person_about_a_change_list_waits_for_the_other_who_does(office: Office) -> None:
    said(office, 0)
    tell(office, 1)
    with office.database.engine.connect() as other:
        bundles.lock(other, {BundleKey("alice", "CL-1")})
        with meanwhile(office.fan_out) as fanning_out:
            assert blocked_session(office.database)
            other.commit()
            fanning_out.result()
    assert states(office, [1]) == ["pending"]


def test_those_that_wait_cost_the_same_number_of_statements_however_many(office: Office) -> None:
    said(office, 0)
    costs = []
    for numbers in (range(1, 30), range(30, 32), range(32, 60)):
        tell(office, *numbers)
        with statements(office.database) as sent:
            office.fan_out()
        costs.append(len(sent))
    opening, joining, many_joining = costs
    assert opening <= joining == many_joining
