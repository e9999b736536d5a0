"""A new stage needs only a handler and a name; every layer above works with it unchanged."""

from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from random import Random
from typing import Any
from uuid import UUID, uuid4

import pytest
from prometheus_client import generate_latest
from sqlalchemy import Connection
from structlog.testing import capture_logs

import celeryconfig
from notify.api import metrics
from notify.domain.claims import Claim, Lane
from notify.domain.ports import Doorbell
from notify.domain.stages import queue
from notify.settings import Settings
from notify.store.database import Database
from notify.store.operations import gauges
from notify.store.outbox import items
from notify.wiring import STAGE_NAMES, StageKind
from notify.work.stage import BatchStage, counted
from notify.worker.runtime import Runtime
from tests.support import rows
from tests.support.harness import WorkerHarness
from tests.support.wait import until

LEASE = timedelta(minutes=1)


class Toys:
    """A stage of twenty lines that paints toys; a broken toy raises, a lost one waits."""

    name = "toy"
    ordered = False
    counts = ("painted",)

    def __init__(self, database: Database, *, broken: Sequence[int] = (), lost: Sequence[int] = ()) -> None:
        self.database, self.broken, self.lost = database, broken, lost
        self.painted: list[int] = []
        self.buried: list[int] = []

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        if any(one.id in self.broken for one in claims):
            raise ZeroDivisionError
        ends = [items.later(one, "lost", rng=Random(1)) if one.id in self.lost else items.done(one) for one in claims]
        with self.database.begin() as connection:
            items.settle(connection, self.name, ends)
        self.painted += [one.id for one in ends if one.lane is None]
        return counted(ends) + Counter(painted=len(self.painted))

    def bury(self, _: Connection, ids: Sequence[int]) -> None:
        self.buried += ids


def stage(toys: Toys, *, rung: list[str] | None = None, **changes: Any) -> BatchStage:
    usual: dict[str, Any] = {
        "ring": partial(rung.append, "toy") if rung is not None else lambda: None,
        "worker": uuid4(),
        "lease": LEASE,
        "batch": 10,
        "at_most": LEASE,
        "rng": Random(1),
    }
    return BatchStage(toys, toys.database, **{**usual, **changes})


@pytest.fixture
def three(database: Database) -> list[int]:
    """Three toys that are due."""
    with database.begin() as connection:
        return [rows.item(connection, "toy", number) for number in (1, 2, 3)]


@pytest.fixture
def settings(database: Database) -> Settings:
    return WorkerHarness(database, None, {"sweep_seconds": 0.1}).settings


def test_due_items_are_worked_off_and_deleted(database: Database, three: list[int]) -> None:
    toys = Toys(database)
    made = stage(toys)
    assert made.is_due()
    report = made.drain()
    assert list(report) == ["claimed", "painted", "retried", "dead", "released", "seconds"]
    assert (report["claimed"], report["painted"]) == (3, 3)
    assert toys.painted == three
    assert [rows.item_of(database, "toy", one) for one in three] == [None] * 3
    assert not made.is_due()


def test_one_failing_item_does_not_stop_the_others(database: Database, three: list[int]) -> None:
    toys = Toys(database, broken=[2])
    with capture_logs() as said:
        report = stage(toys).drain()
    assert (report["claimed"], report["retried"]) == (3, 1)
    assert toys.painted == [1, 3]
    waits = rows.item_of(database, "toy", three[1])
    assert waits is not None
    assert (waits["lane"], waits["failures"], waits["reason"]) == (
        Lane.NORMAL,
        1,
        "internal_error: ZeroDivisionError",
    )
    assert {one["event"] for one in said} == {"stage.failed"}


def test_an_item_that_spends_its_failures_is_dead_and_buried(database: Database, three: list[int]) -> None:
    rows.change_item(database, "toy", three[0], failures=9)
    toys = Toys(database, broken=[three[0]])
    with capture_logs():
        assert stage(toys).drain()["dead"] == 1
    assert toys.buried == [three[0]]


def test_an_item_that_lapsed_three_times_is_dead_and_buried(database: Database, three: list[int]) -> None:
    lapse = {"lane": Lane.LEASED, "leased_by": UUID(int=9), "due_at": rows.ago(seconds=1)}
    rows.change_item(database, "toy", three[0], lapses=2, **lapse)
    rows.change_item(database, "toy", three[1], lapses=1, **lapse)
    toys = Toys(database)
    report = stage(toys).drain()
    assert (report["claimed"], report["dead"]) == (2, 1)
    assert toys.buried == [three[0]]
    assert toys.painted == [three[2], three[1]]


def test_a_drain_that_runs_out_of_time_rings_for_the_rest(database: Database, three: list[int]) -> None:
    rung: list[str] = []
    toys = Toys(database)
    assert stage(toys, rung=rung, batch=1, at_most=timedelta(0)).drain()["claimed"] == 1
    assert toys.painted == three[:1]
    assert rung == ["toy"]


def test_a_worker_sweeps_every_stage_that_it_serves(database: Database, settings: Settings, three: list[int]) -> None:
    toys = Toys(database, lost=three[2:])
    promised: set[str] = set()

    def make(*_: object, **__: object) -> BatchStage:
        return stage(toys)

    kinds = (StageKind("toy", "toys wait to be painted", make),)
    runtime = Runtime(settings, serves=frozenset({"toy"}), kinds=kinds, promise=lambda part, _: promised.add(part))
    runtime.start()
    try:
        until(lambda: toys.painted == three[:2])
        assert runtime.drain("toy")["claimed"] == 0
        assert set(runtime.gauges()) == {"toy"}
        assert runtime.gauges()["toy"]["scheduled"] == 1
    finally:
        runtime.stop()
    assert promised == {"toy"}


def test_work_that_a_process_makes_for_itself_waits_for_no_broker(database: Database, settings: Settings) -> None:
    """Without a broker and with one sweep an hour, a stage that rings for another wakes it in its own process."""
    toys = Toys(database)
    patient = settings.model_copy(update={"sweep_seconds": 3_600})

    def makes(*_: object, doorbell: Doorbell, **__: object) -> BatchStage:
        return stage(toys, ring=partial(doorbell.ring, "toy"), batch=1, at_most=timedelta(0))

    runtime = Runtime(patient, serves=frozenset({"toy"}), kinds=(StageKind("toy", "toys wait", makes),))
    runtime.start()
    try:
        with database.begin() as connection:
            there = [rows.item(connection, "toy", number) for number in (1, 2, 3)]
        runtime.drain("toy")
        until(lambda: toys.painted == there)
    finally:
        runtime.stop()


def test_gauges_and_metrics_follow_the_list_of_stages(database: Database, three: list[int]) -> None:
    rows.change_item(database, "toy", three[0], lane=Lane.DEAD, reason="lost: in the post")
    with database.begin() as connection:
        found = gauges.read(connection, ["toy"])["toy"]
    assert (found.due, found.dead_last_day) == (2, {"lost": 1})
    shown = generate_latest(metrics.registry(database, relays=(), stages=["toy"])).decode()
    assert 'notify_due{stage="toy"} 2.0' in shown
    assert 'notify_dead_last_day{reason="lost",stage="toy"} 1.0' in shown


def test_the_queues_are_those_of_the_stages() -> None:
    names = {queue(stage) for stage in STAGE_NAMES}
    assert {one.name for one in celeryconfig.task_queues} == {*names, "notify.upkeep"}
    assert {celeryconfig.task_routes[name]["queue"] for name in names} == names
