"""A person's preferences about one change list: muted, subscribed, both or neither."""

import httpx
import pytest

from notify.domain.events import ChangeList
from notify.domain.preferences import Preferences
from notify.store.database import Database
from notify.store.directory import directory, preferences
from tests.support.callers import Person as Headers

CLS = "/api/v1/user/notification/cls"
NOTHING = {"link": "CL-1", "title": None, "muted": False, "subscribed": False}


@pytest.fixture
def dana(api: httpx.Client, person: Headers) -> httpx.Client:
    """A person with a valid token and no stored preferences."""
    api.headers.update(person("dana"))
    return api


def chosen(database: Database) -> Preferences:
    with database.begin() as connection:
        return preferences.load(connection, ["dana"]).get("dana", Preferences())


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, {}),
        ({"muted": True}, {"muted": True}),
        ({"subscribed": True}, {"subscribed": True}),
        ({"muted": True, "subscribed": True}, {"muted": True, "subscribed": True}),
        ({"muted": None, "subscribed": True}, {"subscribed": True}),
        ({"muted": False}, {}),
    ],
)
def test_a_put_changes_what_it_names_and_returns_the_result(
    dana: httpx.Client, database: Database, given: dict[str, bool], expected: dict[str, bool]
) -> None:
    for _ in range(2):
        answer = dana.put(f"{CLS}/CL-1", json=given)
        assert (answer.status_code, answer.json()) == (200, NOTHING | expected)
    assert ("CL-1" in chosen(database).muted_cls) == bool(expected.get("muted"))
    assert ("CL-1" in chosen(database).subscribed_cls) == bool(expected.get("subscribed"))


def test_a_mute_and_a_subscription_end_separately_and_a_delete_ends_both(
    dana: httpx.Client, database: Database
) -> None:
    dana.put(f"{CLS}/CL-1", json={"muted": True, "subscribed": True})

    assert dana.put(f"{CLS}/CL-1", json={"muted": False}).json() == NOTHING | {"subscribed": True}
    dana.put(f"{CLS}/CL-1", json={"muted": True})
    for _ in range(2):
        assert dana.delete(f"{CLS}/CL-1").json() == NOTHING
    assert chosen(database) == Preferences()


def test_all_change_lists_are_listed_by_link_with_the_known_title(dana: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        directory.put_change_list(connection, ChangeList(link="CL-2", title="Cap the retry"))
    dana.put(f"{CLS}/CL-3", json={"muted": True})
    dana.put(f"{CLS}/CL-2", json={"subscribed": True})

    assert dana.get(CLS).json() == [
        {"link": "CL-2", "title": "Cap the retry", "muted": False, "subscribed": True},
        {"link": "CL-3", "title": None, "muted": True, "subscribed": False},
    ]


@pytest.mark.parametrize("link", ["queue:monorepo/main", "team/repo/1", "CL 1", "\u65e5\u672c", "a%b"])
def test_any_valid_link_works_in_the_path(dana: httpx.Client, link: str) -> None:
    path = httpx.URL("http://notify.test").copy_with(path=f"{CLS}/{link}")
    assert dana.put(path, json={"muted": True}).json()["link"] == link


@pytest.mark.parametrize(
    ("given", "field"), [({"muted": "yes"}, "muted"), ({"subscribed": 1}, "subscribed"), ({"mute": True}, "mute")]
)
def test_an_invalid_put_changes_nothing(
    dana: httpx.Client, database: Database, given: dict[str, object], field: str
) -> None:
    answer = dana.put(f"{CLS}/CL-1", json={"muted": True, "subscribed": True, **given})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field
    assert chosen(database) == Preferences()


def test_a_person_sees_only_their_own_change_list_preferences(dana: httpx.Client, person: Headers) -> None:
    dana.put(f"{CLS}/CL-1", json={"muted": True})

    assert dana.get(CLS, headers=person("alice")).json() == []
    assert dana.get(CLS, headers={"Authorization": ""}).status_code == 401
