"""How an endpoint is called: which addresses are, with which certificate, and how long an answer is waited for."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from notify.store.database import Database
from tests.support.smtp import Certificate
from tests.support.wait import until
from tests.support.webhooks import Says, ScriptedEndpoint, WebhookHarness, webhook_stage

pytestmark = pytest.mark.usefixtures("job")

PRIVATE = (
    "127.0.0.1",
    "localhost",
    "10.0.0.1",
    "169.254.169.254",
    "100.64.0.1",
    "[::1]",
    "[fd00::1]",
    "[::ffff:127.0.0.1]",
    "[64:ff9b::7f00:1]",
)


def test_a_redirect_is_not_followed(webhooks: WebhookHarness, endpoint: ScriptedEndpoint) -> None:
    with ScriptedEndpoint() as elsewhere:
        webhooks.add(endpoint.url)
        endpoint.answers = [Says(307, {"Location": elsewhere.url})]
        webhooks.tell("dead")
        webhooks.drain()
        assert (len(endpoint.calls), elsewhere.calls) == (1, [])
    assert webhooks.calls("outcome_reason") == [("http_307",)]


def test_an_endpoint_that_does_not_answer_is_left_after_a_while(database: Database, endpoint: ScriptedEndpoint) -> None:
    with webhook_stage(database, lease_seconds=1) as hasty:
        hasty.add(endpoint.url)
        endpoint.always = Says(waits=True)
        hasty.tell("dead")
        hasty.stage.drain()
        until(lambda: hasty.calls("attempts") == [(1,)])
        ((reason, code, error),) = hasty.calls("outcome_reason", "last_code", "last_error")
    assert (reason, code) == ("no_answer", None)
    assert "no answer within" in error


def test_an_endless_answer_is_not_read(webhooks: WebhookHarness, endpoint: ScriptedEndpoint) -> None:
    webhooks.add(endpoint.url)
    endpoint.answers = [Says(200, endless=True)]
    webhooks.tell("one")
    webhooks.drain()
    webhooks.tell("two")
    webhooks.drain()
    assert webhooks.calls("status") == [("delivered",), ("delivered",)]


def test_a_private_address_is_not_called_unless_its_network_is_allowed(
    database: Database, endpoint: ScriptedEndpoint
) -> None:
    with webhook_stage(database, webhook_networks=None) as strict:
        for number, host in enumerate(PRIVATE):
            strict.add(f"https://{host}:{endpoint.port}/", name=f"private-{number}")
        strict.tell("dead")
        strict.drain()
        found = strict.calls("outcome_reason", "last_error LIKE '%NOTIFY_WEBHOOK_NETWORKS%'")
    assert found == [("no_answer", True)] * len(PRIVATE)
    assert endpoint.calls == []


def test_a_public_address_is_not_called_without_tls(webhooks: WebhookHarness) -> None:
    webhooks.add("http://203.0.114.1/")
    webhooks.tell("dead")
    webhooks.drain()
    ((error,),) = webhooks.calls("last_error")
    assert "TLS" in error


@pytest.fixture
def secure(tmp_path: Path) -> Iterator[ScriptedEndpoint]:
    with ScriptedEndpoint(certificate=Certificate.made(tmp_path, address="127.0.0.2", host="localhost")) as scripted:
        yield scripted


def test_a_certificate_is_verified_for_the_name_in_the_url(
    webhooks: WebhookHarness, secure: ScriptedEndpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    webhooks.add(f"https://localhost:{secure.port}/")
    webhooks.tell("dead")
    webhooks.drain()
    assert secure.calls == []
    ((error,),) = webhooks.calls("last_error")
    assert "certificate" in error

    assert secure.certificate is not None
    monkeypatch.setenv("SSL_CERT_FILE", str(secure.certificate.file))
    with webhook_stage(webhooks.database) as trusting:
        trusting.make_due()
        trusting.drain()
    assert len(secure.calls) == 1
    assert secure.calls[0].headers["host"] == f"localhost:{secure.port}"
