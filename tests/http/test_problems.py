"""Every refusal is a problem document."""

from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from typing import Any

import httpx
import pytest

from notify.api.app import build_app
from notify.channels.links import SignedLinks
from notify.http.bodies import MAX_BODY_BYTES
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from tests.support.callers import Program
from tests.support.defaults import defaults
from tests.support.doorbell import RecordingDoorbell
from tests.support.in_process import InProcess

JSON = {"Content-Type": "application/json"}
EVENT = {"type": "cl.comment.created", "actor": "dana", "cl": {"link": "CL-1"}, "comment": {"id": "1", "body": "Why?"}}


@pytest.fixture
def writer(api: httpx.Client, program: Program) -> httpx.Client:
    """A program that may write events."""
    api.headers.update(program(Scope.EVENTS_WRITE))
    return api


def problem(answer: httpx.Response, status: int) -> dict[str, Any]:
    """The problem document of an answer."""
    document: dict[str, Any] = answer.json()
    assert answer.status_code == document["status"] == status
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert document.keys() - {"errors"} == {"type", "title", "status", "detail", "instance"}
    assert document["instance"] == answer.request.url.path
    return document


@pytest.mark.parametrize(
    ("call", "status"),
    [
        pytest.param({"method": "GET", "url": "/nowhere"}, 404, id="unknown-path"),
        pytest.param({"method": "GET", "url": "/api/v1/jobs/"}, 404, id="trailing-slash"),
        pytest.param({"method": "DELETE", "url": "/api/v1/events"}, 405, id="method"),
        pytest.param({"json": {}}, 422, id="fields-missing"),
        pytest.param({"json": []}, 422, id="not-an-object"),
        pytest.param({}, 422, id="nothing"),
        pytest.param({"content": b"{", "headers": JSON}, 400, id="cut-off"),
        pytest.param({"content": b'{"actor": "\xff"}', "headers": JSON}, 400, id="not-utf8"),
        pytest.param({"content": b"[" * 50_000, "headers": JSON}, 400, id="deep"),
        pytest.param({"content": b"[" + b"[]," * 60_000 + b"0]", "headers": JSON}, 413, id="many-lists"),
        pytest.param({"json": [{"actor": "[" * 100_000}]}, 422, id="brackets-in-words"),
        pytest.param({"content": b"9" * 10_000, "headers": JSON}, 400, id="long-number"),
        pytest.param({"content": b"NaN", "headers": JSON}, 422, id="nan"),
        pytest.param({"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415, id="plain-text"),
        pytest.param({"content": b"{}"}, 415, id="no-type"),
        pytest.param({"content": b"{", "headers": JSON | {"Content-Length": "many"}}, 400, id="odd-length"),
    ],
)
def test_every_refusal_is_a_problem_document(writer: httpx.Client, call: dict[str, Any], status: int) -> None:
    problem(writer.request(**{"method": "POST", "url": "/api/v1/events"} | call), status)


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/api/v1/events", "POST"),
        ("/api/v1/events/batch", "DELETE, GET, POST"),
        ("/api/v1/events/comment-1", "DELETE, GET"),
        ("/api/v1/people/dana", "GET, PUT"),
        ("/api/v1/cls/CL-1", "GET, PUT"),
        ("/api/v1/user/notification/config", "GET, PUT"),
        ("/api/v1/user/notification/cls/CL-1", "DELETE, PUT"),
        ("/unsubscribe/token", "GET, POST"),
        ("/preferences/token", "GET, POST"),
        ("/preferences", "GET, POST"),
        ("/livez", "GET"),
    ],
)
def test_a_method_that_is_not_allowed_lists_those_that_are(api: httpx.Client, path: str, allowed: str) -> None:
    answer = api.request("PATCH", path)

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)


def test_of_very_many_mistakes_only_the_first_few_are_listed(writer: httpx.Client) -> None:
    document = problem(writer.post("/api/v1/events/batch", json=[{}] * 1_000), 422)

    assert 1 <= len(document["errors"]) <= 50


def chunks(size: int) -> Iterator[bytes]:
    """A body whose length is not announced."""
    for _ in range(size // 1_000):
        yield b" " * 1_000


@pytest.mark.parametrize("url", ["/api/v1/events", "/api/v1/events/batch"])
def test_a_body_over_one_mebibyte_is_refused_announced_or_not(writer: httpx.Client, url: str) -> None:
    problem(writer.post(url, content=b" " * (MAX_BODY_BYTES + 1), headers=JSON), 413)
    problem(writer.post(url, content=chunks(2 * MAX_BODY_BYTES), headers=JSON), 413)


def test_a_body_announced_as_too_large_is_not_read(writer: httpx.Client) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append("something")
        yield b" " * (MAX_BODY_BYTES + 1)

    announced = JSON | {"Content-Length": str(MAX_BODY_BYTES + 1)}

    problem(writer.post("/api/v1/events", content=body(), headers=announced), 413)
    assert read == []


@pytest.mark.parametrize(
    ("method", "url"),
    [("POST", "/api/v1/events"), ("PUT", "/api/v1/people/dana"), ("PUT", "/api/v1/user/notification/config")],
)
def test_no_body_is_read_before_the_caller_is_authenticated(api: httpx.Client, method: str, url: str) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append("something")
        yield b"{}"

    problem(api.request(method, url, content=body(), headers=JSON | {"Authorization": "Bearer ntf_x"}), 401)
    assert read == []


def test_a_body_of_one_mebibyte_is_read(writer: httpx.Client) -> None:
    problem(writer.post("/api/v1/events", content=b"x" * MAX_BODY_BYTES, headers=JSON), 400)


def test_a_page_also_refuses_a_large_body(api: httpx.Client, links: SignedLinks) -> None:
    assert api.post(links.preferences("dana"), content=chunks(2 * MAX_BODY_BYTES)).status_code == 413


def test_a_database_outage_is_answered_as_unavailable_and_retryable(context: Context, links: SignedLinks) -> None:
    gone = Database("postgresql://nobody@127.0.0.1:1/nothing", connect_timeout_seconds=1)
    app = build_app(replace(context, database=gone))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        answer = api.post("/api/v1/events", json=EVENT, headers={"Authorization": "Bearer ntf_x"})
        problem(answer, 503)
        page = api.get(links.preferences("dana"))

    assert answer.headers["Retry-After"]
    assert page.status_code == 503
    assert page.headers["Content-Type"].startswith("text/html")


def test_a_read_only_server_is_answered_as_unavailable_and_retryable(context: Context, program: Program) -> None:
    headers = program(Scope.EVENTS_WRITE)
    with closing(Database(context.database.url)) as opened:
        app = build_app(replace(context, database=opened))
        with httpx.Client(transport=InProcess(app), base_url="http://notify.test", headers=headers) as api:
            with defaults(opened.url, {"default_transaction_read_only": "on"}):
                problem(api.post("/api/v1/events", json=EVENT), 503)
            assert api.post("/api/v1/events", json=EVENT).status_code == 202


def test_an_internal_error_is_a_problem_document_without_details(context: Context, program: Program) -> None:
    class BrokenDoorbell(RecordingDoorbell):
        def ring(self, stage: str) -> None:
            raise ZeroDivisionError(stage)

    app = build_app(replace(context, doorbell=BrokenDoorbell()))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        answer = api.post("/api/v1/events", json=EVENT, headers=program(Scope.EVENTS_WRITE))

    problem(answer, 500)
    assert "ZeroDivision" not in answer.text


@pytest.mark.parametrize(
    ("url", "body", "field", "nearest"),
    [
        ("/api/v1/events", EVENT | {"actr": "dana"}, "actr", "actor"),
        ("/api/v1/events", EVENT | {"cl": {"link": "CL-1", "reviewer": []}}, "cl.reviewer", "reviewers"),
        ("/api/v1/events/batch", [EVENT, EVENT | {"coment": {}}], "coment", "comment"),
    ],
)
def test_an_unknown_field_is_refused_with_the_nearest_known_one(
    writer: httpx.Client, url: str, body: object, field: str, nearest: str
) -> None:
    (error,) = problem(writer.post(url, json=body), 422)["errors"]

    assert (error["field"], error.get("index")) == (field, 1 if isinstance(body, list) else None)
    assert error["reason"].endswith(f"did you mean {nearest}?")


def test_an_unknown_field_that_resembles_none_is_refused_with_all_known_ones(writer: httpx.Client) -> None:
    body = EVENT | {"comment": {"id": "1", "body": "Why?", "xyz": 1}}
    (error,) = problem(writer.post("/api/v1/events", json=body), 422)["errors"]

    assert error["field"] == "comment.xyz"
    assert error["reason"].endswith("body, code, id, line, path, url")


def test_an_unknown_filter_is_refused_with_the_nearest_known_one(api: httpx.Client, program: Program) -> None:
    answer = api.get("/api/v1/jobs?user=dana", headers=program(Scope.OPS))

    (error,) = problem(answer, 422)["errors"]
    assert error["field"] == "user"
    assert error["reason"].endswith("did you mean username?")
