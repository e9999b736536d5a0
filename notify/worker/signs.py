"""Signs of life of a worker's processes, in memory that they share with their parent."""

from functools import partial
from mmap import mmap
from struct import calcsize
from time import monotonic
from typing import Literal

from notify.domain.liveness import Part, Promise, unwatched

INSTANT: Literal["d"] = "d"
PARTS: tuple[str, ...] = tuple(Part)


class Signs:
    """
    Until when each part of each process may be silent; made before the fork.

    No lock: a child may be killed. Each instant is written by one process, in one piece, on the
    monotonic clock, which all processes of a machine share.
    """

    def __init__(self, processes: int) -> None:
        self._processes = processes
        self._until = memoryview(mmap(-1, processes * len(PARTS) * calcsize(INSTANT))).cast(INSTANT)

    def of(self, process: int) -> Promise:
        """What takes the promises of the process in this place; one without a place is not watched."""
        return partial(self._promise, process) if process < self._processes else unwatched

    def read(self) -> dict[int, dict[str, float]]:
        """What each process has promised; a part that never did is none of this worker's."""
        found = {process: self._of(process) for process in range(self._processes)}
        return {process: parts for process, parts in found.items() if parts}

    def _of(self, process: int) -> dict[str, float]:
        first = process * len(PARTS)
        return {part: until for part, until in zip(PARTS, self._until[first:], strict=False) if until}

    def _promise(self, process: int, part: str, seconds: float) -> None:
        self._until[process * len(PARTS) + PARTS.index(part)] = monotonic() + seconds
