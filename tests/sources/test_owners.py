"""Entries say who owns what, and identities whose login is whose."""

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest

from notify import wiring
from notify.store.database import Database
from notify.store.forges import repositories
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay

META = "acme/meta"
ENTRIES = f'\n[forges.github.entries]\nrepository = "{META}"\nfolder = "rfcs"\n'
ENTRY = """---
slug: retries
title: Retries
repo: {repo}
owners: [dana]
arbiters: ["@Carol"]
---
Words.
"""
ENTRIES_KNOWN = "SELECT slug, repo, gone FROM notify.forge_entries ORDER BY slug"
OWNERS = "SELECT topic, username FROM notify.cl_owners ORDER BY topic, username"
OWNED = ("carol", "cl.comment.created", "owner")


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    """A forge with a repository of entries, one of which owns the other repository."""
    with forge_harness(database, relay.url, tmp_path, configuration=ENTRIES) as made:
        made.forge.state.add_repository(META)
        made.forge.state.put_file(META, "rfcs/retries.md", ENTRY.format(repo=REPOSITORY), by="admin")
        made.forge.state.put_file(META, "rfcs/broken.md", "---\nslug: [\n---\n", by="admin")
        made.forge.state.put_file(META, "rfcs/nameless.md", "---\ntitle: Nameless\n---\n", by="admin")
        made.take_webhooks()
        made.sweep()
        yield made


def test_owners_and_arbiters_are_told_of_what_happens_in_their_repository(sources: ForgeHarness) -> None:
    sources.forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    assert set(sources.deliver()) >= {OWNED, ("dana", "cl.comment.created", "owner")}


def test_a_reviewer_who_owns_it_too_is_told_as_reviewer(sources: ForgeHarness) -> None:
    state = sources.forge.state
    state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    state.request_review(REPOSITORY, 1, by="alice", logins=["carol"])
    state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    assert ("carol", "cl.comment.created", "reviewer") in sources.deliver()


def test_a_branch_of_the_entries_repository_names_the_entry(sources: ForgeHarness) -> None:
    state = sources.forge.state
    for head in ("edit/retries/words", "edit/other/words", "words"):
        state.open_pull(META, by="alice", title="Change", head=head)
    for number in (1, 2, 3):
        state.comment(META, number, by="bob", body="Why?")
    sources.take_webhooks()
    sources.deliver()
    assert sources.rows(OWNERS) == [("acme/meta#1", "carol"), ("acme/meta#1", "dana")]


def test_an_entry_that_is_gone_keeps_its_row_and_tells_nobody(sources: ForgeHarness) -> None:
    state = sources.forge.state
    state.put_file(META, "rfcs/retries.md", None, by="admin")
    sources.sweep()
    assert sources.rows("SELECT slug, gone FROM notify.forge_entries") == [("retries", True)]
    state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    state.comment(REPOSITORY, 1, by="bob", body="Why?")
    sources.take_webhooks()
    assert OWNED not in sources.deliver()


def test_a_file_with_another_slug_is_another_entry_and_the_first_is_gone(sources: ForgeHarness) -> None:
    state = sources.forge.state
    state.put_file(META, "rfcs/retries.md", ENTRY.format(repo=REPOSITORY).replace("retries", "attempts"), by="admin")
    sources.sweep()
    assert sources.rows(ENTRIES_KNOWN) == [("attempts", REPOSITORY, False), ("retries", REPOSITORY, True)]


def test_a_second_file_with_the_slug_of_an_entry_does_not_replace_it(sources: ForgeHarness) -> None:
    state = sources.forge.state
    for text in ("One.", "Two."):
        state.put_file(META, "rfcs/again.md", ENTRY.format(repo="acme/other") + text, by="admin")
        sources.sweep()
        assert sources.rows(ENTRIES_KNOWN) == [("retries", REPOSITORY, False)]


@pytest.mark.parametrize(("stated", "owned"), [("Active", True), ("idea", False), ("retired", False)])
def test_only_active_entries_own_what_happens_in_their_repository(
    sources: ForgeHarness, stated: str, *, owned: bool
) -> None:
    state = sources.forge.state
    entry = ENTRY.format(repo=REPOSITORY).replace("title:", f"state: {stated}\ntitle:")
    state.put_file(META, "rfcs/retries.md", entry, by="admin")
    sources.sweep()
    state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    state.open_pull(META, by="alice", title="Change", head="edit/retries/words")
    sources.take_webhooks()
    of_entry = [("acme/meta#1", "carol"), ("acme/meta#1", "dana")]
    of_repository = [("acme/app#1", "carol"), ("acme/app#1", "dana")]
    assert sources.rows(OWNERS) == [*(of_repository if owned else []), *of_entry]


def test_entries_are_read_where_the_forge_does_not_say_when_it_was_pushed_to(sources: ForgeHarness) -> None:
    sources.forge.state.put_file(META, "rfcs/another.md", "---\nslug: another\n---\n", by="admin")
    sources.worker.execute("UPDATE notify.forge_repositories SET pushed_at = NULL")
    sources.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'")
    sources.reconciler.drain()
    assert sources.rows(ENTRIES_KNOWN) == [("another", None, False), ("retries", REPOSITORY, False)]


def test_entries_that_are_configured_later_are_read_without_a_push(
    database: Database, database_url: str, relay: ScriptedRelay, tmp_path: Path
) -> None:
    with forge_harness(database, relay.url, tmp_path) as sources:
        sources.forge.state.add_repository(META)
        sources.forge.state.put_file(META, "rfcs/retries.md", ENTRY.format(repo=REPOSITORY), by="admin")
        sources.sweep()
        sources.forge.configuration.write_text(sources.forge.configuration.read_text() + ENTRIES)
        again = Database(database_url)
        sources.reconciler = wiring.reconciler(sources.settings, again, doorbell=RecordingDoorbell(), worker=uuid4())
        sources.sweep()
        wiring.forges(sources.settings, again).close()
        again.close()
        assert sources.rows(ENTRIES_KNOWN) == [("retries", REPOSITORY, False)]


def test_a_rebuilt_mirror_reads_the_entries_again(sources: ForgeHarness) -> None:
    with sources.worker.database.begin() as connection:
        repositories.forget(connection, "github")
    assert sources.rows(ENTRIES_KNOWN) == []
    sources.reconciler.drain()
    assert sources.rows(ENTRIES_KNOWN) == [("retries", REPOSITORY, False)]


def test_where_identities_are_mapped_a_login_is_nobodys_until_somebody_says_so(
    database: Database, relay: ScriptedRelay, tmp_path: Path
) -> None:
    with forge_harness(database, relay.url, tmp_path, configuration='identities = "mapped"\n') as sources:
        sources.worker.execute(
            "INSERT INTO notify.identities (forge, login, username, source) VALUES ('github', 'bob', 'dana', 'csv')"
        )
        state = sources.forge.state
        state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
        state.request_review(REPOSITORY, 1, by="alice", logins=["bob"])
        sources.take_webhooks()
        told = [(username, reason) for username, _, reason in sources.deliver()]
        assert sorted(set(told)) == [("dana", "requested"), ("dana", "reviewer")]
        assert [row[0] for row in sources.rows("SELECT login FROM notify.unmapped_logins")] == ["alice"]
