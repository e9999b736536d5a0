"""Deliveries, repositories and identities over REST: who may see and change them, and what a change does."""

from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from notify.domain.stages import INBOX
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from notify.store.forges import deliveries, identities, repositories
from notify.store.forges.deliveries import NewDelivery
from notify.store.tables.emails import work_items
from tests.support import rows
from tests.support.callers import Person, Program
from tests.support.doorbell import RecordingDoorbell

DELIVERIES, IDENTITIES = "/api/v1/forges/deliveries", "/api/v1/identities"
BODY = b'{"zen": "a word of the body"}'
ALICE: dict[str, Any] = {"forge": "github", "login": "Alice-H", "username": "alice"}


@pytest.fixture
def operator(program: Program) -> dict[str, str]:
    return program(Scope.OPS)


@pytest.fixture
def directory(program: Program) -> dict[str, str]:
    """A program that may write the directory."""
    return program(Scope.DIRECTORY_WRITE)


def stored(database: Database, *forges: str, status: str = "pending") -> list[int]:
    """A delivery for each of these forges."""
    given = [
        NewDelivery(forge=forge, delivery_id=f"{status}-{number}", event="ping", content_type="text/json", body=BODY)
        for number, forge in enumerate(forges)
    ]
    with database.begin() as connection:
        ids = [one.id for one in deliveries.store(connection, given)]
        if status != "pending":
            ended = (
                "UPDATE notify.webhook_deliveries SET status = :status, finished_at = now(),"
                " outcome_reason = 'because' WHERE id = ANY (:ids)"
            )
            connection.execute(text(ended), {"status": status, "ids": ids})
            connection.execute(text("DELETE FROM notify.work_items WHERE id = ANY (:ids)"), {"ids": ids})
    return ids


def due(database: Database) -> list[int]:
    with database.begin() as connection:
        return list(connection.execute(select(work_items.c.id).where(work_items.c.stage == INBOX)).scalars())


@pytest.mark.parametrize(
    ("method", "path", "scope"),
    [
        ("GET", "/api/v1/forges", Scope.OPS),
        ("GET", DELIVERIES, Scope.OPS),
        ("GET", f"{DELIVERIES}/1", Scope.OPS),
        ("POST", f"{DELIVERIES}/1/replay", Scope.OPS),
        ("GET", IDENTITIES, Scope.DIRECTORY_WRITE),
        ("PUT", IDENTITIES, Scope.DIRECTORY_WRITE),
        ("GET", f"{IDENTITIES}/unmapped", Scope.DIRECTORY_WRITE),
        ("DELETE", f"{IDENTITIES}/github/alice", Scope.DIRECTORY_WRITE),
    ],
)
def test_only_a_program_with_the_scope_gets_in(
    api: httpx.Client, program: Program, person: Person, method: str, path: str, scope: Scope
) -> None:
    without = program(*(one for one in Scope if one is not scope))
    assert api.request(method, path).status_code == 401
    assert api.request(method, path, headers=person("dana")).status_code in {401, 403}
    assert api.request(method, path, headers=without).status_code == 403


def test_deliveries_are_listed_newest_first_in_pages_and_without_their_bodies(
    api: httpx.Client, database: Database, operator: dict[str, str]
) -> None:
    ids = stored(database, "github", "code", "github")
    (dead,) = stored(database, "github", status="dead")
    found: list[int] = []
    cursor: dict[str, int] = {}
    for _ in range(4):
        answer = api.get(DELIVERIES, params={"limit": 2, **cursor}, headers=operator)
        assert "a word of the body" not in answer.text
        found += [one["id"] for one in answer.json()["deliveries"]]
        if answer.json()["next_cursor"] is None:
            break
        cursor = {"cursor": answer.json()["next_cursor"]}
    assert found == [dead, *reversed(ids)]
    filters = [({"forge": "code"}, [ids[1]]), ({"status": "dead"}, [dead]), ({"forge": "code", "status": "dead"}, [])]
    for asked, expected in filters:
        page = api.get(DELIVERIES, params=asked, headers=operator).json()
        assert [one["id"] for one in page["deliveries"]] == expected
    for senseless in ({"status": "lost"}, {"limit": 0}, {"cursor": "x"}, {"colour": "red"}):
        assert api.get(DELIVERIES, params=senseless, headers=operator).status_code == 422


def test_what_became_of_a_delivery_is_shown(api: httpx.Client, database: Database, operator: dict[str, str]) -> None:
    (pending,) = stored(database, "github")
    (dead,) = stored(database, "github", status="dead")
    shown = [api.get(f"{DELIVERIES}/{one}", headers=operator).json() for one in (pending, dead)]
    assert [(one["status"], one["outcome_reason"], one["bytes"]) for one in shown] == [
        ("pending", None, len(BODY)),
        ("dead", "because", len(BODY)),
    ]
    assert [one["due_at"] is None for one in shown] == [False, True]
    assert api.get(f"{DELIVERIES}/999", headers=operator).status_code == 404


@pytest.mark.parametrize(
    ("status", "answer"), [("dead", 200), ("done", 200), ("ignored", 200), ("pending", 409), (None, 404)]
)
def test_a_delivery_that_has_ended_can_be_worked_off_again(
    api: httpx.Client,
    database: Database,
    operator: dict[str, str],
    doorbell: RecordingDoorbell,
    status: str | None,
    answer: int,
) -> None:
    (id_,) = stored(database, "github", status=status) if status else (999,)
    before = due(database)
    replayed = api.post(f"{DELIVERIES}/{id_}/replay", headers=operator)
    assert replayed.status_code == answer
    if answer == 200:
        assert (replayed.json()["status"], replayed.json()["outcome_reason"]) == ("pending", None)
        assert (due(database), doorbell.rings) == ([id_], [INBOX])
        assert api.post(f"{DELIVERIES}/{id_}/replay", headers=operator).status_code == 409
    else:
        assert (due(database), doorbell.rings) == (before, [])


def test_repositories_are_listed_by_forge(api: httpx.Client, database: Database, operator: dict[str, str]) -> None:
    with database.begin() as connection:
        known = rows.repository(connection)
        repositories.failed(connection, known, "away")
    (shown,) = api.get("/api/v1/forges", headers=operator).json()
    assert (shown["forge"], shown["fault"], shown["swept_at"], shown["gone"]) == ("github", "away", None, False)
    assert api.get("/api/v1/forges", params={"forge": "code"}, headers=operator).json() == []


def test_a_login_is_one_persons_whatever_its_case_until_it_is_forgotten(
    api: httpx.Client, directory: dict[str, str]
) -> None:
    other = {"forge": "code", "login": "bob", "username": "bob", "verified_at": "2026-01-02T03:04:05Z"}
    for given in ([ALICE, other], [{**ALICE, "login": "ALICE-H", "username": "carol"}], []):
        assert api.put(IDENTITIES, json=given, headers=directory).status_code == 204
    listed = api.get(IDENTITIES, headers=directory).json()
    assert [(one["forge"], one["login"].lower(), one["username"]) for one in listed] == [
        ("code", "bob", "bob"),
        ("github", "alice-h", "carol"),
    ]
    assert listed[0]["verified_at"] == "2026-01-02T03:04:05Z"
    for asked, expected in (({"forge": "code"}, ["bob"]), ({"username": "carol"}, ["carol"]), ({"username": "x"}, [])):
        found = api.get(IDENTITIES, params=asked, headers=directory).json()
        assert [one["username"] for one in found] == expected
    assert api.delete(f"{IDENTITIES}/github/aLiCe-h", headers=directory).status_code == 204
    assert api.delete(f"{IDENTITIES}/github/alice-h", headers=directory).status_code == 404
    assert [one["login"] for one in api.get(IDENTITIES, headers=directory).json()] == ["bob"]


@pytest.mark.parametrize(
    ("given", "status"),
    [
        ([{**ALICE, "colour": "red"}], 422),
        ([{**ALICE, "login": ""}], 422),
        ([{**ALICE, "login": "a\nb"}], 422),
        ([ALICE, {"forge": "github", "login": "bob"}], 422),
        ([{**ALICE, "verified_at": "yesterday"}], 422),
        ([{**ALICE, "login": f"alice{number}"} for number in range(1001)], 422),
        (ALICE, 422),
    ],
)
def test_one_bad_identity_refuses_all(api: httpx.Client, directory: dict[str, str], given: object, status: int) -> None:
    assert api.put(IDENTITIES, json=given, headers=directory).status_code == status
    assert api.get(IDENTITIES, headers=directory).json() == []


def test_a_login_that_missed_events_is_listed_until_it_is_somebodys(
    api: httpx.Client, database: Database, directory: dict[str, str]
) -> None:
    with database.begin() as connection:
        for key in ("k1", "k2"):
            logins = ["Alice-H", "mallory"] if key == "k2" else ["Alice-H"]
            identities.miss(connection, "github", logins, event_key=key, at=datetime.now(UTC))
        identities.miss(connection, "code", ["eve"], event_key="k3", at=datetime.now(UTC))
    url = f"{IDENTITIES}/unmapped"
    found = api.get(url, params={"forge": "github"}, headers=directory).json()
    assert [(one["login"], one["missed"], one["last_event_key"]) for one in found] == [
        ("alice-h", 2, "k2"),
        ("mallory", 1, "k2"),
    ]
    api.put(IDENTITIES, json=[ALICE], headers=directory)
    assert sorted(one["login"] for one in api.get(url, headers=directory).json()) == ["eve", "mallory"]
