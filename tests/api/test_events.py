"""Events over HTTP: durable when accepted, refused with the name of the wrong field."""

import json
from datetime import UTC, datetime
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select

from notify.domain.events import FOR_OPERATORS
from notify.domain.schedule import Mode
from notify.domain.stages import FAN_OUT
from notify.store.database import Database
from notify.store.directory import preferences
from notify.store.directory.tokens import Scope
from notify.store.tables.emails import events
from notify.store.tables.people import change_lists
from tests.support import rows
from tests.support.callers import Program
from tests.support.doorbell import RecordingDoorbell
from tests.support.harness import WorkerHarness

EVENT: dict[str, Any] = {
    "key": "comment-1",
    "type": "cl.comment.created",
    "actor": "dana",
    "cl": {"link": "CL-4821", "author": "alice", "reviewers": ["bob"]},
    "comment": {"id": "c1", "body": "The jitter has to come after the cap."},
}


def without(field: str) -> dict[str, Any]:
    return {name: value for name, value in EVENT.items() if name != field}


def stored(database: Database) -> int:
    with database.begin() as connection:
        return connection.scalar(select(func.count()).select_from(events)) or 0


@pytest.fixture
def writer(api: httpx.Client, program: Program) -> httpx.Client:
    """A program that may write events."""
    api.headers.update(program(Scope.EVENTS_WRITE))
    return api


def test_an_accepted_event_is_durable_and_rings_the_fan_out(
    writer: httpx.Client, database: Database, doorbell: RecordingDoorbell
) -> None:
    answer = writer.post("/api/v1/events", json=EVENT)

    assert answer.status_code == 202
    assert answer.json() == {"id": answer.json()["id"], "key": "comment-1", "duplicate": False, "withdrawn": False}
    assert stored(database) == 1
    assert doorbell.rings == [FAN_OUT]


def test_a_duplicate_event_is_accepted_and_changes_nothing(writer: httpx.Client, database: Database) -> None:
    first = writer.post("/api/v1/events", json=EVENT).json()
    retried = dict(reversed(EVENT.items())) | {"cl": {"reviewers": ["bob"], "author": "alice", "link": "CL-4821"}}
    for again in (EVENT, retried, retried | {"occurred_at": None, "traceparent": TRACE}):
        answer = writer.post("/api/v1/events", json=again)
        assert (answer.status_code, answer.json()) == (202, first | {"duplicate": True})
    assert stored(database) == 1


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"actor": "erin"}, "actor"),
        ({"occurred_at": "2026-03-02T12:00:00Z"}, "occurred_at"),
        ({"cl": EVENT["cl"] | {"link": "CL-1"}}, "cl.link"),
        ({"cl": EVENT["cl"] | {"title": "Other"}}, "cl.title"),
        ({"cl": {"link": "CL-4821", "author": "alice"}}, "cl.reviewers"),
        ({"comment": EVENT["comment"] | {"body": "Other."}}, "comment.body"),
    ],
)
def test_a_known_key_with_another_body_is_refused_with_the_differing_field_and_changes_nothing(
    writer: httpx.Client, database: Database, changed: dict[str, Any], field: str
) -> None:
    assert writer.post("/api/v1/events", json=EVENT).status_code == 202
    answer = writer.post("/api/v1/events", json=EVENT | changed)

    assert answer.status_code == 409
    assert [(one.get("index"), one["field"]) for one in answer.json()["errors"]] == [(None, field)]
    assert stored(database) == 1
    with database.begin() as connection:
        assert connection.scalar(select(change_lists.c.title)) is None


@pytest.mark.parametrize("known", [True, False], ids=["stored-before", "in-the-same-batch"])
def test_a_batch_with_a_conflicting_key_is_refused_whole_with_its_index(
    writer: httpx.Client, database: Database, doorbell: RecordingDoorbell, known: bool
) -> None:
    other = EVENT | {"comment": {"id": "c1", "body": "Other."}}
    if known:
        writer.post("/api/v1/events", json=EVENT)
        doorbell.rings.clear()
    batch = [EVENT | {"key": "comment-2"}, EVENT, EVENT, other]
    answer = writer.post("/api/v1/events/batch", json=batch)

    assert answer.status_code == 409
    assert [(one["index"], one["field"]) for one in answer.json()["errors"]] == [(3, "comment.body")]
    assert stored(database) == int(known)
    assert doorbell.rings == []


def test_an_event_without_a_key_gets_one(writer: httpx.Client) -> None:
    assert writer.post("/api/v1/events", json=without("key")).json()["key"]


def test_a_batch_answer_counts_new_events_and_duplicates(writer: httpx.Client, database: Database) -> None:
    answer = writer.post("/api/v1/events/batch", json=[EVENT, EVENT, EVENT | {"key": "comment-2"}])

    assert answer.status_code == 202
    assert answer.json() == {"accepted": 2, "duplicates": 1}
    assert stored(database) == 2


def test_one_malformed_event_refuses_the_whole_batch_and_is_named_by_its_index(
    writer: httpx.Client, database: Database, doorbell: RecordingDoorbell
) -> None:
    good = [EVENT | {"key": str(number)} for number in range(3)]
    answer = writer.post("/api/v1/events/batch", json=[*good, EVENT | {"cl": {"link": "two\nlines"}}])

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["index"], error["field"]) == (3, "cl.link")
    assert stored(database) == 0
    assert doorbell.rings == []


@pytest.mark.parametrize("batch", [False, True])
def test_an_event_in_the_future_is_refused_with_its_instant(
    writer: httpx.Client, database: Database, doorbell: RecordingDoorbell, *, batch: bool
) -> None:
    merged = {"type": "cl.merged", "actor": "dana", "cl": {"link": "CL-4821"}, "occurred_at": "2099-01-01T00:00:00Z"}
    answer = writer.post(f"/api/v1/events{'/batch' if batch else ''}", json=[EVENT, merged] if batch else merged)

    assert answer.status_code == 422
    (error,) = answer.json()["errors"]
    assert (error["field"], error.get("index")) == ("occurred_at", 1 if batch else None)
    assert (stored(database), doorbell.rings) == (0, [])


def test_a_batch_may_contain_at_most_a_thousand_events(writer: httpx.Client, database: Database) -> None:
    full = [EVENT | {"key": str(number)} for number in range(1_000)]

    assert writer.post("/api/v1/events/batch", json=[*full, EVENT]).status_code == 422
    assert stored(database) == 0
    assert writer.post("/api/v1/events/batch", json=full).json() == {"accepted": 1_000, "duplicates": 0}


@pytest.mark.parametrize(
    ("event", "field"),
    [
        pytest.param(without("actor"), "actor", id="missing"),
        pytest.param(EVENT | {"urgent": True}, "urgent", id="unknown"),
        pytest.param(EVENT | {"cl": {"link": "CL-1", "colour": "red"}}, "cl.colour", id="unknown-below"),
        pytest.param(EVENT | {"type": "cl.comment.deleted"}, "type", id="unknown-type"),
        pytest.param(EVENT | {"actor": "dana\r\nBcc: all@example.com"}, "actor", id="line-break"),
        pytest.param(EVENT | {"actor": "da\x00na"}, "actor", id="nul"),
        pytest.param(EVENT | {"actor": "\ud800"}, "actor", id="surrogate"),
        pytest.param(EVENT | {"comment": {"id": "c1", "body": "a\x00b"}}, "comment.body", id="nul-in-text"),
        pytest.param(EVENT | {"comment": {"id": "c1", "body": "b", "line": 2**40}}, "comment.line", id="large"),
        pytest.param(EVENT | {"comment": {"id": "c1", "body": "b", "line": float("nan")}}, "comment.line", id="nan"),
        pytest.param(EVENT | {"occurred_at": "2026-01-01T00:00:00"}, "occurred_at", id="no-offset"),
    ],
)
def test_a_malformed_event_is_refused_with_the_name_of_the_field(
    writer: httpx.Client, database: Database, event: dict[str, Any], field: str
) -> None:
    answer = writer.post("/api/v1/events", content=json.dumps(event), headers={"Content-Type": "application/json"})

    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == [field]
    assert stored(database) == 0


TRACE, OTHER = (f"00-{digit * 32}-00f067aa0ba902b7-01" for digit in "ab")


def traces(database: Database) -> list[str | None]:
    with database.begin() as connection:
        return list(connection.scalars(select(events.c.traceparent).order_by(events.c.id)))


def test_an_event_keeps_its_own_trace_or_else_that_of_the_call(writer: httpx.Client, database: Database) -> None:
    batch = [{**EVENT, "key": "1"}, {**EVENT, "key": "2", "traceparent": OTHER}]
    assert writer.post("/api/v1/events/batch", json=batch, headers={"traceparent": TRACE}).status_code == 202
    assert writer.post("/api/v1/events", json={**EVENT, "key": "3"}).status_code == 202
    assert traces(database) == [TRACE, OTHER, None]


def test_an_invalid_trace_header_is_ignored_and_an_invalid_field_is_refused(
    writer: httpx.Client, database: Database
) -> None:
    """A proxy may have damaged the header, which is no reason to lose an event; the field is the caller's own."""
    assert writer.post("/api/v1/events", json=EVENT, headers={"traceparent": "00-nonsense"}).status_code == 202
    answer = writer.post("/api/v1/events", json={**EVENT, "key": "2", "traceparent": "00-nonsense"})
    assert (answer.status_code, "traceparent" in answer.text) == (422, True)
    assert traces(database) == [None]


def test_an_event_says_when_a_deferred_email_about_it_leaves_and_in_which_job(
    writer: httpx.Client, database: Database
) -> None:
    with database.begin() as connection:
        preferences.put_config(connection, "bob", settings={"delivery_mode": Mode.DAILY}, preferences={})
    harness = WorkerHarness(database, relay_url=None)
    harness.pending_emails("bob", key="k1")
    harness.pending_emails("bob", key="k2", link="CL-2")

    told = [
        one
        for key in ("k1", "k2")
        for one in writer.get(f"/api/v1/events/{key}").json()["people"]
        if one["username"] == "bob"
    ]

    assert {one["job_id"] for one in told} == {harness.jobs("k1")[0].id}
    assert {one["deferred_by"] for one in told} == {"daily"}
    assert all(datetime.fromisoformat(one["due_at"]) > datetime.now(UTC) for one in told)


@pytest.mark.parametrize("event_type", sorted(FOR_OPERATORS))
def test_what_only_notify_itself_emits_is_refused_by_its_type(
    writer: httpx.Client, database: Database, event_type: str
) -> None:
    for path, body in (("", EVENT | {"type": event_type}), ("/batch", [EVENT | {"type": event_type}])):
        answer = writer.post(f"/api/v1/events{path}", json=body)
        assert answer.status_code == 422
        assert [one["reason"] for one in answer.json()["errors"] if one["field"] == "type"] == [
            f"only notify itself emits {event_type}"
        ]
    assert stored(database) == 0


def test_an_event_is_withdrawn_with_what_became_of_it_for_each_person(writer: httpx.Client, database: Database) -> None:
    WorkerHarness(database, None).pending_emails("bob", key="a/b")
    first, again = (writer.delete("/api/v1/events/a/b") for _ in range(2))
    assert (first.status_code, first.json()) == (again.status_code, again.json())
    assert (first.status_code, first.json()["key"]) == (200, "a/b")
    assert first.json()["people"] == [
        {"username": "bob", "reason": "reviewer", "status": "withdrawn", "why": None},
        {"username": "somebody", "reason": "author", "status": "skipped", "why": "no_address"},
    ]
    assert writer.get("/api/v1/events/a/b").json()["status"] == "withdrawn"


def test_a_withdrawn_event_that_is_emitted_again_is_a_duplicate_that_nobody_is_told_of(writer: httpx.Client) -> None:
    writer.post("/api/v1/events", json=EVENT)
    assert writer.delete("/api/v1/events/comment-1").json()["people"] == []
    again = writer.post("/api/v1/events", json=EVENT)
    assert (again.status_code, again.json()["duplicate"], again.json()["withdrawn"]) == (202, True, True)


def test_only_what_applications_emitted_is_withdrawn_and_only_by_those_who_may_emit(
    writer: httpx.Client, api: httpx.Client, program: Program, database: Database
) -> None:
    assert writer.delete("/api/v1/events/unknown").status_code == 404
    with database.begin() as connection:
        rows.event(connection, key="own", type="status.dead", topic="status:github/acme/app")
    assert writer.delete("/api/v1/events/own").status_code == 409
    assert api.delete("/api/v1/events/own", headers=program(Scope.OPS)).status_code == 403
