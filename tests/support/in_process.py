"""HTTP requests to an application in this process, for synchronous tests."""

import asyncio
from collections.abc import AsyncIterator

import httpx
from fastapi import FastAPI


class InProcess(httpx.BaseTransport):
    """Sends requests to an application without a socket; its exceptions become answers of 500, as behind a server."""

    def __init__(self, app: FastAPI, *, root_path: str = "") -> None:
        self._transport = httpx.ASGITransport(app, raise_app_exceptions=False, root_path=root_path)

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        return asyncio.run(self._answer(request))

    async def _answer(self, request: httpx.Request) -> httpx.Response:
        sent = httpx.Request(request.method, request.url, headers=request.headers, content=_chunks(request))
        response = await self._transport.handle_async_request(sent)
        return httpx.Response(response.status_code, headers=response.headers, content=await response.aread())


async def _chunks(request: httpx.Request) -> AsyncIterator[bytes]:
    assert isinstance(request.stream, httpx.SyncByteStream)
    for chunk in request.stream:
        yield chunk
