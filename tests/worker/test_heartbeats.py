"""The heartbeats of forked processes reach their parent."""

import os
from time import monotonic

from notify.worker.livez import Heartbeats

PARTS = ("deliver", "engine")


def test_a_parent_reads_what_its_child_promised() -> None:
    heartbeats = Heartbeats(PARTS, processes=2)
    before = monotonic()
    child = os.fork()
    if child == 0:
        heartbeats.of(1)("engine", 60)
        os._exit(0)
    os.waitpid(child, 0)

    promised = heartbeats.promised()

    assert promised.keys() == {1}, "a process that has promised nothing is not there"
    assert promised[1].keys() == {"engine"}, "nor is a part that is none of this worker's"
    assert before + 60 <= promised[1]["engine"] <= monotonic() + 60


def test_each_part_of_each_process_has_its_own_heartbeat() -> None:
    heartbeats = Heartbeats(PARTS, processes=2)
    for process in (0, 1, 2):
        for number, part in enumerate(PARTS):
            heartbeats.of(process)(part, 1000 * (process + 1) + 100 * number)

    ends = [until for parts in heartbeats.promised().values() for until in parts.values()]

    assert len(ends) == 4, "the third process is one too many, and is not watched"
    assert ends == sorted(set(ends))
