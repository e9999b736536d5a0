"""The cost of a group of processes: processor time, and memory with shared pages counted once."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from re import MULTILINE
from re import compile as pattern
from resource import RUSAGE_CHILDREN, RUSAGE_SELF, getrusage
from threading import Event, Thread

import psutil

LOOK_SECONDS = 0.5
PSS = pattern(rb"^Pss: +(\d+) kB", MULTILINE)


@dataclass(slots=True)
class Meter:
    """``cpu_seconds`` of user and system time, ``peak_bytes`` of proportional memory, null if unknown."""

    cpu_seconds: float = 0.0
    peak_bytes: int | None = None


@contextmanager
def metered(pids: Sequence[int], *, memory: bool = False) -> Iterator[Meter]:
    """
    Measure these processes while the block runs; the meter is complete after it.

    Args:
        memory: Read their memory twice a second, which takes a hundredth of a core.
    """
    processes = [psutil.Process(pid) for pid in pids]
    meter, over = Meter(), Event()
    looking = Thread(target=_look, args=(processes, meter, over), daemon=True)
    if memory:
        looking.start()
    before = cpu_seconds(processes)
    try:
        yield meter
    finally:
        meter.cpu_seconds = cpu_seconds(processes) - before
        over.set()
        if memory:
            looking.join()


def cpu_seconds(processes: Sequence[psutil.Process]) -> float:
    """User and system time of all of them so far."""
    total = 0.0
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            spent = process.cpu_times()
            total += spent.user + spent.system
    return total


def processor_seconds() -> tuple[float, float]:
    """
    The processor time of the machine so far, and our share of it.

    Time stolen by other virtual machines is included; ours is that of this process and of the children it
    has waited for, with theirs.
    """
    spent = psutil.cpu_times()
    idle = spent.idle + getattr(spent, "iowait", 0.0)
    guests = getattr(spent, "guest", 0.0) + getattr(spent, "guest_nice", 0.0)  # already within user and nice
    ours = [getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN)]
    return sum(spent) - idle - guests, sum(one.ru_utime + one.ru_stime for one in ours)


def family_seconds(pid: int) -> float:
    """User and system time of a process, of its children, and of those it has waited for."""
    parent = psutil.Process(pid)
    spent = parent.cpu_times()
    buried = spent.children_user + spent.children_system
    return buried + cpu_seconds([parent, *parent.children(recursive=True)])


def proportional_bytes(processes: Sequence[psutil.Process]) -> int | None:
    """Memory of all of them, with shared pages counted once; null if the kernel does not report it."""
    total = 0
    for process in processes:
        with suppress(FileNotFoundError, ProcessLookupError):
            found = PSS.search(Path(f"/proc/{process.pid}/smaps_rollup").read_bytes())
            total += int(found[1]) * 1024 if found else 0
    return total or None


def _look(processes: Sequence[psutil.Process], meter: Meter, over: Event) -> None:
    while not over.wait(LOOK_SECONDS):
        now = proportional_bytes(processes)
        if now is not None:
            meter.peak_bytes = max(meter.peak_bytes or 0, now)
