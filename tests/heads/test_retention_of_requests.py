"""How long requests are kept, and what is kept of each queue."""

from datetime import timedelta

import pytest
from sqlalchemy import text

from notify.delivery.retention import Pruning
from notify.domain.claims import Lane
from notify.domain.head_ports import NotFound
from notify.domain.heads import WHOLE, BuildStatus, RequestId
from notify.domain.retention import RetentionPeriods
from notify.store.operations import upkeep
from tests.support import rows
from tests.support.queues import MAIN, World

QUEUE = "monorepo/main"
KEPT = RetentionPeriods(requests=timedelta(days=30))
TABLES = ("requests", "request_uris", "builds", "facts")


def validated(world: World, status: BuildStatus = BuildStatus.FAILURE) -> RequestId:
    """A head that was built with this end."""
    world.push()
    id_ = world.queues.ingest(QUEUE)
    world.drain()
    world.end(id_, status)
    world.drain()
    return id_


def age(world: World, *, days: int) -> None:
    with world.database.begin() as connection:
        passed = {"age": timedelta(days=days)}
        connection.execute(text("UPDATE notify.requests SET created_at = now() - :age"), passed)
        connection.execute(
            text("UPDATE notify.requests SET finished_at = created_at WHERE finished_at > now() - :age"), passed
        )


def pruned(world: World) -> int:
    """How many a run deletes, which is what it says beforehand."""
    with world.database.begin() as connection:
        old = upkeep.old(connection, KEPT).requests
    assert Pruning(world.database, KEPT, batch=2).run().requests == old
    return old


def numbers(world: World, table: str) -> list[int]:
    column = "id" if table == "requests" else "request_id"
    with world.database.begin() as connection:
        found = connection.execute(text(f"SELECT {column} FROM notify.{table} ORDER BY 1"))  # noqa: S608 - our own names
        return list(found.scalars())


def test_an_old_request_goes_with_its_build_uri_facts_and_dead_item(world: World) -> None:
    first = validated(world)
    with world.database.begin() as connection:
        item = connection.execute(text("SELECT item_id FROM notify.requests")).scalar_one()
        rows.item(connection, "heads", item, lane=Lane.DEAD, reason="x")
    last = validated(world)
    age(world, days=31)
    assert pruned(world) == 1
    assert all(numbers(world, table) == [last.number] for table in TABLES)
    assert world.items() == []
    with pytest.raises(NotFound):
        world.get(first)
    assert pruned(world) == 0


def test_a_request_that_is_not_old_stays(world: World) -> None:
    ids = [validated(world).number for _ in range(2)]
    age(world, days=29)
    assert pruned(world) == 0
    assert all(numbers(world, table) == ids for table in TABLES)


def test_the_last_green_head_stays_with_its_fact_and_still_is_a_base(world: World) -> None:
    validated(world, BuildStatus.SUCCESS)
    green = validated(world, BuildStatus.SUCCESS)
    for _ in range(3):
        last = validated(world)
    age(world, days=400)
    assert pruned(world) == 3
    assert numbers(world, "requests") == [green.number, last.number]
    assert world.stores.facts.get(QUEUE, world.get(green).uri, WHOLE).degree == 0
    world.push()
    newest = world.queues.ingest(QUEUE)
    world.drain()
    assert world.get(newest).base_uri == world.get(green).uri


def test_the_newest_fact_stays_though_newer_requests_found_out_nothing(world: World) -> None:
    validated(world)
    broken = validated(world)
    lost = [validated(world, BuildStatus.CANCELLED) for _ in range(2)]
    age(world, days=31)
    assert pruned(world) == 2
    assert numbers(world, "requests") == [broken.number, lost[-1].number]


def test_a_request_without_an_end_stays_however_old_it_is(world: World) -> None:
    world.push()
    first = world.queues.ingest(QUEUE)
    world.drain()
    world.push()
    world.queues.ingest(QUEUE)
    world.drain()
    age(world, days=400)
    assert pruned(world) == 0
    world.end(first)
    world.drain()
    assert len(numbers(world, "facts")) == 1


def test_a_request_that_was_retried_goes_and_leaves_its_head_to_the_new_one(world: World) -> None:
    old = validated(world, BuildStatus.UNEXPECTED_ERROR)
    new = world.queues.retry(QUEUE)
    world.drain()
    world.end(new)
    world.drain()
    age(world, days=31)
    assert pruned(world) == 1
    assert all(numbers(world, table) == [new.number] for table in TABLES)
    assert world.queues.ingest(QUEUE) == new != old


def test_a_head_whose_request_is_gone_gets_a_new_one_when_the_ref_returns_to_it(world: World) -> None:
    first = validated(world)
    sha = world.sha_of(first)
    validated(world)
    age(world, days=31)
    assert pruned(world) == 1
    world.remotes[QUEUE].point(MAIN, sha)
    again = world.queues.ingest(QUEUE)
    assert again.number > first.number
    assert world.sha_of(again) == sha
