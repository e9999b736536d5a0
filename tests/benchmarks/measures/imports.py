"""What ``import notify`` costs an application that has imported SQLAlchemy, compared with what that cost it."""

from collections.abc import Iterator
from statistics import median
from subprocess import run
from sys import executable

from tests.benchmarks.bench import Bench
from tests.benchmarks.rows import Row, at_most

TIMES = 7
PEER = "importing SQLAlchemy"
GOAL = at_most(1 / 2)
CODE = """
from time import process_time
from psutil import Process

def used():
    return process_time() * 1e3, Process().memory_info().rss / 2**20

before = used()
import sqlalchemy
between = used()
import notify
after = used()
print(between[0] - before[0], between[1] - before[1], after[0] - between[0], after[1] - between[1])
"""


def measure(_: Bench) -> Iterator[Row]:
    """Medians of processes of their own."""
    shares = [[float(one) for one in _output().split()] for _ in range(TIMES)]
    peer_ms, peer_mb, own_ms, own_mb = (median(one) for one in zip(*shares, strict=True))
    yield Row(what="import notify", unit="ms CPU", figure=own_ms, beside=PEER, other=peer_ms, goal=GOAL)
    yield Row(what="import notify, memory", unit="MB", figure=own_mb, beside=PEER, other=peer_mb, goal=GOAL)


def _output() -> str:
    return run([executable, "-c", CODE], capture_output=True, text=True, check=True).stdout
