"""A batch of events becomes one notification for each person it concerns: told, or skipped with a reason."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from datetime import timedelta
from functools import partial
from random import Random
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import Connection, delete, func, insert, select, text, update
from sqlalchemy.exc import OperationalError
from structlog.testing import capture_logs

from notify.domain.claims import Lane
from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.domain.stages import DELIVER, FAN_OUT
from notify.domain.threads import message_id
from notify.intake.fan_out import FanOut
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences
from notify.store.outbox import items, jobs
from notify.store.tables.emails import email_jobs, events, notifications, work_items
from notify.store.tables.people import notification_event_types, people
from notify.work.stage import BatchStage
from tests.support import rows
from tests.support.doorbell import RecordingDoorbell
from tests.support.race import all_at_once, blocked_session, meanwhile
from tests.support.statements import statements

COMMENT = "cl.comment.created"
HOST = "review.example"
FIRST_WAIT, LONGEST_WAIT = timedelta(seconds=30), timedelta(minutes=15)
Arrange = Callable[[Connection], object]


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture(autouse=True)
def directory_of_four(database: Database) -> None:
    """Alice, bob, carol and dana, with addresses."""
    with database.begin() as connection:
        for name in ("alice", "bob", "carol", "dana"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))


def worker(
    database: Database,
    *,
    doorbell: RecordingDoorbell | None = None,
    batch: int = 200,
    at_most: timedelta = timedelta(seconds=30),
) -> BatchStage:
    doorbell = doorbell or RecordingDoorbell()
    return BatchStage(
        FanOut(database, doorbell=doorbell, message_host=HOST, rng=Random(1)),
        database,
        ring=partial(doorbell.ring, FAN_OUT),
        worker=uuid4(),
        lease=timedelta(minutes=1),
        batch=batch,
        at_most=at_most,
        rng=Random(1),
    )


def drain(database: Database, *, doorbell: RecordingDoorbell | None = None, batch: int = 200) -> SimpleNamespace:
    return SimpleNamespace(**worker(database, doorbell=doorbell, batch=batch).drain())


def counts(report: SimpleNamespace) -> dict[str, float]:
    """The report's counts that are not zero."""
    return {name: count for name, count in vars(report).items() if name != "seconds" and count}


def emit(database: Database, key: str = "k1", *, cl: dict[str, Any] | None = None, actor: str = "dana") -> int:
    """Emit a comment by dana on alice's change list, which bob and dana review; the event's id."""
    facts = {"link": "CL-1", "author": "alice", "reviewers": ["bob", "dana"]} if cl is None else cl
    event = {"key": key, "type": COMMENT, "actor": actor, "cl": facts, "comment": {"id": key, "body": "Why?"}}
    with database.begin() as connection:
        (receipt,) = receive(connection, [parse(event)])
    return receipt.id


def state_of_event(database: Database, event_id: int) -> tuple[str, int, str | None]:
    """The event's status, failures and reason."""
    with database.begin() as connection:
        key = connection.scalar(select(events.c.key).where(events.c.id == event_id))
        found = jobs.of_event(connection, str(key))
    assert found is not None
    return found.status, found.failures, found.last_error


def outcomes(database: Database, event_id: int) -> dict[str, tuple[str, str, str | None]]:
    """Each person's reason, status and why."""
    with database.begin() as connection:
        key = connection.scalar(select(events.c.key).where(events.c.id == event_id))
        found = jobs.of_event(connection, str(key))
    assert found is not None
    return {one.username: (one.reason, one.status, one.why) for one in found.people}


def come_due(database: Database) -> None:
    """Make waiting events due."""
    with database.begin() as connection:
        connection.execute(update(work_items).values(due_at=rows.ago(seconds=1)))


def test_everyone_concerned_gets_one_notification_without_stored_preferences(database: Database) -> None:
    event_id = emit(database)
    report = drain(database)
    assert outcomes(database, event_id) == {
        "alice": ("author", "pending", None),
        "bob": ("reviewer", "pending", None),
        "dana": ("reviewer", "skipped", "is_actor"),
    }
    assert counts(report) == {"claimed": 1, "told": 2, "skipped": 1}
    assert rows.row(database, events, event_id)["status"] == "done"


def test_an_email_has_everything_that_delivery_needs(database: Database) -> None:
    event_id = emit(database)
    drain(database)
    with database.begin() as connection:
        query = select(email_jobs, notifications).join(notifications).where(email_jobs.c.username == "alice")
        found = connection.execute(query).mappings().one()
    assert (found["event_id"], found["event_type"], found["topic"]) == (event_id, COMMENT, "CL-1")
    assert found["to_email"] == "alice@example.com"
    assert found["message_id"] == message_id("CL-1", event_key="k1", username="alice", host=HOST)


def test_an_author_who_also_reviews_gets_one_email_as_the_author(database: Database) -> None:
    event_id = emit(database, cl={"link": "CL-1", "author": "alice", "reviewers": ["alice", "bob"]})
    drain(database)
    assert outcomes(database, event_id) == {"alice": ("author", "pending", None), "bob": ("reviewer", "pending", None)}


def put_bob(**facts: Any) -> Arrange:
    person = {"username": "bob", "email": "bob@example.com", **facts}
    return lambda connection: directory.put_person(connection, Person(**person))


def refuse_bobs_address(connection: Connection) -> None:
    directory.mark_undeliverable(connection, [directory.RefusedAddress("bob", "bob@example.com", "no such user")])


def bob_chooses(**chosen: Any) -> Arrange:
    given = {"settings": {}, "preferences": {}, **chosen}
    return lambda connection: preferences.put_config(connection, "bob", **given)


def mute_cl_1(connection: Connection) -> None:
    preferences.mute(connection, "bob", "CL-1")


def mute_cl_1_but_for_mentions(connection: Connection) -> None:
    mute_cl_1(connection)
    bob_chooses(settings={"mentions_pierce_mutes": True})(connection)


def forget_mentions(connection: Connection) -> None:
    connection.execute(
        delete(notification_event_types).where(notification_event_types.c.code == "cl.comment.mentioned")
    )


def type_is(**facts: bool) -> Arrange:
    return lambda connection: connection.execute(update(notification_event_types).values(**facts))


def forget_bob(connection: Connection) -> None:
    connection.execute(delete(people).where(people.c.username == "bob"))


@pytest.mark.parametrize(
    ("arrange", "why"),
    [
        pytest.param(forget_bob, "no_address", id="unknown"),
        pytest.param(put_bob(active=False), "no_address", id="has left"),
        pytest.param(put_bob(email=None), "no_address", id="no address"),
        pytest.param(refuse_bobs_address, "no_address", id="address refused for good"),
        pytest.param(put_bob(email="bob at example.com"), "bad_address", id="no address that could be written"),
        pytest.param(bob_chooses(settings={"email": "bob@"}), "bad_address", id="chosen before the door asked"),
        pytest.param(put_bob(is_bot=True), "is_bot", id="bot"),
        pytest.param(bob_chooses(settings={"enabled": False}), "muted_all", id="master switch"),
        pytest.param(lambda connection: preferences.mute(connection, "bob", "CL-1"), "muted_cl", id="muted CL"),
        pytest.param(bob_chooses(preferences={COMMENT: False}), "muted_event", id="muted event type"),
        pytest.param(type_is(default_enabled=False), "default", id="off by default"),
    ],
)
def test_a_skipped_person_has_a_row_with_the_reason(database: Database, arrange: Arrange, why: str) -> None:
    with database.begin() as connection:
        arrange(connection)
    event_id = emit(database)
    drain(database)
    assert outcomes(database, event_id)["bob"] == ("reviewer", "skipped", why)


@pytest.mark.parametrize(
    ("arrange", "address", "priority"),
    [
        pytest.param(lambda _: None, "bob@example.com", 1, id="nothing chosen"),
        pytest.param(bob_chooses(settings={"email": "home@example.com"}), "home@example.com", 1, id="own address"),
        pytest.param(lambda connection: preferences.mute(connection, "bob", "CL-2"), "bob@example.com", 1, id="mute"),
        pytest.param(type_is(system_required=True), "bob@example.com", 0, id="required"),
    ],
)
def test_a_told_person_gets_an_email_with_the_right_address_and_priority(
    database: Database, arrange: Arrange, address: str, priority: int
) -> None:
    with database.begin() as connection:
        arrange(connection)
    emit(database)
    drain(database)
    with database.begin() as connection:
        columns = (email_jobs.c.to_email, work_items.c.lane, email_jobs.c.status)
        its_item = (work_items.c.id == email_jobs.c.id) & (work_items.c.stage == DELIVER)
        found = connection.execute(select(*columns).where(email_jobs.c.username == "bob", its_item)).one()
    assert tuple(found) == (address, priority, "pending")


def test_required_mail_reaches_even_its_actor_and_people_who_muted_everything(database: Database) -> None:
    with database.begin() as connection:
        type_is(system_required=True)(connection)
        bob_chooses(settings={"enabled": False}, preferences={COMMENT: False})(connection)
        preferences.mute(connection, "bob", "CL-1")
    event_id = emit(database)
    drain(database)
    assert {name: fate[1] for name, fate in outcomes(database, event_id).items()} == dict.fromkeys(
        ("alice", "bob", "dana"), "pending"
    )


def emit_on_cl_1(database: Database, event_type: str, **parts: Any) -> int:
    """Emit an event by dana on alice's change list, which bob and dana review; the event's id."""
    facts = {"link": "CL-1", "author": "alice", "reviewers": ["bob", "dana"]}
    with database.begin() as connection:
        (receipt,) = receive(connection, [parse({"type": event_type, "actor": "dana", "cl": facts, **parts})])
    return receipt.id


def asks_for(**settings: bool) -> Arrange:
    """Carol, who has no role, sets this preference."""
    return lambda connection: preferences.put_config(connection, "carol", settings=settings, preferences={})  # type: ignore[arg-type]


def carol_said(connection: Connection) -> None:
    rows.event(connection, actor="carol", **rows.ended("done"))


def carol_subscribes(connection: Connection) -> None:
    preferences.subscribe(connection, "carol", "CL-1")


def carol_subscribes_elsewhere(connection: Connection) -> None:
    preferences.subscribe(connection, "carol", "CL-2")


def both(*arrange: Arrange) -> Arrange:
    return lambda connection: [one(connection) for one in arrange]


@pytest.mark.parametrize(
    ("arrange", "fate"),
    [
        pytest.param(carol_subscribes, ("subscriber", "pending", None), id="subscribed"),
        pytest.param(carol_subscribes_elsewhere, None, id="subscribed elsewhere"),
        pytest.param(carol_said, None, id="said something"),
        pytest.param(asks_for(participating=True), None, id="said nothing"),
        pytest.param(
            both(carol_said, asks_for(participating=True)), ("participant", "pending", None), id="participating"
        ),
        pytest.param(
            both(carol_said, carol_subscribes, asks_for(participating=True)),
            ("subscriber", "pending", None),
            id="both",
        ),
        pytest.param(
            both(carol_subscribes, lambda connection: preferences.mute(connection, "carol", "CL-1")),
            ("subscriber", "skipped", "muted_cl"),
            id="subscribed and muted",
        ),
    ],
)
def test_a_person_without_a_role_gets_what_they_subscribed_to(
    database: Database, arrange: Arrange, fate: tuple[str, str, str | None] | None
) -> None:
    with database.begin() as connection:
        arrange(connection)
    event_id = emit(database)
    drain(database)
    assert outcomes(database, event_id) == AROUND | ({"carol": fate} if fate else {})


def test_a_comment_makes_its_author_a_participant_only_for_later_events(database: Database) -> None:
    with database.begin() as connection:
        asks_for(participating=True)(connection)
    first = emit(database, "first", actor="carol")
    second = emit(database, "second")
    drain(database)
    assert "carol" not in outcomes(database, first)
    assert outcomes(database, second)["carol"] == ("participant", "pending", None)


def test_own_actions_are_sent_to_people_who_want_them(database: Database) -> None:
    with database.begin() as connection:
        preferences.put_config(connection, "dana", settings={"own_actions": True}, preferences={})
    event_id = emit(database)
    drain(database)
    assert outcomes(database, event_id)["dana"] == ("reviewer", "pending", None)


def test_a_bot_gets_only_the_event_types_that_are_switched_on_for_it(database: Database) -> None:
    with database.begin() as connection:
        put_bob(is_bot=True)(connection)
        bob_chooses(preferences={COMMENT: True})(connection)
    comment, merge = emit(database), emit_on_cl_1(database, "cl.merged")
    drain(database)
    assert outcomes(database, comment)["bob"] == ("reviewer", "pending", None)
    assert outcomes(database, merge)["bob"] == ("reviewer", "skipped", "is_bot")


REVIEW = {"id": "1", "state": "approved", "comments": [{"id": str(number), "body": "Why?"} for number in range(9)]}
AROUND = {
    "alice": ("author", "pending", None),
    "bob": ("reviewer", "pending", None),
    "dana": ("reviewer", "skipped", "is_actor"),
}


@pytest.mark.parametrize(
    ("event_type", "parts", "told"),
    [
        *((f"cl.{name}", {}, AROUND) for name in ("created", "updated", "merged", "closed", "reopened")),
        ("cl.review.submitted", {"review": REVIEW}, AROUND),
        (
            "cl.review.requested",
            {"request": {"reviewers": ["carol", "nobody"]}},
            {"carol": ("requested", "pending", None), "nobody": ("requested", "skipped", "no_address")},
        ),
    ],
)
def test_each_event_type_reaches_the_people_it_concerns_once(
    database: Database, event_type: str, parts: dict[str, Any], told: dict[str, tuple[str, str, str | None]]
) -> None:
    event_id = emit_on_cl_1(database, event_type, **parts)
    drain(database)
    assert outcomes(database, event_id) == told
    with database.begin() as connection:
        assert set(connection.scalars(select(notifications.c.event_type))) == {event_type}


def mention(database: Database, *, in_a_review: bool = False) -> int:
    """Dana mentions alice, bob, carol and nobody; the event's id."""
    comment = {"id": "1", "body": "@alice, @bob, @carol and @nobody: look."}
    if in_a_review:
        review = {"id": "1", "state": "commented", "comments": [comment]}
        return emit_on_cl_1(database, "cl.review.submitted", review=review)
    return emit_on_cl_1(database, COMMENT, comment=comment)


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("请@carol看一下", {"carol"}),
        ("@CAROL: look", {"carol"}),
        ("<!-- cc @carol -->", set()),
        ("`@carol` https://x.example/@carol a@carol.example", set()),
        ("@jose\u0301", {"josé"}),
        ("@JOSÉ and @jose", {"josé", "jose"}),
    ],
)
def test_mentions_are_found_in_the_parsed_text(database: Database, body: str, told: set[str]) -> None:
    with database.begin() as connection:
        for username in ("josé", "jose"):
            directory.put_person(connection, Person(username=username, email=f"{username}@example.com"))
    event_id = emit_on_cl_1(database, COMMENT, comment={"id": "1", "body": body})
    drain(database)
    assert {name for name, (reason, *_) in outcomes(database, event_id).items() if reason == "mentioned"} == told


@pytest.mark.parametrize("in_a_review", [False, True], ids=["comment", "review"])
def test_a_mentioned_person_is_told_about_a_mention_and_the_author_as_the_author(
    database: Database, *, in_a_review: bool
) -> None:
    event_id = mention(database, in_a_review=in_a_review)
    drain(database)
    assert outcomes(database, event_id) == {
        "alice": ("author", "pending", None),
        "bob": ("mentioned", "pending", None),
        "carol": ("mentioned", "pending", None),
        "dana": ("reviewer", "skipped", "is_actor"),
    }
    with database.begin() as connection:
        types = {row.username: row.event_type for row in connection.execute(select(notifications))}
    assert types["carol"] == "cl.comment.mentioned"
    assert types["alice"] != "cl.comment.mentioned"


@pytest.mark.parametrize(
    ("arrange", "fate"),
    [
        (bob_chooses(preferences={COMMENT: False}), ("mentioned", "pending", None)),
        (bob_chooses(preferences={"cl.comment.mentioned": False}), ("mentioned", "skipped", "muted_event")),
        (mute_cl_1, ("mentioned", "skipped", "muted_cl")),
        (mute_cl_1_but_for_mentions, ("mentioned", "pending", None)),
        (forget_mentions, ("reviewer", "pending", None)),
    ],
    ids=["mutes comments", "mutes mentions", "mutes the CL", "mutes the CL but for mentions", "no such type"],
)
def test_the_preference_about_mentions_decides_about_a_mention(
    database: Database, arrange: Arrange, fate: tuple[str, str, str | None]
) -> None:
    with database.begin() as connection:
        arrange(connection)
    event_id = mention(database)
    drain(database)
    assert outcomes(database, event_id)["bob"] == fate


@pytest.mark.parametrize(("is_bot", "priority"), [(True, 2), (False, 1)], ids=["bot", "person"])
def test_events_by_bots_have_bulk_priority(database: Database, *, is_bot: bool, priority: int) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com", is_bot=is_bot))
    emit(database)
    drain(database)
    with database.begin() as connection:
        told = select(work_items.c.lane).where(work_items.c.stage == DELIVER)
        assert set(connection.scalars(told)) == {priority}


def test_an_event_fanned_out_again_writes_nothing_and_does_not_ring(
    database: Database, doorbell: RecordingDoorbell
) -> None:
    event_id = emit(database)
    drain(database)
    before = outcomes(database, event_id)
    with database.begin() as connection:
        connection.execute(text(rows.FAN_OUT_AGAIN))
    report = drain(database, doorbell=doorbell)
    assert outcomes(database, event_id) == before
    assert (report.claimed, report.told, report.skipped) == (1, 0, 0)
    assert doorbell.rings == []


def test_two_concurrent_workers_write_each_persons_row_once(database: Database) -> None:
    ids = [emit(database, f"k{number}", cl=None if number == 0 else {"link": "CL-1"}) for number in range(60)]
    reports = all_at_once([partial(drain, database, batch=7)] * 2)
    come_due(database)
    reports.append(drain(database))
    assert sum(report.claimed - report.released for report in reports) == 60
    assert sum(report.told for report in reports) == 120
    for event_id in ids:
        assert set(outcomes(database, event_id)) == {"alice", "bob", "dana"}


@contextmanager
def taken_by_another(database: Database) -> Iterator[None]:
    """Another worker's uncommitted claim of everything that is due."""
    with database.begin() as connection:
        items.claim(connection, FAN_OUT, limit=10, lease=timedelta(minutes=1), worker=uuid4(), ordered=True)
        yield


@contextmanager
def taken_before(database: Database) -> Iterator[None]:
    """Another worker has claimed everything that is due."""
    with taken_by_another(database):
        pass
    yield


@pytest.mark.parametrize("taken", [taken_by_another, taken_before])
def test_an_event_waits_for_earlier_events_on_its_change_list_whoever_has_them(
    database: Database, taken: Callable[[Database], AbstractContextManager[object]]
) -> None:
    first = emit(database, "first")
    with taken(database):
        second = emit(database, "second")
        third = emit(database, "third")
        elsewhere = emit(database, "elsewhere", cl={"link": "CL-2", "author": "alice"})
        report = drain(database)
    assert (report.claimed - report.released, report.told) == (1, 1)
    assert outcomes(database, second) == outcomes(database, third) == {}
    assert set(outcomes(database, elsewhere)) == {"alice"}
    waiting = rows.item_of(database, FAN_OUT, second)
    assert waiting is not None
    assert (waiting["lane"], waiting["failures"], waiting["lapses"]) == (Lane.NORMAL, 0, 0)
    come_due(database)
    drain(database)
    assert written_in_order(database) == [elsewhere, first, second, third]


def test_an_event_claimed_too_early_keeps_its_place(database: Database) -> None:
    first = emit(database, "first")
    with taken_by_another(database):
        second = emit(database, "second")
        assert drain(database).released == 1
        third = emit(database, "third")
    rows.change_item(database, FAN_OUT, first, lane=Lane.DEAD, reason="test")
    drain(database, batch=1)
    assert written_in_order(database) == [second, third]


def test_events_of_a_vanished_worker_are_fanned_out_in_order_before_later_ones(database: Database) -> None:
    ids = [emit(database, f"k{number}") for number in range(3)]
    with taken_before(database):
        ids.append(emit(database, "after"))
    come_due(database)
    drain(database)
    come_due(database)
    drain(database)
    assert written_in_order(database) == ids


def test_a_worker_stops_when_everything_it_claims_waits_for_another(database: Database) -> None:
    emit(database, "first")
    with taken_by_another(database):
        for number in range(6):
            emit(database, f"k{number}")
        assert counts(drain(database, batch=2)) == {"claimed": 2, "released": 2}


def test_an_urgent_event_waits_for_no_other(database: Database) -> None:
    emit(database, "first")
    with database.begin() as connection:
        connection.execute(update(notification_event_types).values(system_required=True))
    with taken_before(database):
        emit(database, "urgent")
        assert drain(database).told == 3


def test_an_event_waiting_for_the_directory_delays_no_other(database: Database) -> None:
    unknown = {"link": "CL-9"}
    emit(database, "early", cl=unknown)
    drain(database)
    emit(database, "later", cl={**unknown, "author": "alice"})
    assert drain(database).told == 1


def written_in_order(database: Database) -> list[int]:
    """The events of the emails, in the order in which the emails were written."""
    with database.begin() as connection:
        told = select(notifications.c.event_id).where(notifications.c.email_job_id.is_not(None))
        found = connection.scalars(told.order_by(notifications.c.email_job_id)).all()
    return list(dict.fromkeys(found))


def test_delivery_is_rung_once_per_batch_and_only_for_emails(database: Database, doorbell: RecordingDoorbell) -> None:
    only_the_actor = {"link": "CL-1", "author": "dana", "reviewers": []}
    emit(database, "nobody", cl=only_the_actor)
    assert counts(drain(database, doorbell=doorbell)) == {"claimed": 1, "skipped": 1}
    assert doorbell.rings == []
    for number in range(3):
        emit(database, f"k{number}")
    drain(database, doorbell=doorbell)
    assert doorbell.rings == [DELIVER]


def test_the_emails_are_visible_when_the_doorbell_rings(database: Database) -> None:
    seen = []

    class ReadingDoorbell(RecordingDoorbell):
        """Reads the table at each ring, as a worker would."""

        def ring(self, stage: str) -> None:
            super().ring(stage)
            seen.append(rows.count_of(database, email_jobs))

    emit(database)
    drain(database, doorbell=ReadingDoorbell())
    assert seen == [2]


@pytest.mark.parametrize(
    "cl",
    [{"link": "CL-9"}, {"link": "CL-9", "title": "Known"}, {"link": "CL-9", "reviewers": []}],
    ids=["unknown", "known, but of nobody", "reviewed by nobody"],
)
def test_an_event_about_an_unknown_change_list_waits_for_the_directory(database: Database, cl: dict[str, Any]) -> None:
    event_id = emit(database, "early", cl=cl)
    other = emit(database, "ordinary")
    assert counts(drain(database)) == {"claimed": 2, "told": 2, "skipped": 1, "retried": 1}
    assert set(outcomes(database, other)) == {"alice", "bob", "dana"}
    assert state_of_event(database, event_id) == ("pending", 1, "unknown_topic")
    with database.begin() as connection:
        directory.put_change_list(connection, ChangeList(link="CL-9", author="carol"))
    come_due(database)
    drain(database)
    assert outcomes(database, event_id) == {"carol": ("author", "pending", None)}
    assert rows.row(database, events, event_id)["status"] == "done"


def test_an_event_waits_ever_longer_for_the_directory_and_is_dead_after_ten_attempts(database: Database) -> None:
    event_id = emit(database, cl={"link": "CL-9"})
    waits = []
    for _ in range(9):
        assert drain(database).retried == 1
        with database.begin() as connection:
            waits.append(connection.scalar(select(work_items.c.due_at - func.now()).where(work_items.c.id == event_id)))
        come_due(database)
    for number, wait in enumerate(waits):
        longest = min(LONGEST_WAIT, FIRST_WAIT * 2**number)
        assert longest / 2 - timedelta(seconds=5) < wait <= longest
    assert counts(drain(database)) == {"claimed": 1, "dead": 1}
    assert state_of_event(database, event_id) == ("dead", 10, "unknown_topic")


def test_an_event_whose_type_is_missing_from_the_table_is_not_fanned_out(database: Database) -> None:
    event_id = emit(database)
    with database.begin() as connection:
        connection.execute(delete(notification_event_types))
    assert drain(database).retried == 1
    assert state_of_event(database, event_id) == ("pending", 1, "unknown_type")


def test_an_event_type_without_a_trigger_is_not_fanned_out(database: Database) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, type="cl.abandoned")
        kind = {"code": "cl.abandoned", "category": "Ends", "description": "…"}
        connection.execute(insert(notification_event_types).values(kind))
    assert drain(database).retried == 1
    assert state_of_event(database, event_id) == ("pending", 1, "unknown_type")


def test_one_failing_event_does_not_stop_the_others(database: Database, doorbell: RecordingDoorbell) -> None:
    good = [emit(database, f"k{number}") for number in range(3)]
    bad = emit(database, "bad")
    taken = message_id("CL-1", event_key="bad", username="alice", host=HOST)
    with database.begin() as connection:  # another email has the Message-ID that alice's about the failing event needs
        rows.job(connection, username="somebody", message_id=taken, **rows.ended("sent"))
    with capture_logs():  # nobody reads it, but formatting the traceback takes seconds
        report = drain(database, doorbell=doorbell)
    assert (report.claimed, report.told, report.retried) == (4, 6, 1)
    for event_id in good:
        assert rows.row(database, events, event_id)["status"] == "done"
    assert state_of_event(database, bad) == ("pending", 1, "internal_error: MessageIdTaken")
    assert outcomes(database, bad) == {}
    assert set(doorbell.rings) == {DELIVER}


def test_a_database_outage_costs_an_event_no_failure(database: Database) -> None:
    event_id = emit(database)
    with database.engine.connect() as other:
        other.execute(text("LOCK TABLE notify.email_jobs IN ACCESS EXCLUSIVE MODE"))
        with meanwhile(drain, database) as draining:
            other.execute(select(func.pg_terminate_backend(blocked_session(database))))
            with pytest.raises(OperationalError):
                draining.result()
    assert state_of_event(database, event_id) == ("working", 0, None)
    come_due(database)
    assert drain(database).told == 2


def test_an_event_whose_worker_vanished_is_fanned_out_by_the_next(database: Database) -> None:
    event_id = emit(database)
    vanish(database, event_id)
    fresh = emit(database, "fresh")
    report = drain(database)
    assert (report.claimed, report.told) == (2, 4)
    assert set(outcomes(database, event_id)) == set(outcomes(database, fresh)) == {"alice", "bob", "dana"}


def test_an_event_that_lapsed_three_times_is_dead(database: Database) -> None:
    event_id = emit(database)
    vanish(database, event_id)
    rows.change_item(database, FAN_OUT, event_id, lapses=2)
    report = drain(database)
    assert (report.claimed, report.dead) == (0, 1)
    assert state_of_event(database, event_id) == ("dead", 0, "poison")


def vanish(database: Database, event_id: int) -> None:
    """A worker claims everything, and its lease on this event runs out."""
    with database.begin() as connection:
        items.claim(connection, FAN_OUT, limit=10, lease=timedelta(minutes=1), worker=UUID(int=9), ordered=True)
    rows.change_item(database, FAN_OUT, event_id, due_at=rows.ago(seconds=1))


def test_a_drain_that_runs_out_of_time_rings_for_the_rest(database: Database, doorbell: RecordingDoorbell) -> None:
    for number in range(3):
        emit(database, f"k{number}")
    report = worker(database, doorbell=doorbell, batch=1, at_most=timedelta(0)).drain()
    assert report["claimed"] == 1
    assert doorbell.rings == [DELIVER, FAN_OUT]
    assert worker(database).is_due()
    assert drain(database, batch=1).claimed == 2
    assert not worker(database).is_due()


def test_a_drain_with_nothing_due_does_nothing(database: Database, doorbell: RecordingDoorbell) -> None:
    report = drain(database, doorbell=doorbell)
    assert counts(report) == {}
    assert doorbell.rings == []


def test_a_batch_takes_the_same_number_of_statements_whatever_its_size(database: Database) -> None:
    names = [f"person-{number}" for number in range(20)]
    with database.begin() as connection:
        for name in names:
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
        preferences.mute(connection, names[0], "CL-20")
        for name in names:
            preferences.subscribe(connection, name, "CL-199")
            preferences.put_config(connection, name, settings={"participating": True}, preferences={})
    costs = []
    for size, reviewers in ((1, ["bob"]), (200, names)):
        for number in range(size):
            emit(database, f"{size}-{number}", cl={"link": f"CL-{number}", "author": "alice", "reviewers": reviewers})
        with statements(database) as sent:
            report = drain(database, batch=500)
        assert report.told + report.skipped == size * (len(reviewers) + 1)
        costs.append(len(sent))
    assert costs[0] == costs[1]
