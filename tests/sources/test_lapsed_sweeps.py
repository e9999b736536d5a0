"""A repository is swept for years: what its workers died of long ago does not end that."""

from uuid import UUID

from notify.domain.claims import Lane
from notify.domain.stages import RECONCILE
from tests.support import rows
from tests.support.forge import ForgeHarness

LEASED = {"lane": Lane.LEASED, "leased_by": UUID(int=1)}


def test_a_sweep_that_ends_well_forgets_the_lapses_before_it(sources: ForgeHarness) -> None:
    database = sources.worker.database
    ((repository_id,),) = sources.rows("SELECT id FROM notify.forge_repositories")
    for _ in range(4):
        rows.change_item(database, RECONCILE, repository_id, **LEASED, due_at=rows.ago(seconds=1), failures=1)
        assert sources.sweep()["unchanged"] == 1
        item = rows.item_of(database, RECONCILE, repository_id)
        assert item is not None
        assert (item["lane"], item["lapses"], item["failures"]) == (Lane.BULK, 0, 0)
