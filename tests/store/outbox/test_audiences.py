"""The facts about everyone whom events concern come in one statement, and agree with the rest of the store."""

from datetime import UTC, datetime, time, timedelta
from typing import Any

from sqlalchemy import Connection, event, text, update

from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.store.directory import directory, preferences
from notify.store.directory.preferences import StoredSettings
from notify.store.outbox import audiences
from notify.store.outbox.audiences import Known
from notify.store.tables.people import notification_event_types
from tests.support import rows


def around(connection: Connection, *topics: str, names: tuple[str, ...] = (), called: tuple[str, ...] = ()) -> Known:
    return audiences.around(connection, topics, names=names, called=called)


def test_subscribers_are_listed_by_topic_in_order(connection: Connection) -> None:
    for name, topic in (("dana", "CL-1"), ("dana", "CL-2"), ("alice", "CL-1"), ("bob", "CL-9")):
        preferences.subscribe(connection, name, topic)
    assert around(connection, "CL-1", "CL-2", "CL-3").subscribers == {"CL-1": ("alice", "dana"), "CL-2": ("dana",)}


def test_participants_who_want_emails_are_found_with_the_time_of_their_first_comment(
    connection: Connection,
) -> None:
    def said(actor: str, **columns: str) -> int:
        return rows.event(connection, actor=actor, **columns)

    for name in ("alice", "bob", "carol"):
        preferences.put_config(connection, name, settings={"participating": name != "carol"}, preferences={})
    first = said("alice")
    said("alice")
    review = said("bob", topic="CL-2", type="cl.review.submitted")
    for actor, columns in (
        ("bob", {"type": "cl.merged"}),
        ("carol", {}),
        ("dana", {}),
        ("alice", {"topic": "CL-3"}),
    ):
        said(actor, **columns)
    found = around(connection, "CL-1", "CL-2").participants
    assert found == {"CL-1": {"alice": first}, "CL-2": {"bob": review}}


def test_the_facts_agree_with_what_each_part_of_the_store_says(connection: Connection) -> None:
    """Every column about everyone around a topic, read in two ways."""
    alice = Person(
        username="alice",
        email="a@example.com",
        display_name="Alice",
        locale="de",
        timezone="Asia/Kathmandu",
        is_bot=True,
    )
    for person in (alice, Person(username="bob"), Person(username="carol", active=False), Person(username="eve")):
        directory.put_person(connection, person)
    directory.mark_undeliverable(connection, [directory.RefusedAddress("alice", "a@example.com", "no")])
    directory.put_change_list(
        connection,
        ChangeList(link="CL-1", title="t", url="https://x.example", author="alice", reviewers=("bob", "zoe")),
    )
    settings = StoredSettings(
        enabled=False,
        email="own@example.com",
        own_actions=True,
        mentions_pierce_mutes=True,
        delivery_mode="weekly",
        digest_hour=7,
        digest_weekday=5,
        timezone="Europe/Berlin",
        quiet_days=[1, 7],
        quiet_start=time(22, 30),
        quiet_end=time(7),
        paused_until=datetime(2098, 5, 6, 7, 8, 9, 123456, tzinfo=UTC),
    )
    preferences.put_config(connection, "bob", settings=settings, preferences={"cl.merged": False, "cl.closed": True})
    preferences.mute(connection, "bob", "CL-1")
    preferences.mute(connection, "bob", "CL-7")
    preferences.subscribe(connection, "carol", "CL-1")
    within = timedelta(minutes=1.5)
    connection.execute(update(notification_event_types).values(bundle_within=within))

    found = around(connection, "CL-1", names=("dana",))

    names = ["alice", "bob", "carol", "dana", "zoe"]
    assert found.change_lists == directory.change_lists(connection, ["CL-1"])
    assert found.people == directory.people(connection, names)
    assert found.preferences == preferences.load(connection, names, topics=["CL-1"])
    assert found.event_types == preferences.event_types(connection)


def test_a_mentioned_person_is_found_whatever_the_case_and_the_unicode_form(connection: Connection) -> None:
    for name in ("José", "JOSÉ", "jose", "carol"):
        directory.put_person(connection, Person(username=name))
    assert around(connection, called=("jose\u0301", "CAROL", "nobody")).people.keys() == {"José", "JOSÉ", "carol"}


def test_the_search_for_earlier_commenters_uses_its_index(connection: Connection) -> None:
    preferences.put_config(connection, "alice", settings={"participating": True}, preferences={})
    # On an empty table the planner may pick any index.
    connection.execute(text("INSERT INTO notify.people (username) SELECT 'p' || n FROM generate_series(1, 1000) AS n"))
    connection.execute(text("ANALYZE notify.people"))
    connection.execute(text("SET LOCAL enable_seqscan = off"))
    sent: list[tuple[str, Any]] = []
    event.listen(connection, "before_cursor_execute", lambda *call: sent.append((call[2], call[3])))
    around(connection, "CL-1")
    ((sql, parameters),) = list(sent)
    plan = "\n".join(connection.exec_driver_sql(f"EXPLAIN {sql}", parameters).scalars())
    assert "events_topic" in plan
    assert "people_called" in plan
