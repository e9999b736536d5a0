"""A worker is alive while enough of its processes keep their heartbeats."""

import pytest

from notify.worker.livez import liveness

NOW = 100.0
KEPT: dict[str, float] = {"engine": NOW + 1, "deliver": NOW + 9}
BROKEN = KEPT | {"deliver": NOW - 1}


@pytest.mark.parametrize(
    ("promised", "processes", "ok"),
    [
        pytest.param({0: KEPT, 1: KEPT}, 2, True, id="everybody is heard from"),
        pytest.param({0: KEPT, 1: BROKEN}, 2, False, id="one part of one process is silent"),
        pytest.param({0: KEPT}, 2, False, id="one was never heard from"),
        pytest.param({}, 1, False, id="nobody was"),
        pytest.param({0: BROKEN, 1: KEPT, 2: KEPT}, 2, True, id="one of those that may go has gone"),
        pytest.param({0: {"engine": NOW}}, 1, True, id="in the last moment"),
    ],
)
def test_a_worker_is_alive_while_enough_processes_keep_their_promises(
    promised: dict[int, dict[str, float]], processes: int, ok: bool
) -> None:
    assert liveness(promised, now=NOW, processes=processes).ok is ok


def test_it_names_the_silent_part_and_its_process() -> None:
    said = liveness({0: KEPT, 3: BROKEN}, now=NOW, processes=2).detail

    assert said == "1 of 2 processes are alive; process 3 is silent: deliver"
