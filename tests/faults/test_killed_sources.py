"""A worker process that dies between any two steps of inbox and sweep loses nothing, and tells nobody twice."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from notify import checkpoints
from notify.checkpoints import CRASH_AT
from notify.store.database import Database
from tests.support.bare_worker import bare_worker
from tests.support.checker import watched
from tests.support.fault_scenario import LEASES_END
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay

KILLED = -9
INBOX = (
    checkpoints.INBOX_CLAIMED,
    checkpoints.INBOX_ASKED,
    checkpoints.INBOX_WRITTEN,
    checkpoints.INBOX_COMMITTED,
)
SWEEP = (checkpoints.RECONCILE_CLAIMED, checkpoints.RECONCILE_WRITTEN, checkpoints.RECONCILE_READ)
EMAILS = [
    ("alice", "cl.comment.created", "author"),
    ("bob", "cl.comment.created", "reviewer"),
    ("bob", "cl.created", "reviewer"),
    ("bob", "cl.review.requested", "requested"),
]
MAKE_SWEEP_DUE = """
    UPDATE notify.forges SET listed_from = now();
    UPDATE notify.work_items SET due_at = now() WHERE stage = 'reconcile' AND lane < 8;
"""


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    with watched(database), forge_harness(database, relay.url, tmp_path) as made:
        yield made


def review_is_asked_for(sources: ForgeHarness) -> None:
    """Alice opens a pull request and asks Bob for his review; Carol comments."""
    sources.forge.state.open_pull(REPOSITORY, by="alice", title="Cap the retry", head="cap")
    sources.forge.state.request_review(REPOSITORY, 1, by="alice", logins=["bob"])
    sources.forge.state.comment(REPOSITORY, 1, by="carol", body="Why?")
    assert sources.forge.hooks.wait()


def die_at(sources: ForgeHarness, environment: Mapping[str, str], point: str, folder: Path) -> None:
    """Have a worker process, which sends nothing, work until it is killed at this point."""
    complete = {**environment, "NOTIFY_FORGES_FILE": str(sources.forge.configuration), CRASH_AT: point}
    with bare_worker(
        {**complete, "NOTIFY_SWEEP_SECONDS": "0.2", "NOTIFY_BUNDLE_SECONDS": "0"}, folder / "bare_worker.log"
    ) as doomed:
        assert doomed.wait_until_dead() == KILLED, (folder / "bare_worker.log").read_text()


@pytest.mark.parametrize("point", INBOX)
def test_a_process_killed_while_it_works_off_deliveries_loses_and_repeats_no_email(
    sources: ForgeHarness, environment: Mapping[str, str], tmp_path: Path, point: str
) -> None:
    review_is_asked_for(sources)
    die_at(sources, environment, point, tmp_path)

    sources.rows(LEASES_END)
    sources.take_webhooks()

    assert sources.deliver() == EMAILS
    assert sources.rows("SELECT status, count(*) FROM notify.webhook_deliveries GROUP BY 1") == [("done", 4)]


@pytest.mark.parametrize("point", SWEEP)
def test_a_process_killed_while_it_sweeps_loses_and_repeats_no_email(
    sources: ForgeHarness, environment: Mapping[str, str], tmp_path: Path, point: str
) -> None:
    sources.forge.hooks.trouble.drop = True
    review_is_asked_for(sources)
    sources.rows(MAKE_SWEEP_DUE)
    die_at(sources, environment, point, tmp_path)

    sources.rows(LEASES_END)
    sources.sweep()

    assert sources.deliver() == EMAILS
    assert sources.rows("SELECT number, stale FROM notify.forge_changes") == [(1, False)]
