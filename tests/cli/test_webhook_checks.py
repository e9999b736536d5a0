"""What the doctor finds about webhook endpoints."""

import pytest

from notify.store.database import Database
from notify.store.webhooks import calls as stored
from notify.store.webhooks import endpoints
from tests.cli.conftest import Notify
from tests.support.webhook_calls import DEAD, DELIVERED, Calls


@pytest.fixture
def calls(database: Database) -> Calls:
    return Calls(database)


def found(notify: Notify) -> dict[str, list[tuple[bool, str, str]]]:
    """What was found about webhooks, and how to fix it, by what it is about."""
    by_about: dict[str, list[tuple[bool, str, str]]] = {}
    for one in notify("doctor", "--json").json:
        if one["about"].startswith("webhook ") and one["about"] != "webhook deliveries":
            by_about.setdefault(one["about"], []).append((one["ok"], one["found"], one["fix"]))
    return by_about


def test_without_endpoints_nothing_is_said(notify: Notify) -> None:
    assert found(notify) == {}


def test_endpoints_that_are_called_or_disabled_by_hand_are_well(notify: Notify, calls: Calls) -> None:
    calls.endpoint()
    calls.endpoint("off", key="a key that is gone")
    calls.call(result=DELIVERED)
    with calls.database.begin() as connection:
        endpoints.change(connection, "off", {"enabled": False})
    said = found(notify)
    assert {about: [ok for ok, *_ in those] for about, those in said.items()} == {
        "webhook crm": [True],
        "webhook off": [True],
        "webhook calls": [True],
    }


def test_what_keeps_an_endpoint_from_being_told_is_named_with_its_remedy(notify: Notify, calls: Calls) -> None:
    calls.endpoint()
    dead = calls.call(result=DEAD)
    calls.endpoint("gone")
    calls.endpoint("keyless", key="a key that is gone", url="http://10.0.0.1/")
    calls.open_breaker("keyless")
    with calls.database.begin() as connection:
        id_ = connection.exec_driver_sql("SELECT id FROM notify.webhook_endpoints WHERE name = 'gone'").scalar_one()
        stored.disable(connection, id_, because="gone")
    said = found(notify)
    assert said.pop("webhook crm")[0][0]
    ((ok, words, fix),) = said.pop("webhook calls")
    assert (ok, f"{dead} to crm (http_500)" in words, "notify webhooks retry --endpoint" in fix) == (False, True, True)
    ((ok, words, fix),) = said.pop("webhook gone")
    assert (ok, "410" in words, "--enable" in fix) == (False, True, True)
    ((_, key, rotate), (_, failing, test), (_, plain, https)) = said.pop("webhook keyless")
    assert ("NOTIFY_SECRET_KEYS" in key, "rotate keyless" in rotate) == (True, True)
    assert ("HTTP 503" in failing, "test keyless" in test) == (True, True)
    assert ("https" in plain, "NOTIFY_WEBHOOK_NETWORKS" in https) == (True, True)
    assert said == {}


def test_plain_http_is_well_where_a_private_network_is_configured(
    notify: Notify, calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls.endpoint(url="http://10.0.0.1/")
    assert [ok for ok, *_ in found(notify)["webhook crm"]] == [False]
    monkeypatch.setenv("NOTIFY_WEBHOOK_NETWORKS", "10.0.0.0/8")
    assert [ok for ok, *_ in found(notify)["webhook crm"]] == [True]
