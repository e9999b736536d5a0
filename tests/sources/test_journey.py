"""What happens on a forge reaches the right people once: by webhook, thrice, in reverse, late, or not at all."""

from collections.abc import Callable
from datetime import timedelta

import pytest

from notify.embedded.forge.server import EmbeddedForge
from notify.embedded.forge.state import ForgeState
from tests.support.forge import REPOSITORY, ForgeHarness

EVERYBODY_ONCE = [
    ("alice", "cl.merged", "author"),
    ("alice", "cl.review.submitted", "author"),
    ("bob", "cl.created", "reviewer"),
    ("bob", "cl.merged", "reviewer"),
    ("bob", "cl.review.requested", "requested"),
    ("bob", "cl.updated", "reviewer"),
]
INLINE = [{"path": "retry.py", "line": line, "body": f"Line {line}?"} for line in (3, 5, 7)]
STEPS: tuple[Callable[[ForgeState], object], ...] = (
    lambda state: state.open_pull(REPOSITORY, by="alice", title="Cap the upload retry", head="cap", body="Jitter."),
    lambda state: state.request_review(REPOSITORY, 1, by="alice", logins=["bob"]),
    lambda state: state.review(REPOSITORY, 1, by="bob", state="CHANGES_REQUESTED", body="Almost.", comments=INLINE),
    lambda state: state.push(REPOSITORY, "cap", by="alice"),
    lambda state: state.merge(REPOSITORY, 1, by="carol"),
)


def a_change_is_reviewed(forge: EmbeddedForge) -> None:
    for step in STEPS:
        step(forge.state)


def test_each_person_is_told_by_webhooks(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    a_change_is_reviewed(forge)
    report = sources.take_webhooks()
    assert report["dead"] == report["retried"] == 0
    assert sources.deliver() == EVERYBODY_ONCE


def test_webhooks_that_come_three_times_tell_once(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.hooks.trouble.times = 3
    a_change_is_reviewed(forge)
    sources.take_webhooks()
    assert sources.deliver() == EVERYBODY_ONCE


def test_webhooks_in_reverse_order_tell_the_same(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.hooks.trouble.reverse = True
    a_change_is_reviewed(forge)
    forge.hooks.release()
    sources.take_webhooks()
    assert sources.deliver() == EVERYBODY_ONCE


def test_what_no_webhook_brought_the_next_sweep_tells(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    forge.hooks.trouble.drop = True
    for step in STEPS:
        step(forge.state)
        sources.sweep()
    assert sources.deliver() == EVERYBODY_ONCE


def test_one_sweep_after_a_long_silence_tells_what_is_still_worth_it(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    """A request that has been answered, and commits that have been merged, are no news any more."""
    forge.hooks.trouble.drop = True
    a_change_is_reviewed(forge)
    sources.sweep()
    news = ("cl.review.requested", "cl.updated")
    assert sources.deliver() == [one for one in EVERYBODY_ONCE if one[1] not in news]


@pytest.mark.parametrize("sweep_first", [True, False])
def test_webhook_and_sweep_together_tell_once(
    sources: ForgeHarness, forge: EmbeddedForge, *, sweep_first: bool
) -> None:
    for step in STEPS:
        step(forge.state)
        if sweep_first:
            sources.sweep()
        sources.take_webhooks()
        if not sweep_first:
            sources.sweep()
    assert sources.deliver() == EVERYBODY_ONCE


def test_the_review_is_one_email_with_its_comments(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    for step in STEPS[:3]:
        step(forge.state)
    sources.take_webhooks()
    sources.deliver()
    (payload,) = sources.rows("SELECT payload FROM notify.events WHERE type = 'cl.review.submitted'")
    review = payload[0]["review"]
    assert (review["state"], review["body"]) == ("changes_requested", "Almost.")
    assert [(one["path"], one["line"], one["body"]) for one in review["comments"]] == [
        ("retry.py", line, f"Line {line}?") for line in (3, 5, 7)
    ]


def test_the_first_sweep_tells_nothing_that_was_before(sources: ForgeHarness, forge: EmbeddedForge) -> None:
    other = "acme/old"
    forge.hooks.trouble.drop = True
    sources.clock.set(late=timedelta(hours=1))
    forge.state.add_repository(other)
    forge.state.open_pull(other, by="alice", title="Old", head="old")
    forge.state.request_review(other, 1, by="alice", logins=["bob"])
    forge.state.comment(other, 1, by="carol", body="Long ago.")
    for _ in range(2):
        sources.sweep()
    assert sources.deliver() == []
    sources.clock.set()
    forge.state.comment(other, 1, by="carol", body="Now.")
    sources.sweep()
    assert ("alice", "cl.comment.created", "author") in sources.deliver()
    assert sources.rows("SELECT author, state FROM notify.change_lists WHERE link = 'acme/old#1'") == [
        ("alice", "open")
    ]


def test_the_mirror_can_be_deleted_and_is_the_same_after_the_next_sweep(
    sources: ForgeHarness, forge: EmbeddedForge
) -> None:
    a_change_is_reviewed(forge)
    forge.state.open_pull(REPOSITORY, by="bob", title="Another", head="other")
    forge.state.request_review(REPOSITORY, 2, by="bob", logins=["carol"])
    sources.take_webhooks()
    sources.sweep()
    told = sources.deliver()
    before = mirror(sources)
    sources.worker.execute("DELETE FROM notify.forge_repositories")
    sources.worker.execute("DELETE FROM notify.work_items WHERE stage = 'reconcile'")
    sources.sweep()
    assert mirror(sources) == before
    assert sources.deliver() == told


def mirror(sources: ForgeHarness) -> list[object]:
    """What the mirror says, whenever and under whatever ids it was written."""
    return [
        sources.rows(
            "SELECT number, link, title, description, state, draft, opener, author, author_from, head_ref, head_sha,"
            " base_ref, base_sha, merge_sha, opened_at, forge_updated_at, stale"
            " FROM notify.forge_changes ORDER BY number"
        ),
        sources.rows(
            "SELECT number, login, requested, team, verdict FROM notify.forge_reviewers ORDER BY number, login"
        ),
        sources.rows("SELECT name, head_sha, state FROM notify.forge_branches ORDER BY name"),
        sources.rows("SELECT forge, forge_id, full_name, gone FROM notify.forge_repositories ORDER BY forge_id"),
    ]
