"""Whether a worker is alive: each part of each of its processes promises when its next heartbeat comes."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


class Promise(Protocol):
    """Promises a heartbeat from this part within *seconds*. Cheap, thread-safe, never raises."""

    def __call__(self, part: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether a worker is alive, in a sentence."""

    ok: bool
    detail: str


STOPPING = Liveness(ok=True, detail="stopping")


def liveness(promised: Mapping[int, Mapping[str, float]], *, now: float, processes: int) -> Liveness:
    """
    Whether at least *processes* of them keep their promises.

    A process that has died counts as alive until its promises run out; by then another has taken its place.

    Args:
        promised: For each process, until when each of its parts may be silent, on the clock of *now*.
    """
    silent = {
        process: ", ".join(part for part, until in parts.items() if until < now) for process, parts in promised.items()
    }
    alive = sum(not parts for parts in silent.values())
    words = [f"{alive} of {processes} processes are alive"]
    words += [f"process {process} is silent: {parts}" for process, parts in silent.items() if parts]
    return Liveness(ok=alive >= processes, detail="; ".join(words))


def unwatched(part: str, seconds: float) -> None:
    """For a process whose heartbeats nobody reads."""
