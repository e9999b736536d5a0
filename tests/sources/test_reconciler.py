"""Sweeps: what they cost when nothing has changed, and what faults may not do."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from threading import Thread
from typing import Any
from uuid import uuid4

from notify import wiring
from notify.domain.forge import Repository
from notify.embedded.forge.rest import Answer
from notify.embedded.forge.server import EmbeddedForge
from notify.store.database import Database
from notify.store.forges import deliveries, mirror, repositories
from notify.store.forges.deliveries import NewDelivery
from tests.support.doorbell import RecordingDoorbell
from tests.support.forge import REPOSITORY, ForgeHarness

BRANCHES = "SELECT name, state FROM notify.forge_branches ORDER BY name"
FAULTS = "SELECT full_name, fault FROM notify.forge_repositories ORDER BY full_name"


def test_an_unchanged_repository_costs_one_conditional_request(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    for _ in range(3):
        sources.sweep()
    forge.rest.calls.clear()
    assert sources.sweep()["unchanged"] == 1
    listings = ("/installations", "/installation/repositories", "/access_tokens")
    asked = [(path, int(status)) for _, path, status in forge.rest.calls if not path.endswith(listings)]
    assert asked == [(f"/api/v3/repos/{REPOSITORY}/pulls", 304)]


def test_a_branch_that_is_gone_is_marked_and_one_that_comes_back_is_open(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    forge.state.push(REPOSITORY, "topic", by="alice")
    sources.take_webhooks()
    sources.sweep()
    assert sources.rows(BRANCHES) == [("main", "open"), ("topic", "open")]
    forge.state.delete_branch(REPOSITORY, "topic", by="alice")
    sources.sweep()
    assert sources.rows(BRANCHES) == [("main", "open"), ("topic", "deleted")]
    forge.state.push(REPOSITORY, "topic", by="alice")
    sources.sweep()
    assert sources.rows(BRANCHES) == [("main", "open"), ("topic", "open")]


def test_a_listing_that_fails_half_way_marks_nothing_deleted(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    for number in range(150):
        forge.state.push(REPOSITORY, f"topic-{number:03}", by="alice")
    sources.sweep()
    before = sources.rows(BRANCHES)
    assert len(before) == 151
    forge.state.push(REPOSITORY, "another", by="alice")
    forge.rest.only("/branches", skip=1, answer=Answer(502))
    sources.sweep()
    assert [one for one in sources.rows(BRANCHES) if one[1] != "open"] == []
    assert sources.rows(FAULTS) == [(REPOSITORY, "Unavailable")]
    sources.worker.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
    sources.sweep()
    assert sources.rows(FAULTS) == [(REPOSITORY, None)]


def test_a_branch_that_moves_to_the_next_page_while_they_are_read_is_stored_once(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    for number in range(150):
        forge.state.push(REPOSITORY, f"topic-{number:03}", by="alice")
    forge.rest.only("/branches", skip=1, answer=Answer(0, seconds=0.5))
    sweeping = Thread(target=sources.sweep)
    sweeping.start()
    assert forge.rest.asked.wait(10)
    forge.state.push(REPOSITORY, "a-new-one", by="alice")
    sweeping.join(10)
    assert sources.rows(FAULTS) == [(REPOSITORY, None)]
    assert len(sources.rows(BRANCHES)) == 151


def test_a_repository_that_is_listed_twice_is_stored_once(database: Database) -> None:
    page = [Repository(id=1, full_name=name, url="", default_branch="main") for name in ("acme/old", "acme/new")]
    with database.begin() as connection:
        repositories.put(connection, "github", page)
    with database.begin() as connection:
        assert [one.full_name for one in repositories.views(connection)] == ["acme/new"]


def test_one_broken_repository_stops_no_other(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.add_repository("acme/broken")
    forge.state.add_repository("acme/whole")
    sources.sweep()
    for name in ("acme/broken", "acme/whole"):
        forge.state.open_pull(name, by="alice", title="Change", head="b")
    forge.rest.only("/acme/broken/", answer=Answer(500), times=100)
    sources.sweep()
    faults = dict(sources.rows(FAULTS))
    assert faults["acme/broken"] is not None
    assert faults["acme/whole"] is None
    assert sources.rows("SELECT link FROM notify.forge_changes") == [("acme/whole#1",)]


def test_a_forge_that_limits_the_rate_is_left_alone_as_long_as_it_says(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    forge.rest.only(f"/{REPOSITORY}/pulls", answer=Answer(403, {"Retry-After": "120"}))
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.sweep()
    (pause,) = sources.rows("SELECT extract(epoch FROM paused_until - now())::int FROM notify.forge_installations")
    assert 100 < pause[0] <= 120
    asked = len(forge.rest.calls)
    sources.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'")
    sources.reconciler.drain()
    assert len(forge.rest.calls) == asked
    assert sources.rows("SELECT state FROM notify.endpoints WHERE state = 'open'") == []


def test_an_older_answer_does_not_undo_a_newer_one(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Old title", head="b")
    old = [one for one in forge.hooks.deliveries if one.event == "pull_request"]
    forge.state.edit_pull(REPOSITORY, 1, by="alice", title="New title")
    sources.take_webhooks()
    forge.hooks.again(old[0])
    sources.worker.execute("DELETE FROM notify.webhook_deliveries")
    forge.rest.instead += [Answer(502)] * 10
    sources.take_webhooks()
    assert sources.rows("SELECT title FROM notify.forge_changes") == [("New title",)]
    assert sources.rows("SELECT title FROM notify.change_lists") == [("New title",)]


def test_a_sweep_that_is_to_stop_gives_its_repository_back(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    for number in range(3):
        forge.state.open_pull(REPOSITORY, by="alice", title=f"Change {number}", head=f"b{number}")
    sources.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'")
    forge.rest.only("/pulls/3", answer=Answer(0, seconds=0.5))
    sweeping = Thread(target=sources.reconciler.drain)
    sweeping.start()
    forge.rest.asked.wait(10)
    sources.reconciler.stop()
    sweeping.join(10)
    assert not sweeping.is_alive()
    (item,) = sources.rows("SELECT lane, failures FROM notify.work_items WHERE stage = 'reconcile'")
    assert item == (2, 0)
    assert len(sources.rows("SELECT number FROM notify.forge_changes")) < 3


def test_what_the_app_opened_is_the_change_of_whom_it_was_opened_for(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    app = "notify[bot]"
    trailer = "Words.\n\nOn-behalf-of: @alice"
    forge.state.open_pull(REPOSITORY, by=app, title="By the app", head="a", body=trailer)
    forge.state.open_pull(REPOSITORY, by="bob", title="By a person", head="b", body=trailer)
    forge.state.open_pull(REPOSITORY, by=app, title="By the app", head="c", body="On-behalf-of: @alice\n\nWords.")
    forge.state.open_pull(
        REPOSITORY, by=app, title="By the app", head="d", body="Words.\n\nOn-behalf-of: Carol <carol@example.com>"
    )
    sources.take_webhooks()
    authors = "SELECT link, author FROM notify.change_lists ORDER BY link"
    assert sources.rows(authors) == [
        ("acme/app#1", "alice"),
        ("acme/app#2", "bob"),
        ("acme/app#3", None),
        ("acme/app#4", "carol"),
    ]


def test_a_request_that_a_sweep_finds_has_the_key_that_its_webhook_gives(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    keys = "SELECT key FROM notify.events WHERE type = 'cl.review.requested'"
    forge.hooks.trouble.drop = True
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["Bob"])
    sources.sweep()
    found = sources.rows(keys)
    assert len(found) == 1
    sources.worker.execute("DELETE FROM notify.events")
    sources.worker.execute("UPDATE notify.forge_reviewers SET told_at = NULL")
    (lost,) = [one for one in forge.hooks.deliveries if one.action == "review_requested"]
    forge.hooks.trouble.drop = False
    forge.hooks.again(lost)
    sources.take_webhooks()
    assert sources.rows(keys) == found


@contextmanager
def second_forge(sources: ForgeHarness, database_url: str, *, its: str = "") -> Iterator[ForgeHarness]:
    """Workers that started again with a second forge, which has the same repositories."""
    file = sources.forge.configuration
    first = file.read_text()
    file.write_text(f"{first}\n{first.replace('[forges.github]', '[forges.second]')}\n{its}\n")
    again = Database(database_url)
    stages: dict[str, Any] = {"doorbell": RecordingDoorbell(), "worker": uuid4()}
    yield replace(
        sources,
        reconciler=wiring.reconciler(sources.settings, again, **stages),
        inbox=wiring.inbox(sources.settings, again, **stages),
    )
    wiring.forges(sources.settings, again).close()
    again.close()


class UnlistableReader:
    """A reader with a bug."""

    def repositories(self) -> list[Repository]:
        raise LookupError

    def close(self) -> None:
        """Nothing is open."""


def test_a_bug_in_a_listing_is_stored_and_stops_nothing_else(sources: ForgeHarness, database: Database) -> None:
    forges: Any = wiring.forges(sources.settings, database).by_name
    forges["github"].reader.close()
    forges["github"] = replace(forges["github"], reader=UnlistableReader())
    assert sources.sweep()["claimed"] == 1, "repositories that are known are still read"
    assert sources.rows("SELECT name, fault FROM notify.forges") == [("github", "internal_error: LookupError")]


def test_a_repository_whose_name_another_forge_has_too_is_not_read_and_says_so(
    sources: ForgeHarness, forge: EmbeddedForge, database_url: str
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    sources.take_webhooks()
    with second_forge(sources, database_url) as both:
        forge.hooks.trouble.drop = True
        forge.state.edit_pull(REPOSITORY, 1, by="alice", title="Renamed")
        opened = next(one for one in forge.hooks.deliveries if one.event == "pull_request")
        given = NewDelivery(
            forge="second", delivery_id="d", event=opened.event, content_type="application/json", body=opened.body
        )
        with both.worker.database.begin() as connection:
            deliveries.store(connection, [given])
        both.inbox.drain()
        assert both.rows("SELECT title FROM notify.change_lists") == [("Change",)]
        both.sweep()
    mirrored = """
        SELECT known.forge, change.title FROM notify.forge_changes AS change
        JOIN notify.forge_repositories AS known ON known.id = change.repository_id"""
    assert sources.rows(mirrored) == [("github", "Renamed")]
    (dead,) = sources.rows("SELECT outcome_reason FROM notify.webhook_deliveries WHERE status = 'dead'")
    faults = dict(sources.rows("SELECT forge, fault FROM notify.forge_repositories"))
    assert faults == {"github": None, "second": dead[0]}
    assert "prefix" in dead[0]


def test_with_a_prefix_two_forges_may_have_repositories_of_one_name(
    sources: ForgeHarness, forge: EmbeddedForge, database_url: str
) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    with second_forge(sources, database_url, its='prefix = "second:"') as both:
        both.sweep()
    assert sources.rows("SELECT link FROM notify.change_lists ORDER BY link") == [
        ("acme/app#1",),
        ("second:acme/app#1",),
    ]


def rebuild(sources: ForgeHarness) -> None:
    with sources.worker.database.begin() as connection:
        repositories.forget(connection, "github")


def test_a_rebuilt_mirror_knows_for_whom_the_app_acted_and_tells_nothing_again(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    forge.state.open_pull(REPOSITORY, by="notify[bot]", title="By the app", head="a")
    with sources.worker.database.begin() as connection:
        mirror.note_action(connection, "github", REPOSITORY, 1, action="opened", on_behalf_of="alice")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["bob"])
    forge.state.comment(REPOSITORY, 1, by="carol", body="Why?")
    sources.take_webhooks()
    authors = "SELECT author, author_from FROM notify.forge_changes"
    assert sources.rows(authors) == [("alice", "action")]
    told = sources.rows("SELECT key FROM notify.events ORDER BY key")
    rebuild(sources)
    assert sources.rows(authors) == []
    sources.reconciler.drain()
    assert sources.rows(authors) == [("alice", "action")]
    sources.sweep()
    assert sources.rows("SELECT key FROM notify.events ORDER BY key") == told


def test_after_a_rebuild_nobody_is_asked_again_for_a_review_of_an_old_change(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    requests = "SELECT count(*) FROM notify.events WHERE type = 'cl.review.requested'"
    sources.clock.set(late=timedelta(days=40))
    forge.state.open_pull(REPOSITORY, by="alice", title="Old", head="a")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["bob"])
    forge.state.close(REPOSITORY, 1, by="alice")
    sources.take_webhooks()
    assert sources.rows(requests) == [(1,)]
    rebuild(sources)
    sources.reconciler.drain()
    sources.clock.set()
    forge.hooks.trouble.drop = True
    forge.state.reopen(REPOSITORY, 1, by="alice")
    sources.sweep()
    assert sources.rows("SELECT state FROM notify.forge_changes") == [("open",)]
    assert sources.rows(requests) == [(1,)]


def test_a_sweep_that_runs_while_the_mirror_is_rebuilt_ends_there(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    sources.clock.set(late=timedelta(hours=1))
    for number in range(2):
        forge.state.open_pull(REPOSITORY, by="alice", title=f"Change {number}", head=f"b{number}")
    sources.take_webhooks()
    sources.clock.set()
    told = sources.rows("SELECT key FROM notify.events ORDER BY key")
    forge.state.edit_pull(REPOSITORY, 1, by="alice", title="Renamed")
    forge.rest.only("/pulls/1", answer=Answer(0, seconds=0.5))
    sweeping = Thread(target=sources.sweep)
    sweeping.start()
    forge.rest.asked.wait(10)
    rebuild(sources)
    sweeping.join(10)
    assert not sweeping.is_alive()
    sources.sweep()
    assert sources.rows("SELECT number, title FROM notify.forge_changes ORDER BY number") == [
        (1, "Renamed"),
        (2, "Change 1"),
    ]
    assert sources.rows("SELECT key FROM notify.events ORDER BY key") == told
