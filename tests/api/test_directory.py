"""The directory over HTTP: a PUT replaces, a GET returns what was put, bad values never reach an email."""

import os
from importlib.resources import files
from pathlib import Path
from subprocess import run
from sys import executable
from typing import Any

import httpx
import pytest

from notify.domain.preferences import Person
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.directory.directory import RefusedAddress
from notify.store.directory.tokens import Scope
from tests.support.callers import Program

ROOT = Path(__file__).parents[2]
DANA = {
    "email": "dana@example.com",
    "display_name": "Dana Reyes",
    "locale": "en-GB",
    "timezone": "Europe/Berlin",
    "is_bot": False,
    "active": True,
}
CL = {
    "title": "Cap the upload retry",
    "url": "https://review.example/CL-4821",
    "repository": "monorepo",
    "author": "dana",
    "reviewers": ["alice", "bob"],
    "state": "merged",
}


@pytest.fixture
def directory_writer(api: httpx.Client, program: Program) -> httpx.Client:
    """A program that may write the directory."""
    api.headers.update(program(Scope.DIRECTORY_WRITE))
    return api


def test_a_person_is_returned_as_they_were_put(directory_writer: httpx.Client) -> None:
    put = directory_writer.put("/api/v1/people/dana", json=DANA)
    got = directory_writer.get("/api/v1/people/dana")

    assert put.status_code == got.status_code == 200
    assert put.json() == got.json() == DANA | {"username": "dana", "undeliverable_email": None}


@pytest.mark.parametrize(
    ("given", "stored"), [("pt_BR", "pt-BR"), ("zh_Hant_HK", "zh-Hant-HK"), ("de-1996", "de-1996")]
)
def test_a_language_is_stored_as_its_normal_tag(directory_writer: httpx.Client, given: str, stored: str) -> None:
    directory_writer.put("/api/v1/people/dana", json=DANA | {"locale": given})

    assert directory_writer.get("/api/v1/people/dana").json()["locale"] == stored


def test_fields_missing_from_a_put_are_cleared(directory_writer: httpx.Client) -> None:
    directory_writer.put("/api/v1/people/dana", json=DANA)
    directory_writer.put("/api/v1/people/dana", json={"email": "new@example.com"})

    assert directory_writer.get("/api/v1/people/dana").json()["display_name"] is None


def test_a_put_does_not_clear_a_refused_address(directory_writer: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        directory.put_person(connection, Person(username="dana", email="dana@example.com"))
        directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", "550 5.1.1")])

    answer = directory_writer.put("/api/v1/people/dana", json=DANA)

    assert answer.json()["undeliverable_email"] == "dana@example.com"


def test_a_change_list_is_returned_as_it_was_put(directory_writer: httpx.Client) -> None:
    put = directory_writer.put("/api/v1/cls/CL-4821", json=CL)
    got = directory_writer.get("/api/v1/cls/CL-4821")

    assert put.status_code == got.status_code == 200
    assert put.json() == got.json() == CL | {"link": "CL-4821"}


def test_reviewers_are_replaced_as_a_whole_without_repeats(directory_writer: httpx.Client) -> None:
    directory_writer.put("/api/v1/cls/CL-4821", json=CL)
    answer = directory_writer.put("/api/v1/cls/CL-4821", json={"reviewers": ["carol", "bob", "carol"]})

    assert answer.json()["reviewers"] == ["bob", "carol"]


def test_a_link_may_contain_slashes_and_unusual_characters(directory_writer: httpx.Client) -> None:
    for path, link in {"team/repo/pulls/7": "team/repo/pulls/7", "a%20b%3F%23ü": "a b?#ü"}.items():
        directory_writer.put(f"/api/v1/cls/{path}", json=CL)

        assert directory_writer.get(f"/api/v1/cls/{path}").json()["link"] == link


def test_unknown_people_and_change_lists_are_not_found(directory_writer: httpx.Client) -> None:
    assert directory_writer.get("/api/v1/people/nobody").status_code == 404
    assert directory_writer.get("/api/v1/cls/CL-0").status_code == 404


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"email": "dana@example.com\r\nBcc: all@example.com"}, "email"),
        ({"email": "Dana <dana@example.com>"}, "email"),
        ({"email": "dana"}, "email"),
        ({"email": "dana@example..com"}, "email"),
        ({"email": "da\x00na@example.com"}, "email"),
        ({"email": "d" * 65 + "@example.com"}, "email"),
        ({"email": "dana@exa_mple.com"}, "email"),
        ({"email": "dana@-example.com"}, "email"),
        ({"email": "é" * 33 + "@example.com"}, "email"),
        ({"email": "da\u202ena@example.com"}, "email"),
        ({"email": "dana@" + "e" * 250}, "email"),
        ({"display_name": "Dana\nX-Injected: yes"}, "display_name"),
        ({"display_name": "\x1b[31mDana"}, "display_name"),
        ({"locale": "english please"}, "locale"),
        ({"timezone": "../../etc/passwd"}, "timezone"),
        ({"timezone": "Mars/Olympus"}, "timezone"),
        ({"is_bot": "no"}, "is_bot"),
        ({"nickname": "dd"}, "nickname"),
    ],
)
def test_an_invalid_person_is_refused_with_the_name_of_the_field(
    directory_writer: httpx.Client, given: dict[str, Any], field: str
) -> None:
    answer = directory_writer.put("/api/v1/people/dana", json=DANA | given)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert directory_writer.get("/api/v1/people/dana").status_code == 404


def test_old_time_zone_names_are_accepted_even_if_the_system_lacks_them(tmp_path: Path) -> None:
    """Debian has the old names in a package of its own, and its slim images have no zones at all."""
    (tmp_path / "Europe").mkdir()
    (tmp_path / "Europe" / "Berlin").write_bytes((files("tzdata") / "zoneinfo/Europe/Berlin").read_bytes())
    code = (
        "import zoneinfo; from notify.domain.schedule import clock, is_zone\n"
        f"print(zoneinfo.TZPATH == ({str(tmp_path)!r},))\n"
        "for name in ('US/Pacific', 'Asia/Calcutta', 'Europe/Kiev', 'Europe/Berlin'):\n"
        "    print(name, is_zone(name), clock(name).warning)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONTZPATH": str(tmp_path)}
    said = run([executable, "-c", code], env=environment, check=True, capture_output=True, text=True).stdout
    assert said.split("\n")[:-1] == [
        "True",
        "US/Pacific True None",
        "Asia/Calcutta True None",
        "Europe/Kiev True None",
        "Europe/Berlin True None",
    ]


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"title": "two\nlines"}, "title"),
        ({"url": "javascript:alert(1)"}, "url"),
        ({"author": ""}, "author"),
        ({"reviewers": ["alice", "b\nob"]}, "reviewers.1"),
        ({"reviewers": ["r"] * 1_001}, "reviewers"),
        ({"state": "abandoned"}, "state"),
    ],
)
def test_an_invalid_change_list_is_refused_with_the_name_of_the_field(
    directory_writer: httpx.Client, given: dict[str, Any], field: str
) -> None:
    answer = directory_writer.put("/api/v1/cls/CL-1", json=CL | given)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("name", ["da%00na", "da%0Ana", "da%E2%80%A8na", "%20dana", "d" * 201])
@pytest.mark.parametrize("kind", ["people", "cls"])
def test_a_name_that_is_unsafe_in_a_header_is_refused(directory_writer: httpx.Client, kind: str, name: str) -> None:
    for method in ("PUT", "GET"):
        answer = directory_writer.request(method, f"/api/v1/{kind}/{name}", json={})

        assert answer.status_code in {404, 422}
        assert answer.headers["Content-Type"] == "application/problem+json"
