"""The API with a monitor that measures how long its event loop is blocked."""

import asyncio
from dataclasses import dataclass
from time import process_time, thread_time

from fastapi import FastAPI
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from notify.api.app import create_app

BEAT_SECONDS = 0.002
PATH = "/heartbeat"


@dataclass(slots=True)
class LongestBlocks:
    """The longest intervals between two ticks, in ms of processor time: of the loop's thread, of the process."""

    loop: float = 0.0
    process: float = 0.0


class MonitoredApplication:
    """
    An application with a monitored event loop; PATH returns the worst since the last request.

    It measures processor time, so that a busy machine does not matter. The process's time reveals threads that keep
    the interpreter to themselves.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._worst = LongestBlocks()
        self._beats: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._beats is None:
            self._beats = asyncio.create_task(self._beat())
        if scope["type"] == "http" and scope["path"] == PATH:
            worst, self._worst = self._worst, LongestBlocks()
            await JSONResponse({"loop": worst.loop, "process": worst.process})(scope, receive, send)
            return
        await self._app(scope, receive, send)

    async def _beat(self) -> None:
        loop, process = thread_time(), process_time()
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            now, all_of_it = thread_time(), process_time()
            self._worst.loop = max(self._worst.loop, (now - loop) * 1000)
            self._worst.process = max(self._worst.process, (all_of_it - process) * 1000)
            loop, process = now, all_of_it


def create_monitored() -> FastAPI:
    """The application of this process's settings, monitored."""
    app = create_app()
    app.add_middleware(MonitoredApplication)
    return app
