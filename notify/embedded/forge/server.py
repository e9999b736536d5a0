"""The embedded forge as a server in a thread: its API, its page, its webhooks, and the files that notify reads."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from pathlib import Path
from secrets import token_hex
from threading import Thread
from typing import Any

import uvicorn
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)
from fastapi import FastAPI, Request, Response
from pydantic import TypeAdapter

from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.records import Repository
from notify.embedded.forge.rest import Rest
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState
from notify.embedded.local_pages import guard, page
from notify.embedded.ports import LOOPBACK, listen

FORGE = "github"
APP_ID = 1
STATE_FILE = "forge.json"
KEY_FILE = "app.pem"
SECRET_FILE = "webhook-secret"  # noqa: S105 - a file's name
CONFIGURATION = "forges.toml"
SHOWN = 200
STOP_SECONDS = 5

_REPOSITORIES = TypeAdapter(dict[str, Repository])


@dataclass(frozen=True, slots=True)
class EmbeddedForge:
    """
    The running forge.

    Attributes:
        configuration: The file for ``NOTIFY_FORGES_FILE``.
    """

    url: str
    configuration: Path
    state: ForgeState
    hooks: Hooks
    rest: Rest


@contextmanager
def forging(
    folder: Path,
    *,
    webhook_url: str | None,
    host: str = LOOPBACK,
    port: int = 0,
    now: Callable[[], datetime] | None = None,
) -> Iterator[EmbeddedForge]:
    """
    A forge in a thread of its own, which notify can be told of by its file.

    There are no passwords: it is for the loopback interface. A person calls its API with the token ``person_LOGIN``.

    Args:
        folder: Where it is kept between runs; made when missing.
        webhook_url: Where webhooks go; None: nowhere.
        port: 0 takes any free one.
        now: Its clock, aware UTC; None: the machine's.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with listen(host, port) as web:
        url = f"http://{host}:{web.getsockname()[1]}"
        public_key = _write_files(folder, url)
        state = ForgeState(now=now)
        hooks = Hooks(webhook_url, (folder / SECRET_FILE).read_text().strip(), now=state.now)
        shapes = Shapes(state, url)
        rest = Rest(state, shapes, hooks, app_id=APP_ID, public_key=public_key)
        _restore(state, folder / STATE_FILE)

        def tell(event: str, repository: Repository, sender: str, facts: dict[str, Any]) -> None:
            payload = shapes.payloads.payload(event, repository, sender, facts)
            hooks.tell(event, repository=repository.full_name, repository_id=repository.id, payload=payload)
            _save(state, folder / STATE_FILE)

        state.tell = tell
        server = uvicorn.Server(
            uvicorn.Config(
                create_app(rest, hooks),
                log_level="warning",
                lifespan="off",
                timeout_graceful_shutdown=1,
                date_header=False,  # an answer that misbehaves may state another
            )
        )
        thread = Thread(target=lambda: asyncio.run(server.serve(sockets=[web])), name="forge")
        hooks.start()
        thread.start()
        try:
            yield EmbeddedForge(url, folder / CONFIGURATION, state, hooks, rest)
        finally:
            hooks.stop()
            server.should_exit = True
            thread.join(STOP_SECONDS)
            _save(state, folder / STATE_FILE)


def create_app(rest: Rest, hooks: Hooks) -> FastAPI:
    """The forge's API, and the page that shows what it keeps."""
    app = FastAPI(title="notify forge", docs_url=None, redoc_url=None, openapi_url=None)

    @app.middleware("http")
    async def guarded(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await guard(request, proceed)
        response.headers.setdefault("Date", formatdate(usegmt=True))
        return response

    @app.get("/")
    async def show() -> Response:
        with rest.state.lock:
            pulls = list(rest.state.pulls())[:SHOWN]
            repositories = sorted(rest.state.repositories.values(), key=lambda one: one.full_name)
            deliveries = list(reversed(hooks.deliveries))[:SHOWN]
            return page("forge.html", repositories=repositories, pulls=pulls, deliveries=deliveries)

    @app.get("/livez")
    async def live() -> Response:
        return Response(status_code=204)

    @app.get("/{owner}/{name}/pull/{number}")
    async def show_pull(owner: str, name: str, number: int) -> Response:
        with rest.state.lock:
            found = rest.state.repositories.get(f"{owner}/{name}".lower())
            pull = found.pulls.get(number) if found else None
            if found is None or pull is None:
                return Response("There is no such pull request.", status_code=404)
            return page("forge_pull.html", repository=found, pull=pull)

    app.include_router(rest.router())
    return app


def _write_files(folder: Path, url: str) -> str:
    """What notify is told by: the app's key, the webhooks' secret, and the file that names them; the public key."""
    key_file, secret_file = folder / KEY_FILE, folder / SECRET_FILE
    if not key_file.exists():
        key = generate_private_key(public_exponent=65537, key_size=2048)
        key_file.touch(mode=0o600)
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    if not secret_file.exists():
        secret_file.touch(mode=0o600)
        secret_file.write_text(token_hex(32))
    (folder / CONFIGURATION).write_text(
        f"""# Written by notify up for its embedded forge.
[forges.{FORGE}]
kind = "github"
api_url = "{url}/api/v3"
web_url = "{url}"
webhook_secrets = ["file:{secret_file.resolve()}"]
app_id = {APP_ID}
private_key = "file:{key_file.resolve()}"
"""
    )
    public = load_pem_private_key(key_file.read_bytes(), password=None).public_key()
    return public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _save(state: ForgeState, file: Path) -> None:
    with state.lock:
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_bytes(_REPOSITORIES.dump_json(state.repositories))
        unfinished.rename(file)


def _restore(state: ForgeState, file: Path) -> None:
    """Go on with what an earlier run kept."""
    if not file.exists():
        return
    state.repositories = _REPOSITORIES.validate_json(file.read_bytes())
    ids = [one.id for one in state.repositories.values()]
    for repository in state.repositories.values():
        for pull in repository.pulls.values():
            ids += [pull.id, *(one.id for one in pull.comments), *(one.id for one in pull.reviews)]
    state.number_from(max(ids, default=1000) + 1)
