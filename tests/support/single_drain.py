"""One drain of both stages in a process of its own, without Celery: ``python -m tests.support.single_drain``."""

import sys
from collections.abc import Mapping
from subprocess import run

from notify.settings import load
from notify.wiring import STAGE_NAMES
from notify.worker.runtime import Runtime

LIMIT_SECONDS = 60


def drain_once(environment: Mapping[str, str]) -> tuple[int, str]:
    """Fan out what is due, send what is due, and exit: the exit code, and what it wrote to standard error."""
    done = run(
        (sys.executable, "-m", "tests.support.single_drain"),
        env={**environment, "PYTHONPATH": ":".join(sys.path)},
        capture_output=True,
        check=False,
        timeout=LIMIT_SECONDS,
    )
    return done.returncode, done.stderr.decode()


def main() -> None:
    """Drain each stage once, in this process."""
    runtime = Runtime(load(), serves=frozenset(STAGE_NAMES))
    for stage in STAGE_NAMES:
        runtime.drain(stage)
    runtime.stop()


if __name__ == "__main__":
    main()
