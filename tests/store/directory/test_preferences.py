"""Stored preferences: absent means the default, and reading stores nothing."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import Connection, event, func, select, text
from sqlalchemy.exc import OperationalError

from notify.domain.events import COMMENT_CREATED
from notify.domain.preferences import NO_PREFERENCES, Preferences
from notify.store.database import Database
from notify.store.directory import preferences
from notify.store.directory.preferences import StoredSettings
from notify.store.tables.people import topic_preferences, user_notification_preferences, user_notification_settings
from tests.support.race import blocked_session, meanwhile


def test_a_person_without_stored_preferences_is_absent_and_has_the_defaults(connection: Connection) -> None:
    assert preferences.load(connection, ["dana"]) == {}
    assert preferences.config(connection, "dana") == NO_PREFERENCES


def test_every_kind_of_preference_is_read_back_and_belongs_to_its_person(connection: Connection) -> None:
    preferences.put_config(
        connection, "dana", settings={"enabled": False, "email": "d@home.example"}, preferences={COMMENT_CREATED: False}
    )
    preferences.set_preference(connection, "alice", COMMENT_CREATED, enabled=True)
    preferences.mute(connection, "bob", "CL-1")
    preferences.mute(connection, "bob", "CL-2")

    assert preferences.load(connection, ["dana", "alice", "bob", "carol"]) == {
        "dana": Preferences(enabled=False, email="d@home.example", preferences={COMMENT_CREATED: False}),
        "alice": Preferences(preferences={COMMENT_CREATED: True}),
        "bob": Preferences(muted_cls=frozenset({"CL-1", "CL-2"})),
    }


def test_fan_out_loads_the_mutes_of_its_own_change_lists_only(connection: Connection) -> None:
    for link in ("CL-1", "CL-2"):
        preferences.mute(connection, "bob", link)

    found = preferences.load(connection, ["bob"], topics=["CL-2", "CL-3"])

    assert found == {"bob": Preferences(muted_cls=frozenset({"CL-2"}))}
    assert preferences.load(connection, ["bob"], topics=[]) == {}


def test_the_number_of_statements_does_not_depend_on_the_number_of_people(connection: Connection) -> None:
    statements: list[object] = []
    event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))

    preferences.load(connection, ["one"])
    for_one = len(statements)
    preferences.load(connection, [f"person{number}" for number in range(100)])

    assert len(statements) == 2 * for_one


def test_settings_that_are_not_given_stay_unchanged(connection: Connection) -> None:
    preferences.put_config(
        connection, "dana", settings={"enabled": False, "email": "d@home.example"}, preferences={COMMENT_CREATED: False}
    )

    preferences.put_config(connection, "dana", settings={}, preferences={})
    preferences.put_config(connection, "dana", settings={"email": None}, preferences={})

    assert preferences.config(connection, "dana") == Preferences(
        enabled=False, email=None, preferences={COMMENT_CREATED: False}
    )


def test_a_preference_reset_to_its_default_leaves_no_row(connection: Connection) -> None:
    preferences.set_preference(connection, "dana", COMMENT_CREATED, enabled=False)
    preferences.set_preference(connection, "alice", COMMENT_CREATED, enabled=False)

    preferences.put_config(connection, "dana", settings={}, preferences={COMMENT_CREATED: None})

    assert connection.scalars(select(user_notification_preferences.c.username)).all() == ["alice"]


def test_muting_twice_is_muting_once_and_unmuting_affects_nobody_else(connection: Connection) -> None:
    for name in ("dana", "dana", "alice"):
        preferences.mute(connection, name, "CL-1")
    preferences.mute(connection, "dana", "CL-2")

    preferences.unmute(connection, "dana", "CL-1", "CL-3")
    preferences.unmute(connection, "dana")

    assert preferences.load(connection, ["dana", "alice"]) == {
        "dana": Preferences(muted_cls=frozenset({"CL-2"})),
        "alice": Preferences(muted_cls=frozenset({"CL-1"})),
    }


def test_a_subscription_ends_for_its_owner_only(connection: Connection) -> None:
    for name, link in (("dana", "CL-1"), ("dana", "CL-1"), ("dana", "CL-2"), ("alice", "CL-1")):
        preferences.subscribe(connection, name, link)

    preferences.unsubscribe(connection, "dana", "CL-1")
    preferences.unsubscribe(connection, "dana", "CL-3")

    assert preferences.load(connection, ["dana", "alice"]) == {
        "dana": Preferences(subscribed_cls=frozenset({"CL-2"})),
        "alice": Preferences(subscribed_cls=frozenset({"CL-1"})),
    }
    assert preferences.load(connection, ["alice"], topics=["CL-2"]) == {}


@pytest.mark.parametrize(
    ("ended", "stays"),
    [
        (preferences.unmute, Preferences(subscribed_cls=frozenset({"CL-1"}))),
        (preferences.unsubscribe, Preferences(muted_cls=frozenset({"CL-1"}))),
    ],
)
def test_a_mute_and_a_subscription_of_one_topic_end_separately(
    connection: Connection, ended: Callable[[Connection, str, str], None], stays: Preferences
) -> None:
    preferences.mute(connection, "dana", "CL-1")
    preferences.subscribe(connection, "dana", "CL-1")

    ended(connection, "dana", "CL-1")

    assert preferences.config(connection, "dana") == stays


def test_ending_a_mute_and_a_subscription_together_leaves_no_row(database: Database) -> None:
    with database.begin() as connection:
        preferences.mute(connection, "dana", "CL-1")
        preferences.subscribe(connection, "dana", "CL-1")

    def unsubscribe() -> None:
        with database.begin() as connection:
            preferences.unsubscribe(connection, "dana", "CL-1")

    with database.engine.connect() as first:
        preferences.unmute(first, "dana", "CL-1")
        with meanwhile(unsubscribe) as second:
            blocked_session(database)
            first.commit()
            second.result()

    with database.begin() as connection:
        assert connection.execute(select(topic_preferences)).all() == []


def test_two_writers_of_one_persons_preferences_take_turns_and_block_nobody_else(database: Database) -> None:
    """Whatever they write: preference rows locked in different orders would be a deadlock."""
    with database.begin() as first, database.engine.connect() as second:
        preferences.put_config(first, "dana", settings={}, preferences={})
        second.execute(text("SET lock_timeout = '50ms'"))
        preferences.put_config(second, "alice", settings={}, preferences={COMMENT_CREATED: False})

        with pytest.raises(OperationalError):
            preferences.put_config(second, "dana", settings={}, preferences={COMMENT_CREATED: False})


def test_concurrent_first_preferences_are_all_kept(database: Database) -> None:
    """Both the settings row and the preference row are missing when the writers start."""
    given: list[StoredSettings] = [{"enabled": False}, {"email": "d@home.example"}]

    def put(number: int) -> None:
        with database.begin() as connection:
            chosen = {COMMENT_CREATED: bool(number % 3)} if number % 2 else {COMMENT_CREATED: None}
            preferences.put_config(connection, "dana", settings=given[number % 2], preferences=chosen)

    with ThreadPoolExecutor(max_workers=5) as pool:
        assert list(pool.map(put, range(40))) == [None] * 40
    with database.begin() as connection:
        choices = preferences.config(connection, "dana")
        assert (choices.enabled, choices.email) == (False, "d@home.example")
        assert connection.scalar(select(func.count()).select_from(user_notification_settings)) == 1
