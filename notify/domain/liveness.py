"""Whether a worker is alive: each part of each of its processes promises until when it will be heard from again."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from notify.domain.jobs import Stage


class Part(StrEnum):
    """What is watched in a worker process: the sweeper's thread of each stage, and the engine's event loop."""

    FAN_OUT = Stage.FAN_OUT.value
    DELIVER = Stage.DELIVER.value
    ENGINE = "engine"


class Promise(Protocol):
    """Takes note that this part will be heard from again within so many seconds. Cheap, thread-safe, never raises."""

    def __call__(self, part: str, seconds: float) -> None: ...


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether a worker is alive, in a sentence."""

    ok: bool
    detail: str


STOPPING = Liveness(ok=True, detail="stopping")


def liveness(promised: Mapping[int, Mapping[str, float]], *, now: float, processes: int) -> Liveness:
    """
    Whether as many processes as there should be keep what they promised.

    A process that is gone keeps its promises until they run out: by then another has taken its place.

    Args:
        promised: By process, until when its parts may be silent, on the clock of *now*.
    """
    silent = {
        process: ", ".join(part for part, until in parts.items() if until < now) for process, parts in promised.items()
    }
    alive = sum(not parts for parts in silent.values())
    words = [f"{alive} of {processes} processes are alive"]
    words += [f"process {process} is silent: {parts}" for process, parts in silent.items() if parts]
    return Liveness(ok=alive >= processes, detail="; ".join(words))


def unwatched(part: str, seconds: float) -> None:
    """Take no note of it."""
