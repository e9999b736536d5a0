"""Who is told of drafts, edits, bots, teams, forks and deleted accounts, and who is not."""

from collections.abc import Sequence
from email import message_from_bytes
from pathlib import Path

import pytest

from notify.embedded.forge.server import EmbeddedForge
from notify.store.database import Database
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay

OUR_APP = "notify[bot]"
BOT = "release-bot"
GHOST = "ghost"
"""The login under which forges show accounts that were deleted."""
FORK = "eve/app"

COMMENTED = ("alice", "cl.comment.created", "author")
CREATED = ("bob", "cl.created", "reviewer")
REQUESTED = ("bob", "cl.review.requested", "requested")


def work(sources: ForgeHarness, *, webhooks: bool) -> Sequence[tuple[str, str, str]]:
    """The emails once notify has taken the webhooks, or once a sweep has found what they would have said."""
    if webhooks:
        sources.take_webhooks()
    sources.sweep()
    return sources.deliver()


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_draft_tells_nobody_until_it_is_ready_and_then_once(
    sources: ForgeHarness, forge: EmbeddedForge, *, webhooks: bool
) -> None:
    forge.hooks.trouble.drop = not webhooks
    forge.state.open_pull(REPOSITORY, by="alice", title="Draft", head="a", draft=True)
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["bob"])
    forge.state.push(REPOSITORY, "a", by="alice")
    forge.state.open_pull(REPOSITORY, by="alice", title="Closed as a draft", head="b", draft=True)
    forge.state.request_review(REPOSITORY, 2, by="alice", logins=["bob"])
    forge.state.close(REPOSITORY, 2, by="alice")
    assert work(sources, webhooks=webhooks) == []
    forge.state.make_ready(REPOSITORY, 1, by="alice")
    told = work(sources, webhooks=webhooks)
    assert told.count(CREATED) == 1
    assert {username for username, _, _ in told} == {"bob"}
    assert work(sources, webhooks=webhooks) == told
    assert sources.rows("SELECT DISTINCT topic FROM notify.events") == [("acme/app#1",)]


def test_an_edit_an_empty_review_and_our_own_words_tell_nobody(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="a")
    said = forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    assert work(sources, webhooks=True) == [COMMENTED]
    events = "SELECT type, actor FROM notify.events ORDER BY id"
    before = sources.rows(events)
    forge.state.edit_comment(REPOSITORY, 1, said.id, by="bob", body="Why not?")
    forge.state.review(REPOSITORY, 1, by="bob", state="COMMENTED")
    forge.state.comment(REPOSITORY, 1, by=OUR_APP, body="Shown.")
    forge.state.review(REPOSITORY, 1, by=OUR_APP, state="COMMENTED", body="Shown.")
    assert work(sources, webhooks=True) == [COMMENTED]
    assert sources.rows(events) == before


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_team_whose_members_are_not_shown_is_counted_and_the_others_are_told(
    sources: ForgeHarness, forge: EmbeddedForge, *, webhooks: bool
) -> None:
    forge.hooks.trouble.drop = not webhooks
    forge.state.teams["acme/known"] = ["carol", "alice"]
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="a")
    forge.state.request_review(REPOSITORY, 1, by="alice", logins=["bob"], teams=["known", "secret"])
    told = work(sources, webhooks=webhooks)
    assert {username for username, type_, _ in told if type_ == "cl.review.requested"} == {"bob", "carol"}
    assert {username for username, _, _ in told} == {"bob", "carol"}
    (missed,) = sources.rows("SELECT login, missed > 0 FROM notify.unmapped_logins")
    assert tuple(missed) == ("team:secret", True)


@pytest.mark.parametrize("webhooks", [True, False])
def test_what_deleted_accounts_did_is_told_to_the_others(
    sources: ForgeHarness, forge: EmbeddedForge, *, webhooks: bool
) -> None:
    forge.hooks.trouble.drop = not webhooks
    sources.worker.execute("INSERT INTO notify.people (username, email) VALUES ('ghost', 'ghost@example.com')")
    forge.state.open_pull(REPOSITORY, by=GHOST, title="By nobody", head="a")
    forge.state.request_review(REPOSITORY, 1, by="carol", logins=["bob"])
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.comment(REPOSITORY, 2, by=GHOST, body="Why?")
    forge.state.review(REPOSITORY, 2, by=GHOST, state="APPROVED", body="Good.")
    told = work(sources, webhooks=webhooks)
    assert told == sorted([COMMENTED, ("alice", "cl.review.submitted", "author"), CREATED, REQUESTED])
    authors = sources.rows("SELECT link, author FROM notify.change_lists ORDER BY link")
    assert [tuple(one) for one in authors] == [("acme/app#1", None), ("acme/app#2", "alice")]
    assert sources.rows("SELECT login FROM notify.unmapped_logins") == []


def test_a_bot_that_the_configuration_names_is_told_of_as_a_bot(
    database: Database, relay: ScriptedRelay, tmp_path: Path
) -> None:
    """What bots say comes in a digest."""
    with forge_harness(database, relay.url, tmp_path, configuration=f'bots = ["{BOT}"]\n') as sources:
        state = sources.forge.state
        state.open_pull(REPOSITORY, by="alice", title="Change", head="a")
        for login in (BOT.title(), "bob"):
            state.comment(REPOSITORY, 1, by=login, body="Released.")
        sources.take_webhooks()
        assert sources.deliver() == [COMMENTED]
        said = """
            SELECT event.actor, job.status, job.deferred_by FROM notify.email_jobs AS job
            JOIN notify.notifications AS note ON note.email_job_id = job.id
            JOIN notify.events AS event ON event.id = note.event_id ORDER BY event.actor"""
        assert [tuple(one) for one in sources.rows(said)] == [
            (f"{BOT.title()} (github)", "pending", "daily"),
            ("bob", "sent", None),
        ]


@pytest.mark.parametrize("webhooks", [True, False])
def test_a_change_from_a_fork_is_one_of_the_repository_that_it_is_for(
    sources: ForgeHarness, forge: EmbeddedForge, *, webhooks: bool
) -> None:
    forge.hooks.trouble.drop = not webhooks
    forge.state.open_pull(REPOSITORY, by="alice", title="From outside", head="main", fork=FORK)
    forge.state.push(REPOSITORY, "main", by="carol")
    forge.state.request_review(REPOSITORY, 1, by="carol", logins=["bob"])
    forge.state.comment(REPOSITORY, 1, by="dana", body="Thanks!")
    told = work(sources, webhooks=webhooks)
    assert told == sorted([COMMENTED, ("bob", "cl.comment.created", "reviewer"), CREATED, REQUESTED])
    assert sources.rows("SELECT link FROM notify.change_lists") == [("acme/app#1",)]
    assert sources.rows("SELECT full_name FROM notify.forge_repositories") == [(REPOSITORY,)]
    (head,) = sources.rows("SELECT head_ref, head_sha FROM notify.forge_changes")
    assert tuple(head) == ("main", forge.state.repository(REPOSITORY).pulls[1].head_sha)
    assert sources.rows("SELECT name FROM notify.forge_branches") == [("main",)]


@pytest.mark.parametrize("webhooks", [True, False])
def test_after_a_repository_was_renamed_its_changes_keep_their_links_and_threads(
    sources: ForgeHarness, forge: EmbeddedForge, relay: ScriptedRelay, *, webhooks: bool
) -> None:
    """A webhook from before it still says the old name; the forge leads from there to the new one."""
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="a")
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why?")
    work(sources, webhooks=True)
    forge.hooks.trouble.drop = not webhooks
    forge.state.comment(REPOSITORY, 1, by="bob", body="Why really?")
    assert forge.hooks.wait()
    forge.hooks.trouble.drop = True
    forge.state.rename(REPOSITORY, "acme/application")
    if webhooks:
        sources.inbox.drain()
    else:
        sources.worker.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile'")
        sources.reconciler.drain()
    assert sources.rows("SELECT full_name FROM notify.forge_repositories") == [("acme/application",)]
    assert sources.deliver() == [COMMENTED, COMMENTED]
    assert sources.rows("SELECT link FROM notify.change_lists") == [("acme/app#1",)]
    first, second = (message_from_bytes(one.content) for one in relay.emails)
    for name in ("References", "Subject"):
        assert first[name] == second[name]
