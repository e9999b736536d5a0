"""The API conforms to its own OpenAPI document, whatever is sent; and reading writes nothing."""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from http import HTTPStatus
from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis.strategies import SearchStrategy, datetimes, from_regex, sampled_from
from schemathesis import Case, GenerationMode
from schemathesis.checks import CheckFunction
from schemathesis.core.result import Ok
from schemathesis.core.transport import Response
from schemathesis.specs.openapi.checks import negative_data_rejection, positive_data_acceptance
from sqlalchemy import ColumnElement, Table, select

from notify.api import examples
from notify.api.app import build_app
from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from notify.store.tables import metadata
from notify.store.tables.people import api_tokens, notification_event_types
from tests.support.callers import Person, Program
from tests.support.harness import WorkerHarness, comment

CASES_OF_AN_OPERATION = 4
SEQUENCES, CALLS_OF_A_SEQUENCE = 16, 8
FEW = 4
KEPT_BETWEEN = {api_tokens, notification_event_types}
FORGET = (
    f"TRUNCATE {', '.join(one.fullname for one in metadata.sorted_tables if one not in KEPT_BETWEEN)} RESTART IDENTITY"
)
EVENT_OF_A_KEY = "/api/v1/events/{key}"
DELIVERIES = "/api/v1/forges/deliveries"
STATUSES = "/api/v1/statuses"
WEBHOOKS = "/api/v1/webhooks"
CONFIG = "/api/v1/user/notification/config"
EVENT = {
    "key": "1",
    "type": COMMENT_CREATED,
    "actor": "dana",
    "cl": {"link": "CL-1", "author": "alice"},
    "comment": {"id": "1", "body": "Why?"},
}


schemathesis.openapi.format(
    "email", from_regex(r"[a-z]{1,20}(\.[a-z]{1,9})?@([a-z]{1,9}\.){1,3}example", fullmatch=True)
)
schemathesis.openapi.format("iana-time-zone", sampled_from(["Europe/Berlin", "Asia/Kolkata", "UTC"]))
schemathesis.openapi.format(
    "date-time",
    datetimes(min_value=datetime(2000, 1, 2), max_value=datetime(2026, 1, 1)).map(lambda at: f"{at.isoformat()}Z"),  # noqa: DTZ001 - Hypothesis wants them naive
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Visitor:
    """A person with every credential: their own, the links in their emails, and a program's."""

    as_person: dict[str, str]
    as_program: dict[str, str]
    links: Mapping[str, str]

    def headers(self, path: str) -> dict[str, str]:
        """The credentials for a path."""
        return self.as_person if path.startswith(("/api/v1/user/", "/preferences")) else self.as_program


@pytest.fixture
def app(context: Context) -> FastAPI:
    """An application of this file's own, since its document gets more links."""
    return build_app(context)


@pytest.fixture
def visitor(program: Program, person: Person, links: SignedLinks) -> Callable[[str], Visitor]:
    """A visitor with this username."""

    def named(username: str) -> Visitor:
        tokens = {
            "/unsubscribe/{token}": links.stop_event_type(username, COMMENT_CREATED, beside="CL-1").rpartition("/")[2],
            "/preferences/{token}": links.preferences(username).rpartition("/")[2],
        }
        return Visitor(as_person=person(username), as_program=program(*Scope), links=tokens)

    return named


def test_every_answer_to_any_request_conforms_to_the_document(app: FastAPI, visitor: Callable[[str], Visitor]) -> None:
    dana = visitor("dana")
    for found in schemathesis.openapi.from_asgi("/openapi.json", app).get_all_operations():
        assert isinstance(found, Ok)
        operation = found.ok()
        known = {"token": dana.links[operation.path]} if operation.path in dana.links else None
        allowed = operation.as_strategy(GenerationMode.POSITIVE, path_parameters=known)
        forbidden = operation.as_strategy(GenerationMode.NEGATIVE, path_parameters=known)
        keeps_its_word(allowed | forbidden, dana, operation.path)


def keeps_its_word(cases: SearchStrategy[Case[Any]], visitor: Visitor, path: str) -> None:
    """Send some of these calls and check each answer against the document."""

    @seed(4821)
    @settings(max_examples=CASES_OF_AN_OPERATION, database=None, deadline=None, phases=[Phase.generate])
    @given(cases)
    def check(case: Case[Any]) -> None:
        case.call_and_validate(headers=visitor.headers(path), excluded_checks=beyond_a_schema(path))

    check()


def beyond_a_schema(path: str) -> list[CheckFunction]:
    """
    Beyond the schema: an event type is named once and required ones stay on.

    A status has the states of its kind, and an annotation does not end before it starts.
    An unknown filter of which nothing is sent, as an empty list, is none.
    """
    excluded: dict[str, list[CheckFunction]] = {
        CONFIG: [positive_data_acceptance],
        DELIVERIES: [negative_data_rejection],
        f"{STATUSES}/batch": [positive_data_acceptance],
        STATUSES: [positive_data_acceptance, negative_data_rejection],
    }
    return excluded.get(path, [])


def lead_on(document: dict[str, Any]) -> None:
    """Add links from these answers to later calls. schemathesis finds by itself what follows from a job."""
    paths = document["paths"]
    outcome = {"operationId": paths[EVENT_OF_A_KEY]["get"]["operationId"], "parameters": {"key": "$response.body#/key"}}
    put_back = {"operationId": paths[CONFIG]["put"]["operationId"], "requestBody": "$response.body"}
    paths["/api/v1/events"]["post"]["responses"]["202"]["links"] = {"outcome": outcome}
    paths[CONFIG]["get"]["responses"]["200"]["links"] = {"put_back": put_back}


def test_sequences_of_calls_conform_to_the_document(
    app: FastAPI, visitor: Callable[[str], Visitor], database: Database
) -> None:
    dana = visitor("dana")
    harness = WorkerHarness(database, relay_url=None)
    followed: Counter[str] = Counter()

    lead_on(app.openapi())
    whole = schemathesis.openapi.from_asgi("/openapi.json", app)
    schema = whole.include(path_regex="^/api/").exclude(
        path_regex="^/api/v1/(event-types|forges|identities|ingest|builds|queues|requests|statuses|webhooks)"
    )
    schema.config.generation.update(modes=[GenerationMode.POSITIVE])

    class Caller(schema.as_state_machine()):  # type: ignore[misc]
        def setup(self) -> None:
            """Each sequence starts with two pending emails, so that it means the same on every run."""
            harness.execute(FORGET)
            harness.pending_emails("dana", "bob")
            self.calls = 0

        def get_call_kwargs(self, case: Case[Any]) -> dict[str, Any]:
            return {"headers": dana.headers(case.path)}

        def before_call(self, case: Case[Any]) -> None:
            if case.path_parameters.get("job_id", 0) > FEW:
                case.path_parameters["job_id"] = 1 + case.path_parameters["job_id"] % FEW
            if case.path == "/api/v1/events":
                self.calls += 1
                case.body = comment(key=f"call-{self.calls}", reviewers=["dana"])

        def after_call(self, response: Response, case: Case[Any]) -> None:
            """Fan out between the calls, as a worker does."""
            if response.status_code < HTTPStatus.BAD_REQUEST:
                followed[f"{case.method} {case.path}"] += 1
            if case.path == "/api/v1/events" and response.status_code == HTTPStatus.ACCEPTED:
                harness.fan_out()

        def validate_response(self, response: Response, case: Case[Any], **_: object) -> None:
            case.validate_response(
                response, headers=dana.headers(case.path), excluded_checks=beyond_a_schema(case.path)
            )

    Caller.run(
        settings=settings(
            max_examples=SEQUENCES,
            stateful_step_count=CALLS_OF_A_SEQUENCE,
            database=None,
            deadline=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
    )

    assert {
        f"GET {EVENT_OF_A_KEY}",
        "GET /api/v1/jobs/{job_id}",
        "POST /api/v1/jobs/{job_id}/retry",
        "POST /api/v1/jobs/{job_id}/cancel",
        f"PUT {CONFIG}",
    } <= set(followed)


A_QUEUE = {"queue": "main", "number": "1"}


@pytest.fixture
def something_of_everything(api: httpx.Client, visitor: Callable[[str], Visitor], links: SignedLinks) -> httpx.Client:
    """An API with every kind of thing that can be read."""
    dana = visitor("dana")
    written = [
        api.put("/api/v1/people/dana", json={"email": "dana@example.com"}, headers=dana.as_program),
        api.post("/api/v1/events", json=EVENT, headers=dana.as_program),
        api.put(STATUSES, json=examples.CHECK_RUN, headers=dana.as_program),
        api.post(WEBHOOKS, json=examples.WEBHOOK_ENDPOINT, headers=dana.as_program),
        api.post(f"{WEBHOOKS}/crm/test", headers=dana.as_program),
        api.put("/api/v1/user/notification/config", json={"enabled": False}, headers=dana.as_person),
        api.post(links.mute_change_list("dana", "CL-1"), data={"List-Unsubscribe": "One-Click"}),
    ]
    assert all(answer.is_success for answer in written)
    return api


@pytest.mark.parametrize(
    ("reader", "names"),
    [
        (
            "dana",
            {
                "key": "1",
                "username": "dana",
                "link": "CL-1",
                "job_id": "1",
                "delivery_id": "1",
                "status_id": "1",
                "name": "crm",
                "call_id": "1",
                **A_QUEUE,
            },
        ),
        (
            "a stranger",
            {
                "key": "0",
                "username": "nobody",
                "link": "CL-0",
                "job_id": "2",
                "delivery_id": "2",
                "status_id": "2",
                "name": "none",
                "call_id": "2",
                **A_QUEUE,
            },
        ),
    ],
)
def test_reading_never_writes(
    something_of_everything: httpx.Client,
    database: Database,
    visitor: Callable[[str], Visitor],
    reader: str,
    names: dict[str, str],
) -> None:
    document = something_of_everything.get("/openapi.json").json()
    somebody = visitor(reader)
    before = rows(database)

    for path, operations in document["paths"].items():
        if "get" in operations:
            url = path.format(**names, token=somebody.links.get(path))
            url += "?uri=git://host/repo" if path.endswith("/greenness") else ""
            answer = something_of_everything.get(url, headers=somebody.headers(path))
            assert answer.status_code in {200, 404}, path

    assert rows(database) == before


def test_a_query_parameter_that_an_operation_does_not_know_is_refused(
    api: httpx.Client, visitor: Callable[[str], Visitor]
) -> None:
    dana = visitor("dana")
    asked = [
        (method, path.format(name="crm", queue="main"))
        for path, operations in api.get("/openapi.json").json()["paths"].items()
        for method, operation in operations.items()
        if any(one["in"] == "query" for one in operation.get("parameters", ()))
    ]
    taken = [
        (method, path)
        for method, path in asked
        if api.request(method, path, params={"frorge": "github"}, headers=dana.headers(path)).status_code
        != HTTPStatus.UNPROCESSABLE_ENTITY
    ]
    assert asked
    assert taken == []


def rows(database: Database) -> Mapping[str, list[tuple[Any, ...]]]:
    """Everything stored, except for when a token was last used."""
    with database.begin() as connection:
        return {
            table.name: sorted(map(tuple, connection.execute(select(*_said(table)))), key=repr)
            for table in metadata.sorted_tables
        }


def _said(table: Table) -> list[ColumnElement[Any]]:
    return [column for column in table.c if column is not api_tokens.c.last_used_at]
