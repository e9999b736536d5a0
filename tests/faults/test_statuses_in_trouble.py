"""Many targets on a forge in trouble, by workers that are killed: each ends on what was wanted last."""

from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from random import Random

import pytest

from notify.embedded.forge.misbehaviour import LOST, Answer
from notify.store.database import Database
from tests.support.bare_worker import BareWorker, bare_worker
from tests.support.statuses import BATCH, EmbeddedStatuses, embedded_statuses
from tests.support.wait import until

TARGETS = 1_000
UPDATES = ("queued", "in_progress", "in_progress", "in_progress", "success")
AS_STATUS = {"queued": "pending", "in_progress": "pending", "success": "success"}
PUBLISHED_AT_ONCE = 20
KILLS = 3
TIME_PASSES = """
    UPDATE notify.work_items SET due_at = least(due_at, now() + interval '1 second')
    WHERE stage = 'statuses' AND lane < 8;
    UPDATE notify.endpoints SET probe_at = least(probe_at, now() + interval '1 second') WHERE state = 'open';
"""
LEFT = "SELECT count(*) FROM notify.work_items WHERE stage = 'statuses'"
NOT_APPLIED = "SELECT count(*) FROM notify.status_attempts"
ENDED = "SELECT status, applied_state, applied_version, count(*) FROM notify.commit_statuses GROUP BY 1, 2, 3"
REPLACED = "SELECT sum(replaced) FROM notify.commit_statuses"


@pytest.fixture
def statuses(database: Database, tmp_path: Path) -> Iterator[EmbeddedStatuses]:
    with embedded_statuses(database, tmp_path) as made:
        trouble = made.forge.rest.misbehaviour
        trouble.sometimes("/acme/app/", answer=Answer(502), rate=0.1, seed=1)
        trouble.sometimes("/acme/app/check-runs", answer=LOST, rate=0.02, seed=2, method="POST")
        trouble.every(5, "/acme/app/", answer=Answer(401))
        trouble.every(7, "/acme/app/", answer=Answer(403, {"Retry-After": "1"}))
        yield made


def given(statuses: EmbeddedStatuses, number: int, state: str) -> dict[str, object]:
    """An update of a target; every other one is a check run."""
    if number % 2:
        return statuses.check_run(context=f"ci/{number}", state=state)
    return statuses.status(context=f"ci/{number}", state=AS_STATUS[state])


def publish_all(statuses: EmbeddedStatuses, state: str, *, rng: Random) -> Iterator[None]:
    """An update of every target, in any order; yields between transactions."""
    order = list(range(TARGETS))
    rng.shuffle(order)
    for first in range(0, TARGETS, PUBLISHED_AT_ONCE):
        statuses.publish(*(given(statuses, one, state) for one in order[first : first + PUBLISHED_AT_ONCE]))
        yield


@pytest.mark.slow
def test_every_target_ends_on_its_last_state_and_no_check_run_is_made_twice(
    statuses: EmbeddedStatuses, environment: Mapping[str, str], tmp_path: Path
) -> None:
    settings = {"NOTIFY_FORGES_FILE": str(statuses.forge.configuration), "NOTIFY_LEASE_SECONDS": "2"}
    complete = {**environment, **settings, "NOTIFY_SWEEP_SECONDS": "0.2"}
    names = count()
    with ExitStack() as stack:

        def start() -> BareWorker:
            return stack.enter_context(bare_worker(complete, tmp_path / f"bare_worker-{next(names)}.log"))

        workers = [start(), start()]
        told = statuses.forge.state.statuses.calls
        rng = Random(1)
        for number, state in enumerate(UPDATES):
            for transaction, _ in enumerate(publish_all(statuses, state, rng=rng)):
                if number < KILLS and transaction * PUBLISHED_AT_ONCE == TARGETS // 2:
                    seen = len(told)
                    until(lambda seen=seen: len(told) > seen)  # type: ignore[misc]
                    workers.pop(0).kill()
                    workers.append(start())

        def is_over() -> bool:
            statuses.execute(TIME_PASSES)
            return statuses.execute(LEFT) == [(0,)]

        until(is_over, seconds=240)

    assert statuses.execute(ENDED) == [("applied", "success", len(UPDATES), TARGETS)]
    assert {call.context: call.state for call in told} == {f"ci/{number}": "success" for number in range(TARGETS)}
    assert sorted(name for name, _ in statuses.runs()) == sorted(f"ci/{number}" for number in range(1, TARGETS, 2))
    ((failed,),) = statuses.execute(NOT_APPLIED)
    ((replaced,),) = statuses.execute(REPLACED)
    print(f"{len(told)} calls, {failed} attempts not applied, {replaced} states replaced")  # noqa: T201
    assert len(told) + replaced <= TARGETS * len(UPDATES) + failed + KILLS * BATCH
