"""Webhook endpoints and calls as operators see and set them."""

from base64 import b64decode
from threading import Thread

import pytest

from notify.cli.webhook_calls import CallActionNotAllowed, NoCallsSelected, NoSuchWebhookCall, NoSuchWebhookEndpoint
from notify.cli.webhooks import NothingToChange, WebhookEndpointExists
from notify.store.database import Database
from notify.store.webhooks.calls import CallResult
from notify.webhooks.actions import NoSecretKeys
from notify.webhooks.schema import MalformedEndpoint
from tests.cli.conftest import Notify
from tests.support.wait import until
from tests.support.webhook_calls import DEAD, DELIVERED, FAILED, SKIPPED, URL, Calls


@pytest.fixture
def calls(database: Database) -> Calls:
    return Calls(database)


def test_an_endpoint_is_added_shown_changed_and_removed(notify: Notify, calls: Calls) -> None:
    secret = notify("webhooks", "add", "crm", URL, "--type", "email.dead", "--include", "payload").output.strip()
    assert len(b64decode(secret.removeprefix("whsec_"), validate=True)) == 32
    shown = notify("webhooks", "show", "crm", "--json").json
    assert (shown["url"], shown["types"], shown["include"]) == (URL, ["email.dead"], ["payload"])
    assert notify("webhooks", "list", "--json").json == [shown]
    assert "crm.example" in notify("webhooks", "show", "crm").output

    changed = notify("webhooks", "change", "crm", "--ids-only", "--disable", "--url", f"{URL}/v2", "--json").json
    assert (changed["url"], changed["include"], changed["disabled_because"]) == (f"{URL}/v2", [], "by_hand")
    assert "by_hand" in notify("webhooks", "list").output
    assert "enabled" in notify("webhooks", "change", "crm", "--enable").output
    calls.open_breaker()
    assert "503" in notify("webhooks", "list").output

    assert notify("webhooks", "remove", "crm", stdin="n\n").code == 1
    assert notify("webhooks", "remove", "crm", "--yes").code == 0
    assert "no webhook endpoint" in notify("webhooks", "list").output


def test_a_secret_is_printed_only_when_it_is_made(notify: Notify) -> None:
    added = notify("webhooks", "add", "crm", URL, "--json")
    rotated = notify("webhooks", "rotate", "crm", "--keep-seconds", "60", "--json")
    assert added.json["types"] == ["email.sent", "email.dead", "notification.skipped", "event.done"]
    secrets = {added.json["secret"], rotated.json["secret"], notify("webhooks", "rotate", "crm").output.strip()}
    assert len(secrets) == 3
    assert rotated.json["old_secret_until"] is not None
    printed = "".join(
        f"{said.output}{said.errors}"
        for said in (
            notify("webhooks", "list", "--json"),
            notify("webhooks", "show", "crm"),
            notify("webhooks", "change", "crm", "--disable", "--json"),
            notify("webhooks", "test", "crm", "--wait", "0", "--json"),
        )
    )
    assert not any(secret.removeprefix("whsec_") in printed for secret in secrets)
    assert added.errors == rotated.errors == ""


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (("add", "CRM", URL), MalformedEndpoint),
        (("add", "other", "crm.example"), MalformedEndpoint),
        (("add", "other", URL, "--type", "email.opened"), MalformedEndpoint),
        (("add", "crm", URL), WebhookEndpointExists),
        (("change", "crm", "--include", "body"), MalformedEndpoint),
        (("change", "crm"), NothingToChange),
        (("change", "crn", "--disable"), NoSuchWebhookEndpoint),
        (("show", "crn"), NoSuchWebhookEndpoint),
        (("rotate", "crn"), NoSuchWebhookEndpoint),
        (("remove", "crn", "--yes"), NoSuchWebhookEndpoint),
        (("test", "crn"), NoSuchWebhookEndpoint),
        (("retry", "--endpoint", "crn"), NoSuchWebhookEndpoint),
        (("retry",), NoCallsSelected),
        (("retry", "1", "--endpoint", "crm"), NoCallsSelected),
        (("retry", "999"), NoSuchWebhookCall),
        (("replay", "999"), NoSuchWebhookCall),
    ],
)
def test_what_is_not_possible_is_refused_and_changes_nothing(
    notify: Notify, calls: Calls, arguments: tuple[str, ...], error: type[Exception]
) -> None:
    calls.endpoint()
    before = notify("webhooks", "list", "--json").json
    said = notify("webhooks", *arguments)
    assert isinstance(said.error, error)
    assert notify("webhooks", "list", "--json").json == before
    assert calls.left() == []


def test_without_keys_there_is_no_secret(notify: Notify, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NOTIFY_SECRET_KEYS")
    assert isinstance(notify("webhooks", "add", "crm", URL).error, NoSecretKeys)
    assert notify("webhooks", "list", "--json").json == []


@pytest.mark.parametrize(
    ("result", "code", "words"),
    [(DELIVERED, 0, "delivered"), (FAILED, 1, "pending: no_answer ([b]timed[/b] out)"), (DEAD, 1, "dead: http_500")],
)
def test_a_test_waits_for_the_answer_to_its_first_attempt(
    notify: Notify, calls: Calls, result: CallResult, code: int, words: str
) -> None:
    calls.endpoint()

    def work() -> None:
        assert until(calls.left)
        calls.attempt(calls.left()[0], result)

    worker = Thread(target=work)
    worker.start()
    said = notify("webhooks", "test", "crm")
    worker.join()
    assert (said.code, words in said.output) == (code, True)


def test_calls_are_listed_retried_and_replayed(notify: Notify, calls: Calls) -> None:
    calls.endpoint()
    calls.endpoint("other")
    delivered, dead, failed = (calls.call(result=one) for one in (DELIVERED, DEAD, FAILED))
    skipped, elsewhere = calls.call(result=SKIPPED), calls.call("other", DEAD)

    listed = notify("webhooks", "calls", "crm").output
    assert all(words in listed for words in ("http_500", "([b]timed[/b]", "disabled"))
    ids = [one["id"] for one in notify("webhooks", "calls", "--status", "dead", "--json").json]
    assert ids == [elsewhere, dead]
    page = notify("webhooks", "calls", "crm", "--below", str(failed), "--limit", "1", "--json").json
    assert [one["id"] for one in page] == [dead]

    assert isinstance(notify("webhooks", "retry", str(delivered)).error, CallActionNotAllowed)
    assert isinstance(notify("webhooks", "replay", str(failed)).error, CallActionNotAllowed)
    assert notify("webhooks", "retry", str(skipped), str(delivered), "--json").json == {"retried": 1, "ids": [skipped]}
    (new,) = notify("webhooks", "replay", str(delivered), "--json").json["ids"]
    assert new not in {delivered, dead, failed, skipped, elsewhere}
    assert notify("webhooks", "retry", "--endpoint", "crm", stdin="n\n").code == 1
    assert notify("webhooks", "retry", "--endpoint", "crm", "--yes", "--json").json == {"retried": 1, "ids": [dead]}
    by_status = {one["id"]: one["status"] for one in notify("webhooks", "calls", "--json").json}
    assert by_status == {
        delivered: "delivered",
        new: "pending",
        dead: "pending",
        failed: "pending",
        skipped: "pending",
        elsewhere: "dead",
    }
