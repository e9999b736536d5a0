"""The API with a heart whose beats are heard: how much processor time went by between two of them."""

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
class Worst:
    """The longest times between two beats, in milliseconds of processor time: of the loop's thread, of the process."""

    loop: float = 0.0
    process: float = 0.0


class Beating:
    """
    An application beside which a heart beats; PATH tells the worst since it was last asked.

    It is processor time, so that a busy machine does not matter. The process's own tells of threads that keep
    the interpreter to themselves.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._worst = Worst()
        self._beats: asyncio.Task[None] | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._beats is None:
            self._beats = asyncio.create_task(self._beat())
        if scope["type"] == "http" and scope["path"] == PATH:
            worst, self._worst = self._worst, Worst()
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


def create_beating() -> FastAPI:
    """The application of this process's settings, with a heart."""
    app = create_app()
    app.add_middleware(Beating)
    return app
