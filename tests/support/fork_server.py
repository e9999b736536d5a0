"""
Processes of Python forked from one that has already imported what workers, the API and the embedded stack need: a
start takes a tenth of a second.

A process whose PYTHONPATH differs imports other code, so that one is started as usual.
"""

import os
import runpy
import sys
from collections.abc import Mapping
from multiprocessing import get_context
from multiprocessing.context import ForkServerProcess
from os import pathsep
from pathlib import Path
from socket import socket
from subprocess import STDOUT, Popen, TimeoutExpired
from typing import Protocol

from notify.worker.bootstrap import IMPORT_BEFORE_FORK

IMPORTED = (
    "notify.worker.runtime",
    *IMPORT_BEFORE_FORK,
    "notify.channels.email.channel",
    "notify.worker.consumer",
    "billiard.popen_fork",
    "billiard.sharedctypes",
    "celery.app.amqp",
    "celery.app.control",
    "celery.app.events",
    "celery.app.log",
    "celery.apps.worker",
    "celery.bin.worker",
    "celery.concurrency.prefork",
    "celery.events.receiver",
    "celery.events.state",
    "celery.fixups.django",
    "celery.worker.autoscale",
    "celery.worker.components",
    "celery.worker.consumer.delayed_delivery",
    "kombu.transport.redis",
    "notify.api.app",
    "notify.api.connections",
    "notify.embedded.stack",
    "uvicorn.lifespan.on",
    "uvicorn.loops.auto",
    "uvicorn.main",
)

ROOT = Path(__file__).parents[2]

_context = get_context("forkserver")
_context.set_forkserver_preload(list(IMPORTED))


class Process(Protocol):
    """What tests use of a process, however it was started."""

    @property
    def pid(self) -> int: ...
    def poll(self) -> int | None: ...
    def wait(self, timeout: float | None = None) -> int: ...
    def send_signal(self, signal: int) -> None: ...


class Start(Protocol):
    """How a process starts: ``start`` or ``spawn``."""

    def __call__(
        self,
        module: str,
        *arguments: str,
        environment: Mapping[str, str],
        log: Path,
        listening: socket | None = None,
    ) -> Process: ...


class ForkedProcess:
    """A forked process; its methods are those of ``Popen``."""

    def __init__(self, process: ForkServerProcess) -> None:
        self._process = process

    @property
    def pid(self) -> int:
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        return self._process.exitcode

    def wait(self, timeout: float | None = None) -> int:
        self._process.join(timeout)
        code = self.poll()
        if code is None:
            raise TimeoutExpired(self._process.name, timeout or 0)
        return code

    def send_signal(self, signal: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, signal)


def start(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path, listening: socket | None = None
) -> Process:
    """
    Start ``python -m module`` in a session of its own, with its output appended to *log*.

    Args:
        listening: A socket that the process inherits; ``{fd}`` among the arguments stands for its number.
    """
    if environment.get("PYTHONPATH") != os.environ.get("PYTHONPATH"):
        return spawn(module, *arguments, environment=environment, log=log, listening=listening)
    given = (module, arguments, dict(environment), log, listening)
    process = _context.Process(target=_run, args=given, name=module, daemon=True)
    process.start()
    return ForkedProcess(process)


def spawn(
    module: str, *arguments: str, environment: Mapping[str, str], log: Path, listening: socket | None = None
) -> Popen[bytes]:
    """The same in a new interpreter."""
    with log.open("ab") as output:
        return Popen(
            (sys.executable, "-m", module, *_numbered(arguments, listening)),
            env={**environment, "PYTHONPATH": pathsep.join(filter(None, (environment.get("PYTHONPATH"), str(ROOT))))},
            pass_fds=[listening.fileno()] if listening else [],
            stdout=output,
            stderr=STDOUT,
            start_new_session=True,
        )


def _numbered(arguments: tuple[str, ...], listening: socket | None) -> list[str]:
    return [str(listening.fileno()) if listening and one == "{fd}" else one for one in arguments]


def _run(
    module: str, arguments: tuple[str, ...], environment: dict[str, str], log: Path, listening: socket | None
) -> None:
    os.setsid()
    os.environ.clear()
    os.environ.update(environment)
    with log.open("ab") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    sys.argv = [module, *_numbered(arguments, listening)]
    runpy.run_module(module, run_name="__main__", alter_sys=True)
