"""The EHLO name, whichever command or worker opens the session."""

from collections.abc import Callable

import pytest

from notify.store.database import Database
from tests.cli.conftest import Notify
from tests.support.harness import WorkerHarness
from tests.support.smtp import EHLO, ScriptedRelay

FROM, PUBLIC = "notify@mail.example.com", "https://review.example.com:8443/notify"
NAMES = pytest.mark.parametrize(
    ("stated", "public_url", "mail_from", "said"),
    [
        ("out.example.net", PUBLIC, FROM, "out.example.net"),
        ("größe.example", PUBLIC, FROM, "xn--gre-6ka8i.example"),
        ("[192.0.2.5]", PUBLIC, FROM, "[192.0.2.5]"),
        ("catcher", PUBLIC, FROM, "catcher"),
        (None, PUBLIC, FROM, "review.example.com"),
        (None, "https://bücher.example", FROM, "xn--bcher-kva.example"),
        (None, "https://review.example.com.", FROM, "review.example.com"),
        (None, "http://localhost:8000", FROM, "mail.example.com"),
        (None, "http://review.localhost", FROM, "mail.example.com"),
        (None, "http://review", FROM, "mail.example.com"),
        (None, "http://10.0.0.5", FROM, "mail.example.com"),
        (None, "http://[2001:db8::1]:8000", "notify@bücher.example", "xn--bcher-kva.example"),
        (None, "http://127.0.0.1:8000", "notify@localhost", "[127.0.0.1]"),
    ],
)


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Set these settings of a deployment."""

    def put(**values: str | None) -> None:
        for name, value in values.items():
            if value is not None:
                monkeypatch.setenv(f"NOTIFY_{name.upper()}", value)

    return put


def names(relay: ScriptedRelay) -> set[str]:
    """Every name that a session has given to the relay."""
    return {one.line.partition(" ")[2] for one in relay.journal.said if one.step == EHLO}


@NAMES
def test_a_session_uses_a_name_that_everybody_can_resolve(
    well: Notify,
    relay: ScriptedRelay,
    settings: Callable[..., None],
    stated: str | None,
    public_url: str,
    mail_from: str,
    said: str,
) -> None:
    settings(ehlo_name=stated, public_url=public_url, mail_from=mail_from)
    assert well("send-test", "ann@example.com").code == 0
    assert names(relay) == {said}


def test_doctor_worker_and_sample_email_use_the_same_name(
    well: Notify, relay: ScriptedRelay, database: Database, settings: Callable[..., None]
) -> None:
    settings(ehlo_name="out.example.net")
    well("doctor")
    well("send-test", "ann@example.com")
    assert relay.count(EHLO) == 2

    harness = WorkerHarness(database, relay.url, changes={"ehlo_name": "out.example.net"})
    harness.pending_emails("bob")
    assert harness.drain()["sent"] == 1
    assert relay.count(EHLO) == 3
    assert names(relay) == {"out.example.net"}


@pytest.mark.parametrize("nonsense", ["no name", "a..b", "☃.example", "here\r\nMAIL"])
def test_a_name_that_no_relay_accepts_stops_the_start(
    well: Notify, settings: Callable[..., None], nonsense: str
) -> None:
    settings(ehlo_name=nonsense)
    refused = well("send-test", "ann@example.com")
    assert refused.code == 1
    assert "NOTIFY_EHLO_NAME" in f"{refused.error}"
