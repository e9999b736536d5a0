"""The embedded forge as a server in a thread: its API, its page, its webhooks, and the files that notify reads."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
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

from notify.embedded.forge.git import queue
from notify.embedded.forge.git.repositories import GIT_SECONDS, GitRepositories
from notify.embedded.forge.git.smart_http import SmartHttp
from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.pages import Pages, create_app
from notify.embedded.forge.records import Repository
from notify.embedded.forge.rest import Connection, Rest
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.state_file import StateFile
from notify.embedded.ports import LOOPBACK, listen
from notify.vcs.commands import is_usable

FORGE = "github"
APP_ID = 1
KEY_FILE = "app.pem"
SECRET_FILE = "webhook-secret"  # noqa: S105 - a file's name
CONFIGURATION = "forges.toml"
GIT_FOLDER = "git"
STOP_SECONDS = 5


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
    builds: Path | None = None,
) -> Iterator[EmbeddedForge]:
    """
    A forge in a thread of its own, which notify can be told of by its file.

    There are no passwords: it is for the loopback interface. A person calls its API with the token ``person_LOGIN``.

    Args:
        folder: Where it is kept between runs; made when missing.
        webhook_url: Where webhooks go; None: nowhere.
        port: 0 takes any free one.
        now: Its clock, aware UTC; None: the machine's.
        builds: Where notify keeps builds of commands. The forge shows their output, and has a repository with a
            queue where git is installed. None: it has neither.
    """
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    with listen(host, port) as web:
        url = f"http://{host}:{web.getsockname()[1]}"
        public_key = _write_files(folder, url)
        state = ForgeState(now=now)
        hooks = Hooks(webhook_url, (folder / SECRET_FILE).read_text().strip(), now=state.now)
        shapes = Shapes(state, url, app_id=APP_ID)
        git = GitRepositories(state, folder / GIT_FOLDER) if is_usable(seconds=GIT_SECONDS) else None
        rest = Rest(state, shapes, hooks, git=git, app_id=APP_ID, public_key=public_key)
        file = StateFile(state, folder)
        file.restore()
        if builds is not None and git is not None:
            git.add(queue.REPOSITORY, queue.FILES)  # told to nobody, since nobody listens yet
            file.changed()
            with (folder / CONFIGURATION).open("a", encoding="utf-8") as configuration:
                configuration.write(queue.queue_table(FORGE, url))

        def tell(event: str, repository: Repository, sender: str, facts: dict[str, Any]) -> None:
            payload = shapes.payloads.payload(event, repository, sender, facts)
            hooks.tell(event, repository=repository.full_name, repository_id=repository.id, payload=payload)
            file.changed()

        state.tell, state.changed = tell, file.changed
        server = _server(rest, Pages(state, hooks, git=git, builds=builds), git)
        thread = Thread(target=lambda: asyncio.run(server.serve(sockets=[web])), name="forge")
        file.start()
        hooks.start()
        thread.start()
        try:
            yield EmbeddedForge(url, folder / CONFIGURATION, state, hooks, rest)
        finally:
            hooks.stop()
            server.should_exit = True
            thread.join(STOP_SECONDS)
            file.stop()


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
    # Checking the key takes 60 ms; it is our own.
    private = load_pem_private_key(key_file.read_bytes(), password=None, unsafe_skip_rsa_key_validation=True)
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()


def _server(rest: Rest, pages: Pages, git: GitRepositories | None) -> uvicorn.Server:
    app = create_app(rest, pages)
    if git is not None:
        app.include_router(SmartHttp(rest.state, git).router())
    server = uvicorn.Server(
        uvicorn.Config(
            app,
            log_level="warning",
            lifespan="off",
            timeout_graceful_shutdown=1,
            date_header=False,  # an answer that misbehaves may state another
        )
    )
    rest.hang_up = partial(_hang_up, server)
    return server


def _hang_up(server: uvicorn.Server, connection: Connection) -> None:
    """Cut a connection without an answer."""
    for one in tuple(server.server_state.connections):
        if one.transport.get_extra_info("peername")[:2] == connection:
            one.transport.abort()
