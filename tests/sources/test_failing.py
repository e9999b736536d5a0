"""A forge that cannot be read for three intervals: operators are told once, and again only after it has recovered."""

from collections.abc import Iterator
from pathlib import Path
from threading import Thread
from uuid import uuid4

import pytest
from sqlalchemy import text

from notify import wiring
from notify.domain.preferences import Person
from notify.embedded.forge.rest import Answer
from notify.embedded.forge.server import EmbeddedForge
from notify.store.database import Database
from notify.store.directory import directory
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.messages import parsed, text_of
from tests.support.smtp import ScriptedRelay

ALWAYS = 10_000
TOLD = [("olga", "source.sync.failing", "operator"), ("omar", "source.sync.failing", "operator")]
AN_HOUR_PASSES = """
    UPDATE notify.forge_repositories SET swept_at = swept_at - interval '1 hour',
        fault_at = fault_at - interval '1 hour';
    UPDATE notify.forges SET listed_at = listed_at - interval '1 hour', fault_at = fault_at - interval '1 hour';
    UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'"""


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    with forge_harness(database, relay.url, tmp_path, changes={"operators": "olga, omar"}) as made:
        with database.begin() as connection:
            for name, locale in (("olga", "en"), ("omar", "de")):
                person = Person(username=name, email=f"{name}@example.com", locale=locale)
                directory.put_person(connection, person)
        yield made


def look(sources: ForgeHarness) -> None:
    """Another process of the worker begins to look at the forges, and what it emits is delivered."""
    wiring.reconciler(sources.settings, sources.worker.database, doorbell=RecordingDoorbell(), worker=uuid4()).is_due()


def an_hour_passes(sources: ForgeHarness) -> None:
    for statement in AN_HOUR_PASSES.split(";"):
        sources.worker.execute(statement)


def fails_for_an_hour(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.rest.only("/", answer=Answer(502), times=ALWAYS)
    sources.sweep()
    an_hour_passes(sources)
    look(sources)


def recovers(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.rest.behave()
    sources.worker.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
    sources.sweep()
    sources.sweep()
    look(sources)


def test_each_operator_is_told_once_an_episode_and_again_only_after_a_recovery(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    fails_for_an_hour(sources, forge)
    assert sources.deliver() == TOLD
    for _ in range(3):
        sources.sweep()
        an_hour_passes(sources)
        look(sources)
    assert sources.deliver() == TOLD
    recovers(sources, forge)
    assert sources.deliver() == TOLD
    fails_for_an_hour(sources, forge)
    assert sources.deliver() == sorted(TOLD * 2)


def test_no_preference_of_an_operator_stops_it(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    with sources.worker.database.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO notify.user_notification_settings (username, enabled, delivery_mode, paused_until)"
                " VALUES ('olga', false, 'daily', now() + interval '1 day')"
            )
        )
        connection.execute(
            text("INSERT INTO notify.topic_preferences (username, topic, muted) VALUES ('omar', 'forge:github', true)")
        )
    fails_for_an_hour(sources, forge)
    assert sources.deliver() == TOLD


def test_a_thousand_repositories_that_fail_make_one_event(sources: ForgeHarness) -> None:
    sources.worker.execute(
        "INSERT INTO notify.forge_repositories (forge, forge_id, full_name, swept_at, fault, fault_at)"
        " SELECT 'github', 100000 + number, 'acme/' || number, now(), 'Refused', now()"
        " FROM generate_series(1, 1000) AS number"
    )
    an_hour_passes(sources)
    look(sources)
    assert sources.deliver() == TOLD
    ((payload,),) = sources.rows("SELECT payload->'source' FROM notify.events")
    assert (payload["repositories"], payload["of"], payload["fault"]) == (1001, 1001, "Refused")


def test_two_processes_that_look_at_once_tell_once(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.rest.only("/", answer=Answer(502), times=ALWAYS)
    sources.sweep()
    an_hour_passes(sources)
    threads = [Thread(target=look, args=(sources,)) for _ in range(4)]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sources.deliver() == TOLD


@pytest.mark.parametrize(
    ("answer", "fault"),
    [
        (Answer(401), "Misconfigured"),
        (Answer(429, {"Retry-After": "86400"}), "RateLimited"),
        (Answer(500), "Unavailable"),
    ],
)
def test_a_forge_that_is_not_even_asked_is_told_of_with_the_reason(
    sources: ForgeHarness, forge: EmbeddedForge, answer: Answer, fault: str
) -> None:
    """Its breaker is open, or it is paused: no sweep runs."""
    forge.rest.only("/", answer=answer, times=ALWAYS)
    for _ in range(3):
        sources.sweep()
    an_hour_passes(sources)
    sources.worker.execute("UPDATE notify.work_items SET due_at = now() + interval '1 day' WHERE stage = 'reconcile'")
    sources.worker.execute("UPDATE notify.forges SET listed_from = now() + interval '1 day'")
    asked = len(forge.rest.calls)
    look(sources)
    assert len(forge.rest.calls) == asked
    ((found,),) = sources.rows("SELECT payload->'source'->>'fault' FROM notify.events")
    assert found == fault


def test_workers_that_were_away_tell_nothing_before_they_have_tried(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    an_hour_passes(sources)
    look(sources)
    forge.rest.only("/", answer=Answer(502), times=ALWAYS)
    sources.sweep()
    look(sources)
    assert sources.deliver() == []
    recovers(sources, forge)
    assert sources.deliver() == []


def test_one_repository_that_fails_is_told_of_and_a_short_fault_is_not(
    sources: ForgeHarness, forge: EmbeddedForge, relay: ScriptedRelay
) -> None:
    forge.state.add_repository("acme/whole")
    sources.sweep()
    forge.rest.only(f"/{REPOSITORY}/", answer=Answer(404), times=ALWAYS)
    sources.sweep()
    look(sources)
    assert sources.deliver() == []
    an_hour_passes(sources)
    sources.sweep()
    look(sources)
    assert sources.deliver() == TOLD
    ((payload,),) = sources.rows("SELECT payload->'source' FROM notify.events")
    assert (payload["repositories"], payload["of"], payload["listing"]) == (1, 2, False)
    assert {text_of(parsed(one.content)).split(":")[0] for one in relay.emails} == {
        "Forge github cannot be read completely",
        "Forge github kann nicht vollständig gelesen werden",
    }


def test_the_email_says_what_is_wrong_in_the_readers_language_and_has_a_thread_of_its_own(
    sources: ForgeHarness, forge: EmbeddedForge, relay: ScriptedRelay
) -> None:
    fails_for_an_hour(sources, forge)
    sources.deliver()
    emails = {str(one["To"]): one for one in (parsed(sent.content) for sent in relay.emails)}
    english, german = (emails[f"{name} <{name}@example.com>"] for name in ("olga", "omar"))
    assert str(english["Subject"]) == "[notify] Forge github cannot be read"
    assert str(german["Subject"]) == "[notify] Forge github kann nicht gelesen werden"
    for email in (english, german):
        assert str(email["X-Notify-Topic"]) == "forge:github"
        assert email["X-Notify-CL"] is None
        assert str(email["From"]) == "Review <notify@example.com>"
        assert str(email["References"]).startswith("<topic.")
        for form in ("plain", "html"):
            assert "notify doctor" in text_of(email, form)
            assert "/unsubscribe/" not in text_of(email, form)
    assert "The forge does not answer, or answers with an error." in text_of(english)
    assert "because you are an operator of notify" in text_of(english)
    assert "Die Forge antwortet nicht oder meldet einen Fehler." in text_of(german)
