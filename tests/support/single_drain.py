"""One drain of both stages in a process of its own, without Celery: ``python -m tests.support.single_drain``."""

from collections.abc import Mapping
from pathlib import Path
from tempfile import NamedTemporaryFile

from notify.settings import load
from notify.wiring import STAGE_NAMES
from notify.worker.runtime import Runtime
from tests.support import fork_server

LIMIT_SECONDS = 60


def drain_once(environment: Mapping[str, str]) -> tuple[int, str]:
    """Fan out what is due, send what is due, and exit: the exit code, and what it wrote."""
    with NamedTemporaryFile() as log:
        process = fork_server.start("tests.support.single_drain", environment=environment, log=Path(log.name))
        return process.wait(LIMIT_SECONDS), log.read().decode()


def main() -> None:
    """Drain each stage once, in this process."""
    runtime = Runtime(load(), serves=frozenset(STAGE_NAMES))
    for stage in STAGE_NAMES:
        runtime.drain(stage)
    runtime.stop()


if __name__ == "__main__":
    main()
