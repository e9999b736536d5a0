"""What docs/webhooks.md prints is what endpoints get: each body, and how its signature is verified."""

import json
from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, cast

import pytest

from notify.domain.webhooks import DELAYS, LONGEST_PAUSE, TYPES
from notify.store.database import Database
from notify.store.webhooks import by_hand
from tests.support.documentation import PAGES, examples
from tests.support.harness import WorkerHarness
from tests.support.smtp import RCPT, ScriptedRelay
from tests.support.webhooks import NAME, Called, ScriptedEndpoint, WebhookHarness

PAGE = "docs/webhooks.md"
Verifier = Callable[[Mapping[str, str], bytes, str], bool]


@pytest.fixture
def is_genuine() -> Verifier:
    (example,) = examples(PAGE, "python")
    names: dict[str, Any] = {}
    exec(example.text, names)  # noqa: S102 - the example is ours
    return cast("Verifier", names["is_genuine"])


@pytest.fixture
def called(
    database: Database, relay: ScriptedRelay, webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> Callable[..., list[Called]]:
    """Every call to an endpoint that asks for everything, about two emails, of which the relay refuses the second."""

    def run(*, include: tuple[str, ...] = ()) -> list[Called]:
        webhooks.add(endpoint.url, include=include)
        harness = WorkerHarness(database, relay.url)
        harness.pending_emails("ann")
        harness.drain()
        relay.answers[RCPT] = "550 5.1.1 No such mailbox"
        harness.pending_emails("ann", key="k2", link="CL-2")
        harness.drain()
        webhooks.drain()
        return endpoint.calls

    return run


def shape(value: object) -> object:
    """The names in an object, and those in the first item of each list."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    return [shape(one) for one in value[:1]] if isinstance(value, list) else None


def test_the_bodies_have_the_fields_that_are_printed(called: Callable[..., list[Called]]) -> None:
    printed = {(one := json.loads(example.text))["type"]: shape(one["data"]) for example in examples(PAGE, "json")}
    printed["email.sent"] = printed["email.dead"]
    found = {one.json["type"]: shape(one.data) for one in called()}
    assert found == printed
    assert set(found) == set(TYPES)


def test_addresses_and_contents_are_told_only_where_they_are_included(
    called: Callable[..., list[Called]], webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    assert [one for one in called() if b"ann@" in one.body or b"jitter" in one.body] == []
    endpoint.calls.clear()
    webhooks.execute("UPDATE notify.webhook_endpoints SET include = '{address,payload}'")
    webhooks.execute('UPDATE notify.events SET payload = \'{"comment": "jitter"}\'')
    ids = [id_ for (id_,) in webhooks.calls("id")]
    with webhooks.database.begin() as connection:
        by_hand.replay(connection, ids)
    webhooks.drain()
    by_type = {one.json["type"]: one.data for one in endpoint.calls}
    assert by_type["email.sent"]["to_email"].startswith("ann@")
    assert by_type["email.sent"]["notifications"][0]["payload"] == {"comment": "jitter"}
    assert by_type["event.done"]["payload"] == by_type["notification.skipped"]["payload"] == {"comment": "jitter"}


def test_the_printed_function_accepts_what_notify_signed_and_nothing_else(
    is_genuine: Verifier, webhooks: WebhookHarness, endpoint: ScriptedEndpoint
) -> None:
    first = webhooks.add(endpoint.url)
    make_test_call(webhooks)
    second = webhooks.rotate(keep=timedelta(hours=1))
    make_test_call(webhooks)
    before, after = endpoint.calls
    assert is_genuine(before.headers, before.body, first)
    assert not is_genuine(before.headers, before.body, second)
    assert all(is_genuine(after.headers, after.body, secret) for secret in (first, second))
    for changed in (
        replace(after, body=after.body + b" "),
        replace(after, headers={**after.headers, "webhook-id": before.id}),
        replace(after, headers={**after.headers, "webhook-timestamp": "1700000000"}),
        replace(after, headers={**after.headers, "webhook-timestamp": "soon"}),
        replace(after, headers={**after.headers, "webhook-signature": "v1,"}),
        replace(after, headers={}),
    ):
        assert not is_genuine(changed.headers, changed.body, second)


def make_test_call(webhooks: WebhookHarness) -> None:
    with webhooks.database.begin() as connection:
        by_hand.test(connection, NAME)
    webhooks.drain()


def test_the_printed_delays_are_the_ones_that_calls_wait() -> None:
    assert [int(one.total_seconds()) for one in DELAYS] == [
        5,
        *(minutes * 60 for minutes in (5, 30)),
        *(hours * 3600 for hours in (2, 5, 10, 14, 20, 24)),
    ]
    assert "5 s, 5 and 30 min, 2, 5, 10, 14, 20 and 24 h" in PAGES[PAGE]
    assert (sum(DELAYS, timedelta()).days, LONGEST_PAUSE) == (3, timedelta(hours=1))
