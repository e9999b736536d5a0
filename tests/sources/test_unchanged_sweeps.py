"""A sweep in which nothing has changed asks the forge once for each repository, whatever the mirror holds of it."""

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from notify.store.database import Database
from tests.benchmarks.forge_at_rest import fill, mirror
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.statements import statements

META = "acme/repository-0000"
ENTRIES = f'\n[forges.github.entries]\nrepository = "{META}"\nfolder = "rfcs"\n'
ENTRY = "---\nslug: retries\ntitle: Retries\nowners: [dana]\n---\nWords.\n"
REPOSITORIES, CHANGES = 20, 5
# For each repository: twelve, and a share of those that list the repositories.
MOST_STATEMENTS = 14


@pytest.fixture
def sources(database: Database, tmp_path: Path) -> Iterator[ForgeHarness]:
    """A forge with many repositories, branches and changes, and one of entries, all of it swept twice."""
    with forge_harness(database, None, tmp_path, configuration=ENTRIES) as made:
        fill(made.forge.state, repositories=REPOSITORIES, changes=CHANGES)
        made.worker.execute("DELETE FROM notify.work_items WHERE stage = 'reconcile'")
        made.worker.execute("DELETE FROM notify.forge_repositories")
        mirror(database, made.forge.state, changes=CHANGES)
        made.forge.state.put_file(META, "rfcs/retries.md", ENTRY, by="admin")
        made.take_webhooks()
        for _ in range(2):
            made.sweep()
        yield made


def asked(sources: ForgeHarness) -> Counter[tuple[str, int]]:
    """What one more sweep asks of repositories, with the answers."""
    sources.forge.rest.calls.clear()
    swept = sources.sweep()
    assert swept["swept"] == REPOSITORIES + 1
    return Counter((path, int(status)) for _, path, status in sources.forge.rest.calls if "/repos/" in path)


def unchanged() -> Counter[tuple[str, int]]:
    names = [REPOSITORY, *(f"acme/repository-{number:04}" for number in range(REPOSITORIES))]
    return Counter((f"/api/v3/repos/{name}/pulls", 304) for name in names)


def test_each_repository_costs_one_conditional_request_with_its_branches_and_entries(
    sources: ForgeHarness, database: Database
) -> None:
    assert sources.rows("SELECT slug FROM notify.forge_entries") == [("retries",)]
    with statements(database) as sent:
        assert asked(sources) == unchanged()
    assert len(sent) / (REPOSITORIES + 1) < MOST_STATEMENTS


def test_a_stale_change_is_read_once_more_and_its_neighbours_are_not(sources: ForgeHarness) -> None:
    sources.worker.execute(
        "UPDATE notify.forge_changes SET stale = true WHERE number = 3 AND link = 'acme/repository-0007#3'"
    )
    more = asked(sources) - unchanged()
    assert {path.removeprefix("/api/v3/repos/acme/repository-0007/") for path, _ in more} >= {"pulls/3"}
    assert all(path.startswith("/api/v3/repos/acme/repository-0007/") for path, _ in more)
    assert sources.rows("SELECT count(*) FROM notify.forge_changes WHERE stale") == [(0,)]
    assert asked(sources) == unchanged()
