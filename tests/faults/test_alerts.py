"""Metrics name the trouble: of the alerts that name causes, the right one fires and no other."""

from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from uuid import uuid4

import httpx
import pytest
from sqlalchemy import text

from notify import wiring
from notify.api.app import build_app, context_of
from notify.domain.measures import Role
from notify.domain.stages import DELIVER
from notify.domain.waves import MIN_DEATHS
from notify.settings import Settings
from notify.store.database import Database
from notify.tally import Tally
from tests.support.alerts import Scrape, firing
from tests.support.harness import WorkerHarness, usernames
from tests.support.in_process import InProcess
from tests.support.smtp import Certificate, ScriptedRelay, nobody_listening

API = "http://notify.test"
OUTLIVED_TWO = """
    UPDATE notify.work_items
    SET lane = 8, leased_by = gen_random_uuid(), attempt = 3, lapses = 2, due_at = now() - interval '1 second'
    WHERE stage = 'deliver'
"""


@dataclass
class Watched:
    """A worker that Prometheus has scraped since before the trouble."""

    harness: WorkerHarness
    tally: Tally
    before: Scrape

    def causes(self) -> set[str]:
        """The alerts naming causes that would fire in an hour if nothing changed."""
        return firing(self.before, self._after(), kind="cause")

    def symptoms(self) -> set[str]:
        return firing(self.before, self._after(), kind="symptom")

    def _after(self) -> Scrape:
        self.tally.flush()
        return scrape(self.harness.settings).an_hour_later()


def scrape(settings: Settings) -> Scrape:
    context = context_of(settings)
    with closing(context.database), httpx.Client(transport=InProcess(build_app(context)), base_url=API) as api:
        return Scrape.read(api.get("/metrics").text)


@contextmanager
def watched(database: Database, relay_url: str, **changes: object) -> Iterator[Watched]:
    tally = Tally(database, process=uuid4(), role=Role.WORKER)
    tally.flush()
    harness = WorkerHarness(database, relay_url, changes, count=tally.count)
    yield Watched(harness, tally, scrape(harness.settings))


def test_no_alert_fires_while_emails_flow(database: Database, relay: ScriptedRelay) -> None:
    with watched(database, relay.url) as seen:
        seen.harness.pending_emails("ann", "bob")
        seen.harness.drain()

        assert (seen.causes(), seen.symptoms()) == (set(), set())


def test_a_failing_relay_is_named_although_another_takes_its_emails(database: Database, relay: ScriptedRelay) -> None:
    with (
        nobody_listening() as port,
        watched(database, f"smtp://127.0.0.1:{port}", smtp_fallback_urls=relay.url) as seen,
    ):
        for number in range(5):
            seen.harness.pending_emails("ann", key=f"k{number}", link=f"CL-{number}")
            seen.harness.drain()

        assert len(relay.emails) == 5
        assert (seen.causes(), seen.symptoms()) == ({"NotifyRelayDown"}, set())


def test_a_failing_relay_is_named(database: Database) -> None:
    with nobody_listening() as port, watched(database, f"smtp://127.0.0.1:{port}") as seen:
        seen.harness.pending_emails("ann")
        for _ in range(5):
            seen.harness.drain()

        assert seen.causes() == {"NotifyRelayDown"}
        assert seen.symptoms() == {"NotifyEmailsWait"}


def test_a_wrong_password_is_named(
    database: Database, relay: ScriptedRelay, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    relay.certificate = Certificate.made(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(relay.certificate.file))
    relay.credentials = ("notify", "right")
    url = relay.url.replace("//", "//notify:wrong@") + "?starttls=required"
    with watched(database, url) as seen:
        seen.harness.pending_emails("ann")
        seen.harness.drain()

        assert seen.causes() == {"NotifyRelayMisconfigured"}


def test_a_poison_email_is_named(database: Database, relay: ScriptedRelay) -> None:
    with watched(database, relay.url) as seen:
        seen.harness.pending_emails("ann")
        seen.harness.execute(OUTLIVED_TWO)
        seen.harness.drain()

        assert seen.causes() == {"NotifyPoison"}
        assert relay.emails == []


def test_emails_that_all_die_for_one_reason_are_named_long_before_a_hundred_have(
    database: Database, relay: ScriptedRelay
) -> None:
    relay.answers["DOT"] = "554 5.6.0 no"
    with watched(database, relay.url) as seen:
        seen.harness.pending_emails(*usernames(MIN_DEATHS))
        seen.harness.drain()

        assert (seen.causes(), seen.symptoms()) == (set(), {"NotifyWaveOfDeaths"})


def test_a_broker_outage_is_named(database: Database, relay: ScriptedRelay) -> None:
    with nobody_listening() as port, watched(database, relay.url, broker_url=f"redis://127.0.0.1:{port}/0") as seen:
        doorbell = wiring.doorbell(seen.harness.settings, count=seen.tally.count)
        doorbell.ring(DELIVER)
        doorbell.flush(at_most_seconds=60)

        assert seen.causes() == {"NotifyBrokerGone"}


def test_a_stuck_snapshot_is_named(database: Database, relay: ScriptedRelay) -> None:
    with watched(database, relay.url) as seen:
        with database.engine.connect().execution_options(isolation_level="REPEATABLE READ") as stuck:
            stuck.execute(text("SELECT count(*) FROM notify.events"))
            assert seen.causes() == {"NotifySnapshotHeld"}

        assert seen.causes() == set()
