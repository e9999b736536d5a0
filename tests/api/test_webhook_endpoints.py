"""Webhook endpoints over REST: operators add and change them, and see, retry and replay calls."""

from base64 import b64decode
from dataclasses import replace
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from fastapi.routing import APIRoute
from hypothesis import given, settings
from hypothesis.strategies import from_regex

from notify.api.app import build_app
from notify.domain.stages import WEBHOOKS
from notify.domain.webhook_signatures import StoredSecret, derive, shown
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from notify.store.webhooks import endpoints
from notify.store.webhooks.calls import CallResult
from notify.webhooks import actions, schema
from tests.support.callers import Person, Program
from tests.support.doorbell import RecordingDoorbell
from tests.support.in_process import InProcess
from tests.support.webhook_calls import DEAD, DELIVERED, FAILED, KEY, SKIPPED, URL, Calls

HOOKS = "/api/v1/webhooks"
CRM = f"{HOOKS}/crm"
GIVEN = {"name": "crm", "url": URL, "types": ["email.dead", "event.done"]}


@pytest.fixture
def operator(api: httpx.Client, program: Program) -> httpx.Client:
    api.headers.update(program(Scope.OPS))
    return api


@pytest.fixture
def calls(database: Database) -> Calls:
    return Calls(database)


def stored_secrets(database: Database) -> dict[str, str]:
    with database.begin() as connection:
        return endpoints.stored_secrets(connection)


def test_only_operators_get_in(api: httpx.Client, app: FastAPI, program: Program, person: Person) -> None:
    called = [
        (method, route.path.format(name="crm", call_id=1))
        for route in app.state.routes
        if isinstance(route, APIRoute) and route.path.startswith(HOOKS)
        for method in route.methods or ()
    ]
    assert len(called) == 12
    callers = [({}, 401), (person("dana"), 403), (program(*(one for one in Scope if one is not Scope.OPS)), 403)]
    for headers, refused in callers:
        answers = {
            f"{method} {path}": api.request(method, path, headers=headers).status_code for method, path in called
        }
        assert answers == dict.fromkeys(answers, refused)


def test_the_secret_is_shown_when_an_endpoint_is_added_and_never_again(
    operator: httpx.Client, database: Database
) -> None:
    added = operator.post(HOOKS, json=GIVEN)
    assert added.status_code == 201
    secret = added.json().pop("secret")
    assert secret.startswith("whsec_")
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    (stored,) = stored_secrets(database).values()
    assert shown(derive(StoredSecret.parse(stored), [KEY])) == secret
    assert secret.removeprefix("whsec_") not in stored
    listed, found = operator.get(HOOKS), operator.get(CRM)
    assert [one["name"] for one in listed.json()] == ["crm"]
    assert found.json() == listed.json()[0]
    assert (found.json()["types"], found.json()["include"]) == (["email.dead", "event.done"], [])
    assert all("secret" not in answer.json() for answer in (found, operator.patch(CRM, json={"include": ["payload"]})))


WRONG_FIELDS: list[tuple[dict[str, Any], str]] = [
    ({"name": "CRM"}, "name"),
    ({"name": ""}, "name"),
    ({"url": "ftp://crm.example"}, "url"),
    ({"url": "https://user:password@crm.example/"}, "url"),
    ({"url": "https://crm.example/#part"}, "url"),
    ({"url": "https://crm.example:99999/"}, "url"),
    ({"url": f"https://{'a' * 64}.example/"}, "url"),
    ({"url": "https://a..example/"}, "url"),
    ({"url": "https://münchen.example/"}, "url"),
    ({"url": f"https://crm.example/{'a' * 2000}"}, "url"),
    ({"types": []}, "types"),
    ({"types": ["email.opened"]}, "types.0"),
    ({"include": ["body"]}, "include.0"),
    ({"secret": "whsec_mine"}, "secret"),
]


def test_a_wrong_field_is_named_and_nothing_is_stored(operator: httpx.Client, database: Database) -> None:
    for changes, field in WRONG_FIELDS:
        refused = operator.post(HOOKS, json=GIVEN | changes)
        assert (refused.status_code, [one["field"] for one in refused.json()["errors"]]) == (422, [field]), changes
    assert stored_secrets(database) == {}


@settings(max_examples=30)
@given(url=from_regex(schema.URL, fullmatch=True), name=from_regex(schema.NAME, fullmatch=True))
def test_every_url_that_is_taken_can_be_called(url: str, name: str) -> None:
    called = httpx.URL(url)
    assert called.host
    assert (called.port or 80) < 65_536
    called.host.encode("idna")
    assert schema.parse(schema.EndpointIn, GIVEN | {"url": url, "name": name}).url == url


def test_a_name_is_taken_once_and_an_unknown_one_is_answered_with_the_nearest(operator: httpx.Client) -> None:
    assert operator.get(CRM).status_code == 404
    secret = operator.post(HOOKS, json=GIVEN).json()["secret"]
    assert operator.post(HOOKS, json=GIVEN | {"url": "https://other.example/"}).status_code == 409
    assert operator.get(CRM).json()["url"] == URL
    unknown = operator.get(f"{HOOKS}/crn")
    assert unknown.status_code == 404
    assert "crm" in unknown.json()["detail"]
    assert secret not in unknown.text


def test_without_keys_no_endpoint_gets_a_secret(context: Context, program: Program, calls: Calls) -> None:
    calls.endpoint()
    app = build_app(replace(context, keys=()))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test", headers=program(Scope.OPS)) as api:
        added, rotated = api.post(HOOKS, json=GIVEN | {"name": "other"}), api.post(f"{CRM}/rotate")
        assert (added.status_code, rotated.status_code) == (409, 409)
        assert "NOTIFY_SECRET_KEYS" in added.json()["detail"]
        assert [one["name"] for one in api.get(HOOKS).json()] == ["crm"]


def test_what_is_given_is_changed_and_the_rest_stays(
    operator: httpx.Client, calls: Calls, doorbell: RecordingDoorbell
) -> None:
    calls.endpoint()
    before = operator.get(CRM).json()
    changed = {"types": ["email.sent"], "include": ["address"]}
    assert operator.patch(CRM, json=changed | {"types": ["email.sent"] * 2}).json() == before | changed
    calls.open_breaker()
    assert operator.get(CRM).json()["failing"] == "HTTP 503"
    off = operator.patch(CRM, json={"enabled": False}).json()
    assert (off["disabled_because"], off["failing"]) == ("by_hand", "HTTP 503")
    assert operator.patch(CRM, json={"enabled": False}).json()["disabled_at"] == off["disabled_at"]
    moved = operator.patch(CRM, json={"url": "https://crm.example/v2"}).json()
    assert (moved["failing"], moved["next_call_at"], moved["disabled_at"]) == (None, None, off["disabled_at"])
    on = operator.patch(CRM, json={"enabled": True}).json()
    assert on == before | changed | {"url": "https://crm.example/v2"}
    assert set(doorbell.rings) == {WEBHOOKS}


WRONG_CHANGES: list[tuple[dict[str, Any], str]] = [
    ({}, ""),
    ({"url": None}, "url"),
    ({"types": []}, "types"),
    ({"enabled": "no"}, "enabled"),
    ({"name": "other"}, "name"),
    ({"enabled": False, "secret": "whsec_mine"}, "secret"),
]


def test_a_wrong_change_is_refused_whole(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint()
    before = operator.get(CRM).json()
    for body, field in WRONG_CHANGES:
        refused = operator.patch(CRM, json=body)
        assert (refused.status_code, [one["field"] for one in refused.json()["errors"]]) == (422, [field]), body
    assert operator.get(CRM).json() == before
    assert operator.patch(f"{HOOKS}/other", json={"enabled": False}).status_code == 404


def test_a_rotated_secret_is_new_and_the_former_one_signs_for_as_long_as_is_asked(
    operator: httpx.Client, calls: Calls, database: Database
) -> None:
    calls.endpoint()
    (former,) = stored_secrets(database).values()
    rotated = operator.post(f"{CRM}/rotate", params={"keep_seconds": 3600}).json()
    (stored,) = stored_secrets(database).values()
    assert rotated["secret"] == shown(derive(StoredSecret.parse(stored), [KEY]))
    assert former != stored
    assert rotated["old_secret_until"] is not None
    assert operator.post(f"{CRM}/rotate", params={"keep_seconds": 0}).json()["old_secret_until"] is None
    assert operator.post(f"{CRM}/rotate").json()["old_secret_until"] is not None
    for senseless in ({"keep_seconds": -1}, {"keep_seconds": 31 * 86_400}, {"keep": 1}):
        assert operator.post(f"{CRM}/rotate", params=senseless).status_code == 422
    assert operator.post(f"{HOOKS}/other/rotate").status_code == 404


def test_a_secret_whose_key_is_gone_does_not_sign_beside_the_new_one(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint(key="a key that was removed from the settings")
    assert operator.post(f"{CRM}/rotate").json()["old_secret_until"] is None


def test_a_removed_endpoint_is_gone_with_its_calls_and_its_name_is_free(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint()
    calls.call(result=DEAD)
    calls.open_breaker()
    assert operator.delete(CRM).status_code == 204
    assert operator.delete(CRM).status_code == 404
    assert operator.get(f"{CRM}/calls").status_code == 404
    added = operator.post(HOOKS, json=GIVEN).json()
    assert (added["failing"], operator.get(f"{CRM}/calls").json()["calls"]) == (None, [])


def test_a_test_call_waits_for_a_worker_and_then_says_what_the_endpoint_answered(
    operator: httpx.Client, calls: Calls, doorbell: RecordingDoorbell
) -> None:
    calls.endpoint()
    accepted = operator.post(f"{CRM}/test")
    assert accepted.status_code == 202
    call = accepted.json()
    assert (call["type"], call["status"], call["attempts"]) == ("endpoint.test", "pending", 0)
    assert call["webhook_id"].startswith("msg_")
    assert call["due_at"] is not None
    assert doorbell.rings == [WEBHOOKS]
    calls.attempt(call["id"], DEAD)
    after = operator.get(f"{CRM}/calls/{call['id']}").json()
    assert (after["status"], after["outcome_reason"], after["last_code"]) == ("dead", "http_500", 500)
    assert (after["last_error"], after["attempts"], after["failures"]) == (None, 1, 1)
    assert (after["due_at"], after["took_ms"]) == (None, 7)
    assert operator.post(f"{HOOKS}/other/test").status_code == 404


def test_calls_are_listed_newest_first_in_pages_and_by_what_they_are(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint()
    calls.endpoint("other")
    results = [DELIVERED, DEAD, FAILED, SKIPPED, None]
    ids = [calls.call(result=one) for one in results[:-1]]
    other = calls.call("other", DEAD)
    ids.append(calls.call())
    found: list[int] = []
    cursor: dict[str, int | None] = {}
    for _ in range(3):
        page = operator.get(f"{CRM}/calls", params={"limit": 2, **cursor}).json()
        found += [one["id"] for one in page["calls"]]
        cursor = {"cursor": page["next_cursor"]}
    assert found == ids[::-1]
    assert cursor == {"cursor": None}
    by_status = {
        status: [one["id"] for one in operator.get(f"{CRM}/calls", params={"status": status}).json()["calls"]]
        for status in ("delivered", "dead", "pending", "skipped")
    }
    assert by_status == {"delivered": ids[:1], "dead": ids[1:2], "pending": [ids[4], ids[2]], "skipped": ids[3:4]}
    assert operator.get(f"{CRM}/calls", params={"type": "email.sent"}).json()["calls"] == []
    assert len(operator.get(f"{CRM}/calls", params={"type": "endpoint.test"}).json()["calls"]) == 5
    assert operator.get(f"{CRM}/calls/{other}").status_code == 404
    for senseless in ({"status": "lost"}, {"type": "email.opened"}, {"limit": "0"}, {"colour": "red"}):
        assert operator.get(f"{CRM}/calls", params=senseless).status_code == 422


@pytest.mark.parametrize("result", [DEAD, SKIPPED, FAILED])
def test_a_call_that_was_not_accepted_is_retried_under_its_own_id(
    operator: httpx.Client, calls: Calls, doorbell: RecordingDoorbell, result: CallResult
) -> None:
    calls.endpoint()
    id_ = calls.call(result=result)
    one = f"{CRM}/calls/{id_}"
    before = operator.get(one).json()
    retried = operator.post(f"{one}/retry").json()
    assert (retried["id"], retried["webhook_id"], retried["status"]) == (id_, before["webhook_id"], "pending")
    assert (retried["attempts"], retried["outcome_reason"]) == (1, None)
    assert doorbell.rings == [WEBHOOKS]
    calls.attempt(id_, DELIVERED)
    after = operator.get(one).json()
    assert (after["status"], after["attempts"], after["created_at"]) == ("delivered", 2, before["created_at"])
    assert operator.post(f"{one}/retry").status_code == 409


def test_a_call_that_a_worker_is_making_is_left_to_it(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint()
    id_ = calls.call()
    calls.claim()
    before = operator.get(f"{CRM}/calls/{id_}").json()
    assert operator.post(f"{CRM}/calls/{id_}/retry").status_code == 409
    assert operator.get(f"{CRM}/calls/{id_}").json() == before


@pytest.mark.parametrize("result", [DELIVERED, DEAD, SKIPPED])
def test_a_call_that_has_ended_is_replayed_as_a_new_one_about_the_same(
    operator: httpx.Client, calls: Calls, doorbell: RecordingDoorbell, result: CallResult
) -> None:
    calls.endpoint()
    id_ = calls.call(result=result)
    before = operator.get(f"{CRM}/calls/{id_}").json()
    replayed = operator.post(f"{CRM}/calls/{id_}/replay")
    assert replayed.status_code == 201
    new = replayed.json()
    assert new["id"] != id_
    assert new["webhook_id"] != before["webhook_id"]
    same = ("endpoint", "type", "subject_id", "outcome", "why", "created_at")
    assert [new[name] for name in same] == [before[name] for name in same]
    assert (new["status"], new["attempts"], new["replay_of"]) == ("pending", 0, id_)
    assert operator.get(f"{CRM}/calls/{id_}").json() == before
    assert doorbell.rings == [WEBHOOKS]
    assert operator.post(f"{CRM}/calls/{new['id']}/replay").status_code == 409
    for path in (f"{CRM}/calls/999", f"{HOOKS}/other/calls/{id_}"):
        assert [operator.post(f"{path}/{act}").status_code for act in ("retry", "replay")] == [404, 404]


def test_all_dead_calls_of_an_endpoint_and_no_others_are_retried_at_once(operator: httpx.Client, calls: Calls) -> None:
    calls.endpoint()
    calls.endpoint("other")
    dead = [calls.call(result=DEAD) for _ in range(5)]
    delivered, elsewhere = calls.call(result=DELIVERED), calls.call("other", DEAD)
    assert operator.post(f"{CRM}/retry").json() == {"retried": 5}
    pending = operator.get(f"{CRM}/calls", params={"status": "pending"}).json()["calls"]
    assert [one["id"] for one in pending] == dead[::-1]
    assert operator.get(f"{CRM}/calls/{delivered}").json()["status"] == "delivered"
    assert operator.get(f"{HOOKS}/other/calls/{elsewhere}").json()["status"] == "dead"
    assert operator.post(f"{CRM}/retry").json() == {"retried": 0}
    assert operator.post(f"{HOOKS}/unknown/retry").status_code == 404


def test_however_many_calls_are_dead_each_is_retried(calls: Calls, database: Database) -> None:
    calls.endpoint()
    dead = [calls.call(result=DEAD) for _ in range(3)]
    doorbell = RecordingDoorbell()
    done = actions.retry_dead(database, "crm", ring=lambda: doorbell.ring(WEBHOOKS), page=2)
    assert (sorted(done), doorbell.rings) == (dead, [WEBHOOKS] * 2)
