"""Finding emails over HTTP, and what operators may do with them."""

from dataclasses import fields
from typing import Any

import httpx
import pytest
from pydantic_core import to_jsonable_python
from sqlalchemy import func, insert, select

from notify.channels.links import SignedLinks
from notify.domain.claims import Lane
from notify.domain.preferences import Person
from notify.domain.stages import DELIVER
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.directory.tokens import Scope
from notify.store.outbox import jobs
from notify.store.outbox.jobs import JobView
from notify.store.tables.emails import email_attempts, email_jobs
from tests.support import rows
from tests.support.callers import Person as PersonHeaders
from tests.support.callers import Program
from tests.support.doorbell import RecordingDoorbell
from tests.support.harness import WorkerHarness

ENDED = {"outcome_reason": "550 5.1.1", "attempts": 3}
DIED = {"lane": Lane.DEAD, "due_at": func.now(), "reason": "550 5.1.1", "attempt": 3, "failures": 2}


@pytest.fixture
def operator(api: httpx.Client, program: Program) -> httpx.Client:
    """A program with every scope."""
    api.headers.update(program(*Scope))
    return api


@pytest.fixture
def emails(operator: httpx.Client, database: Database, doorbell: RecordingDoorbell) -> list[dict[str, Any]]:
    """The jobs of two comments on one change list: alice and bob get emails; dana wrote them and gets none."""
    with database.begin() as connection:
        for name in ("dana", "alice", "bob"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    for number in (1, 2):
        posted = operator.post("/api/v1/events", json=comment(number))
        assert posted.status_code == 202
    fan_out(database)
    doorbell.rings.clear()
    found: list[dict[str, Any]] = operator.get("/api/v1/jobs").json()["jobs"]
    return found


def comment(number: int) -> dict[str, Any]:
    return {
        "key": f"https://review.example/c/{number}",
        "type": "cl.comment.created",
        "actor": "dana",
        "cl": {"link": "CL-1", "author": "alice", "reviewers": ["bob", "dana"]},
        "comment": {"id": str(number), "body": "Why?"},
    }


def fan_out(database: Database) -> None:
    WorkerHarness(database, None).fan_out()


def end(database: Database, job_id: int, status: str) -> None:
    rows.change(database, email_jobs, job_id, **rows.ended(status), **ENDED)
    if status == "dead":
        rows.change_item(database, DELIVER, job_id, **DIED)
    else:
        rows.forget_item(database, DELIVER, job_id)


def newest_email_of(emails: list[dict[str, Any]], username: str) -> dict[str, Any]:
    """The person's newest email."""
    return next(one for one in emails if one["username"] == username)


def test_an_operator_reads_every_field_and_openapi_explains_each(
    operator: httpx.Client, emails: list[dict[str, Any]], database: Database
) -> None:
    with database.begin() as connection:
        stored = jobs.show(connection, emails[0]["id"])
    assert stored is not None
    answered = operator.get(f"/api/v1/jobs/{stored.id}").json()
    assert {name: answered[name] for name in JobView.__slots__} == to_jsonable_python(stored)

    described = operator.get("/openapi.json").json()["components"]["schemas"]["JobView"]["properties"]
    meant = {one.name: one.metadata.get("description") for one in fields(JobView)}
    assert {name: one.get("description") for name, one in described.items()} == meant
    assert meant["due_at"]


def test_an_event_says_what_became_of_it_for_everyone_it_concerned(
    operator: httpx.Client, emails: list[dict[str, Any]]
) -> None:
    answer = operator.get("/api/v1/events/https://review.example/c/1").json()
    told = {one["username"]: one for one in answer["people"]}

    assert (answer["key"], answer["status"], answer["actor"]) == ("https://review.example/c/1", "done", "dana")
    assert {name: (one["reason"], one["status"], one["why"]) for name, one in told.items()} == {
        "alice": ("author", "pending", None),
        "bob": ("reviewer", "pending", None),
        "dana": ("reviewer", "skipped", "is_actor"),
    }
    assert told["alice"]["message_id"] != told["bob"]["message_id"]
    assert told["dana"]["message_id"] is None
    assert (told["dana"]["trace"][-1]["rule"], told["bob"]["trace"][-1]["rule"]) == ("actor", "default")
    assert [one["username"] for one in emails] == ["bob", "alice"] * 2
    assert told["bob"]["message_id"] == emails[2]["message_id"]


def test_an_event_that_is_not_fanned_out_yet_lists_nobody(operator: httpx.Client) -> None:
    operator.post("/api/v1/events", json=comment(1))
    answer = operator.get("/api/v1/events/https://review.example/c/1").json()

    assert (answer["status"], answer["people"]) == ("pending", [])


def test_an_unknown_key_is_not_found(operator: httpx.Client) -> None:
    assert operator.get("/api/v1/events/unknown").status_code == 404


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, 4),
        ({"username": "bob"}, 2),
        ({"username": "dana"}, 0),
        ({"status": "skipped"}, 1),
        ({"status": "pending"}, 3),
        ({"event_key": "https://review.example/c/1"}, 2),
        ({"topic": "CL-1", "username": "alice"}, 2),
        ({"topic": "CL-2"}, 0),
        ({"to_email": "bob@example.com"}, 2),
        ({"outcome_reason": "550 5.1.1"}, 1),
        ({"last_code": 554}, 0),
        ({"queue_id": "4XyZ"}, 0),
        ({"created_from": "2020-01-01T00:00:00Z"}, 4),
        ({"created_before": "2020-01-01T00:00:00Z"}, 0),
    ],
)
def test_each_filter_finds_its_emails(
    operator: httpx.Client, database: Database, emails: list[dict[str, Any]], asked: dict[str, str], expected: int
) -> None:
    end(database, newest_email_of(emails, "bob")["id"], "skipped")
    everything = operator.get("/api/v1/jobs").json()["jobs"]
    found = operator.get("/api/v1/jobs", params=asked).json()["jobs"]

    assert [one["id"] for one in everything] == [one["id"] for one in emails]
    assert len(found) == expected
    assert all(one in everything for one in found)


def test_pages_follow_one_another_without_gap_or_overlap(operator: httpx.Client, emails: list[dict[str, Any]]) -> None:
    first = operator.get("/api/v1/jobs", params={"limit": 3}).json()
    second = operator.get("/api/v1/jobs", params={"limit": 3, "cursor": first["next_cursor"]}).json()

    assert first["jobs"] + second["jobs"] == emails
    assert second["next_cursor"] is None


def test_a_full_last_page_says_that_it_is_the_last(operator: httpx.Client, emails: list[dict[str, Any]]) -> None:
    assert operator.get("/api/v1/jobs", params={"limit": len(emails)}).json()["next_cursor"] is None


@pytest.mark.parametrize(
    "asked", [{"usrname": "bob"}, {"status": "lost"}, {"limit": 0}, {"cursor": 2**63}, {"last_code": 99}]
)
def test_an_invalid_filter_is_refused(operator: httpx.Client, asked: dict[str, Any]) -> None:
    answer = operator.get("/api/v1/jobs", params=asked)

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == list(asked)


def test_an_email_is_shown_with_every_failed_attempt(
    operator: httpx.Client, database: Database, emails: list[dict[str, Any]]
) -> None:
    job = newest_email_of(emails, "bob")
    with database.begin() as connection:
        connection.execute(
            insert(email_attempts).values(
                job_id=job["id"], attempt=1, phase="rcpt", code=450, text="busy", outcome="retry: busy", relay="mx:25"
            )
        )
    shown = operator.get(f"/api/v1/jobs/{job['id']}").json()
    (attempt,) = shown.pop("attempts")
    (told,) = shown.pop("notifications")

    assert shown == job
    assert (told["event_key"], told["username"], told["reason"]) == (job["event_key"], "bob", "reviewer")
    assert (told["job_id"], told["status"], told["message_id"]) == (job["id"], "pending", job["message_id"])
    assert (told["trace"][0]["rule"], told["trace"][-1]["rule"]) == ("audience", "default")
    assert (attempt["attempt"], attempt["phase"], attempt["code"], attempt["text"]) == (1, "rcpt", 450, "busy")


def test_a_bundle_is_one_job_found_by_each_of_its_events_and_shown_with_all_notifications(
    operator: httpx.Client, database: Database
) -> None:
    with database.begin() as connection:
        job = rows.job(connection, event_id=rows.event(connection, **rows.ended("done"), key="first"))
        second = rows.event(connection, **rows.ended("done"), key="second")
        rows.notification(
            connection, event_id=second, email_job_id=job, reason="mentioned", event_type="cl.comment.mentioned"
        )

    for key in ("first", "second"):
        (listed,) = operator.get("/api/v1/jobs", params={"event_key": key}).json()["jobs"]
        assert (listed["id"], listed["notification_count"]) == (job, 2)
        first = (listed["event_key"], listed["event_type"], listed["reason"])
        assert first == ("first", "cl.comment.created", "author")
    told = operator.get(f"/api/v1/jobs/{job}").json()["notifications"]
    assert [(one["event_key"], one["event_type"], one["reason"]) for one in told] == [
        ("first", "cl.comment.created", "author"),
        ("second", "cl.comment.mentioned", "mentioned"),
    ]
    assert [one["trace"][0]["found"] for one in told] == ["is concerned as author", "is concerned as mentioned"]
    assert {one["job_id"] for one in told} == {job}


def test_a_replay_is_shown_with_the_notifications_of_its_original(
    operator: httpx.Client, database: Database, emails: list[dict[str, Any]]
) -> None:
    job = newest_email_of(emails, "bob")
    end(database, job["id"], "sent")
    replay = operator.post(f"/api/v1/jobs/{job['id']}/replay").json()

    (told,) = operator.get(f"/api/v1/jobs/{replay['id']}").json()["notifications"]

    assert (replay["event_key"], replay["notification_count"]) == (job["event_key"], 1)
    assert (told["event_key"], told["job_id"]) == (job["event_key"], job["id"])


def test_a_sent_email_has_its_relay_and_duration(operator: httpx.Client, database: Database) -> None:
    with database.begin() as connection:
        job = rows.job(connection, **rows.ended("sent"), relay="mx:25", sent_in_ms=41)
    shown = operator.get(f"/api/v1/jobs/{job}").json()

    assert (shown["relay"], shown["sent_in_ms"]) == ("mx:25", 41)


def test_an_email_is_rendered_on_demand_with_links_that_do_nothing(
    operator: httpx.Client, emails: list[dict[str, Any]], links: SignedLinks
) -> None:
    job = newest_email_of(emails, "bob")
    shown = operator.get(f"/api/v1/jobs/{job['id']}/email").json()

    assert (shown["to_email"], shown["message_id"]) == ("bob@example.com", job["message_id"])
    assert "Why?" in shown["text"]
    assert "Why?" in shown["html"]
    assert links.stop_everything("bob").rpartition("/")[2] not in shown["text"]


def test_an_email_without_text_cannot_be_rendered_and_a_missing_one_is_not_found(
    operator: httpx.Client, database: Database
) -> None:
    with database.begin() as connection:
        event_id = rows.event(connection, **rows.ended("done"), payload={}, emptied_at=func.now())
        job = rows.job(connection, event_id=event_id)
    assert operator.get(f"/api/v1/jobs/{job}/email").status_code == 409
    assert operator.get("/api/v1/jobs/999999/email").status_code == 404


def test_only_operators_may_render_an_email(
    operator: httpx.Client, emails: list[dict[str, Any]], program: Program, person: PersonHeaders
) -> None:
    address = f"/api/v1/jobs/{newest_email_of(emails, 'bob')['id']}/email"
    for headers in (program(Scope.EVENTS_WRITE), person("bob"), {"Authorization": ""}):
        assert operator.get(address, headers=headers).status_code in {401, 403}


def test_a_dead_email_is_retried_with_its_history(
    operator: httpx.Client, database: Database, doorbell: RecordingDoorbell, emails: list[dict[str, Any]]
) -> None:
    job = newest_email_of(emails, "bob")
    end(database, job["id"], "dead")

    answer = operator.post(f"/api/v1/jobs/{job['id']}/retry")

    assert answer.status_code == 200
    assert answer.json()["status"] == "pending"
    assert (answer.json()["attempt"], answer.json()["failures"]) == (3, 2)
    assert doorbell.rings == [DELIVER]


def test_a_pending_email_is_cancelled_and_a_cancelled_one_cannot_be_cancelled_again(
    operator: httpx.Client, doorbell: RecordingDoorbell, emails: list[dict[str, Any]]
) -> None:
    path = f"/api/v1/jobs/{newest_email_of(emails, 'bob')['id']}/cancel"

    assert operator.post(path).json()["status"] == "cancelled"
    assert operator.post(path).status_code == 409
    assert doorbell.rings == []


def test_a_sent_email_is_replayed_as_a_new_one(
    operator: httpx.Client, database: Database, doorbell: RecordingDoorbell, emails: list[dict[str, Any]]
) -> None:
    job = newest_email_of(emails, "bob")
    end(database, job["id"], "sent")

    answer = operator.post(f"/api/v1/jobs/{job['id']}/replay")

    assert answer.status_code == 201
    assert (answer.json()["replay_of"], answer.json()["status"]) == (job["id"], "pending")
    assert answer.json()["message_id"] != job["message_id"]
    assert doorbell.rings == [DELIVER]


@pytest.mark.parametrize("forbidden", [("retry", "sent"), ("cancel", "dead"), ("replay", "pending")])
def test_an_action_that_the_status_does_not_allow_is_a_conflict_naming_the_status(
    operator: httpx.Client,
    database: Database,
    doorbell: RecordingDoorbell,
    emails: list[dict[str, Any]],
    forbidden: tuple[str, str],
) -> None:
    verb, status = forbidden
    job = newest_email_of(emails, "bob")
    if status != "pending":
        end(database, job["id"], status)
    before = operator.get(f"/api/v1/jobs/{job['id']}").json()

    answer = operator.post(f"/api/v1/jobs/{job['id']}/{verb}")

    assert answer.status_code == 409
    assert status in answer.json()["detail"]
    assert operator.get(f"/api/v1/jobs/{job['id']}").json() == before
    assert doorbell.rings == []
    with database.begin() as connection:
        assert connection.scalar(select(func.count()).select_from(email_jobs)) == len(emails)


@pytest.mark.parametrize("path", ["1", "1/retry", "1/cancel", "1/replay"])
def test_an_email_that_does_not_exist_is_not_found(operator: httpx.Client, path: str) -> None:
    method = "POST" if "/" in path else "GET"

    assert operator.request(method, f"/api/v1/jobs/{path}").status_code == 404


@pytest.mark.parametrize("field", ["created_from", "created_before"])
@pytest.mark.parametrize(
    "instant", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "0.5", "1767225600", "2026-01-01T00:00:00", "2026"]
)
def test_an_invalid_instant_is_refused(operator: httpx.Client, field: str, instant: str) -> None:
    answer = operator.get("/api/v1/jobs", params={field: instant})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
