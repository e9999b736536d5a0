"""Listing people, and trying an address again that a relay refused for good."""

from collections.abc import Iterator
from datetime import UTC, datetime, time, timedelta

import pytest

from notify.domain.errors import NotifyError
from notify.domain.preferences import Person
from notify.store.database import Database
from notify.store.directory import directory, preferences
from tests.cli.conftest import Notify
from tests.support.harness import WorkerHarness
from tests.support.smtp import ScriptedRelay

REFUSAL = "550 5.1.1 no such user [here]"


@pytest.fixture
def relay() -> Iterator[ScriptedRelay]:
    """A relay that rejects ann's address."""
    with ScriptedRelay(reply_by_recipient={"ann@example.com": REFUSAL}) as scripted:
        yield scripted


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker that has sent to ann once, in vain."""
    made = WorkerHarness(database, relay.url)
    made.pending_emails("ann", key="first")
    made.drain()
    return made


def outcomes_of(harness: WorkerHarness, key: str) -> list[tuple[str, str | None]]:
    """What became of ann's email about an event."""
    return [(job.status, job.outcome_reason) for job in harness.jobs(key) if job.username == "ann"]


def test_a_permanently_refused_address_is_shown_and_gets_nothing_until_it_is_cleared(
    notify: Notify, harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    shown = notify("people", "show", "ann", "--json").json
    assert shown["emails_go_to"] is None
    assert shown["undeliverable"]["email"] == "ann@example.com"
    assert "no such user [here]" in shown["undeliverable"]["reply"]
    assert "[here]" in notify("people", "show", "ann").output
    harness.pending_emails("ann", key="second")
    assert outcomes_of(harness, "second") == [("skipped", "no_address")]

    assert notify("people", "clear", "ann").code == 0
    relay.reply_by_recipient.clear()
    harness.pending_emails("ann", key="third")
    harness.drain()

    assert outcomes_of(harness, "third") == [("sent", None)]
    shown = notify("people", "show", "ann", "--json").json
    assert (shown["emails_go_to"], shown["undeliverable"]) == ("ann@example.com", None)


@pytest.mark.usefixtures("harness")
@pytest.mark.parametrize(("action", "name"), [("show", "nobody"), ("clear", "nobody")])
def test_an_unknown_person_is_an_error(notify: Notify, action: str, name: str) -> None:
    assert isinstance(notify("people", action, name).error, NotifyError)


@pytest.mark.usefixtures("harness")
def test_an_address_that_was_not_refused_cannot_be_cleared(notify: Notify) -> None:
    assert notify("people", "clear", "ann").code == 0
    assert isinstance(notify("people", "clear", "ann").error, NotifyError)


def test_a_person_is_shown_with_digest_quiet_hours_pause_and_mutes(notify: Notify, database: Database) -> None:
    chosen = preferences.StoredSettings(
        delivery_mode="weekly",
        digest_hour=7,
        digest_weekday=5,
        quiet_days=[1, 2],
        quiet_start=time(22),
        quiet_end=time(6, 30),
        paused_until=datetime.now(UTC) + timedelta(days=3, minutes=1),
    )
    with database.begin() as connection:
        directory.put_person(connection, Person(username="ann", email="ann@example.com"))
        preferences.put_config(connection, "ann", settings=chosen, preferences={"cl.merged": False})
        preferences.mute(connection, "ann", "CL-7")

    shown, said = notify("people", "show", "ann").output, notify("people", "show", "ann", "--json").json

    words = ("weekly digest on Friday at 07:00", "22:00 to 06:30 on Mon, Tue", "in 3 d", "CL-7", "cl.merged")
    assert [one for one in words if one not in shown] == []
    assert (said["preferences"]["muted_cls"], said["preferences"]["schedule"]["mode"]) == (["CL-7"], "weekly")
    assert said["preferences"]["schedule"]["quiet_hours"]["days"] == [1, 2]
