"""The embedded forge's repositories over HTTP: what ``git clone``, ``fetch`` and ``push`` ask for."""

import asyncio
import subprocess
from collections.abc import Sequence
from http import HTTPStatus
from pathlib import Path
from zlib import MAX_WBITS, decompressobj
from zlib import error as NotGzip  # noqa: N812 - it is an exception

from fastapi import APIRouter, HTTPException, Request, Response
from starlette.requests import ClientDisconnect

from notify.embedded.forge.git.repositories import GIT_SECONDS, GitRepositories
from notify.embedded.forge.records import Repository
from notify.embedded.forge.state import ForgeState, Unknown
from notify.vcs.commands import SAFE, environment

UPLOAD, RECEIVE = "git-upload-pack", "git-receive-pack"
MOST_BYTES = 64 * 1024 * 1024
OPTIONS = (
    *SAFE,
    "uploadpack.allowAnySHA1InWant=true",  # GitHub too gives a commit by its name, wherever branches are by now
    "receive.fsckObjects=true",  # no file beside the checkout, none in its .git
)
_GZIP = 16 + MAX_WBITS


class SmartHttp:
    """
    Git's smart protocol. Nobody needs a password.

    Source: git's own documentation, gitprotocol-http.
    """

    def __init__(self, state: ForgeState, git: GitRepositories) -> None:
        self._state, self._git = state, git

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/{owner}/{name}", include_in_schema=False)
        router.add_api_route("/info/refs", self._refs, methods=["GET"])
        router.add_api_route(f"/{UPLOAD}", self._upload, methods=["POST"])
        router.add_api_route(f"/{RECEIVE}", self._receive, methods=["POST"])
        return router

    async def _refs(self, request: Request) -> Response:
        service = request.query_params.get("service", "")
        if service not in (UPLOAD, RECEIVE):
            raise HTTPException(HTTPStatus.FORBIDDEN, "Use git over its smart protocol.")
        said = await self._asked(request, self._repository(request), service, "--advertise-refs")
        first = f"# service={service}\n"
        return _answer(f"{len(first) + 4:04x}{first}0000".encode() + said, service, "advertisement")

    async def _upload(self, request: Request) -> Response:
        return _answer(await self._asked(request, self._repository(request), UPLOAD), UPLOAD, "result")

    async def _receive(self, request: Request) -> Response:
        repository = self._repository(request)
        said = await self._asked(request, repository, RECEIVE)
        await asyncio.to_thread(self._git.follow, repository)
        return _answer(said, RECEIVE, "result")

    async def _asked(self, request: Request, repository: Repository, service: str, *options: str) -> bytes:
        body, protocol = await _body(request), request.headers.get("git-protocol", "")
        command = [word for one in OPTIONS for word in ("-c", one)]
        command += [service.removeprefix("git-"), "--stateless-rpc", *options, "."]
        return await asyncio.to_thread(_git, self._git.folder(repository), command, body, protocol)

    def _repository(self, request: Request) -> Repository:
        full_name = f"{request.path_params['owner']}/{request.path_params['name'].removesuffix('.git')}"
        try:
            found = self._state.repository(full_name)
        except Unknown:
            found = None
        if found is None or not found.is_git:
            raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such repository of git.")
        return found


def _git(folder: Path, arguments: Sequence[str], body: bytes, protocol: str) -> bytes:
    return subprocess.run(  # noqa: S603 - an argument vector
        ["git", *arguments],  # noqa: S607 - the PATH's git
        cwd=folder,
        env={**environment(), "GIT_PROTOCOL": protocol},
        input=body,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        timeout=GIT_SECONDS,
        check=False,
    ).stdout


async def _body(request: Request) -> bytes:
    """
    Raises:
        HTTPException: It is too long, broken, or the client went away.
    """
    body = bytearray()
    try:
        async for part in request.stream():
            body += part
            _check_length(len(body))
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST) from None
    if request.headers.get("content-encoding") != "gzip":
        return bytes(body)
    try:
        inflated = decompressobj(_GZIP).decompress(body, MOST_BYTES + 1)
    except NotGzip:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The body is no gzip.") from None
    _check_length(len(inflated))
    return inflated


def _check_length(length: int) -> None:
    if length > MOST_BYTES:
        raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"Push at most {MOST_BYTES} bytes at a time.")


def _answer(said: bytes, service: str, kind: str) -> Response:
    return Response(said, media_type=f"application/x-{service}-{kind}")
