"""A forge that does as it is told: a real HTTP server on loopback with a script for each address."""

import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from socket import SHUT_RDWR
from threading import Event, Lock
from time import monotonic
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

from notify.domain.forge_ports import ForgeReader, StatusWriter
from notify.domain.forge_settings import ForgeKind
from notify.forges.client import Connection
from notify.forges.connect import connected, reader
from tests.forges.shapes import app_key, settings
from tests.support.http_server import PATIENCE, QuietHandler, serving


@dataclass(frozen=True, slots=True)
class Asked:
    method: str
    path: str
    query: Mapping[str, str]
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    @property
    def token(self) -> str:
        return self.headers.get("authorization", "").partition(" ")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """
    Args:
        body: JSON, or bytes as they are.
        waits: Until the test goes on, after the headers.
        cut: The connection ends without an answer.
    """

    body: Any = None
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    waits: bool = False
    cut: bool = False


Script = Callable[[Asked], Answer]


@dataclass
class ForgeServer:
    """A context manager. What no script answers is 404."""

    asked: list[Asked] = field(default_factory=list)
    scripts: dict[str, Script] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)
    go_on: Event = field(default_factory=Event)
    opened: list[Connection | ForgeReader] = field(default_factory=list)

    def __enter__(self) -> Self:
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._stops = ExitStack()
        self._stops.enter_context(serving(self._server))
        return self

    def __exit__(self, *_: object) -> None:
        for opened in self.opened:
            opened.close()
        self.go_on.set()
        self._stops.close()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_address[1]}"

    def connection(self, kind: ForgeKind = ForgeKind.GITHUB, /, **limits: float) -> Connection:
        """A connection to it, closed at the end."""
        self.opened.append(made := Connection(settings(kind, api_url=self.url), **limits))
        return made

    def reader(self, kind: ForgeKind = ForgeKind.GITHUB, /, **more: Any) -> ForgeReader:
        """A reader of it, closed at the end."""
        self.opened.append(made := reader(settings(kind, api_url=self.url, **more)))
        return made

    def writer(
        self, kind: ForgeKind = ForgeKind.GITHUB, /, *, clock: Callable[[], float] = monotonic, **more: Any
    ) -> StatusWriter:
        """A writer on it, closed at the end."""
        made = connected(settings(kind, api_url=self.url, **more), clock=clock)
        self.opened.append(made.reader)
        return made.writer

    def app_writer(
        self, full_name: str, *, app_id: int = 12345, clock: Callable[[], float] = monotonic
    ) -> StatusWriter:
        """A writer of an app that is installed on the repository."""
        self.says(f"/repos/{full_name}/installation", {"id": 7})
        token = {"token": "ghs_7", "expires_at": "2100-01-01T00:00:00Z"}
        self.says("/app/installations/7/access_tokens", Answer(token, 201))
        return self.writer(token=None, app_id=app_id, private_key=app_key(), clock=clock)

    def says(self, path: str, *answers: Any) -> None:
        """Answers in their turn, the last one for ever; what is no ``Answer`` is JSON with status 200."""
        left = [one if isinstance(one, Answer) else Answer(one) for one in answers]
        self.scripts[path] = lambda _: left.pop(0) if len(left) > 1 else left[0]

    def pages(self, path: str, *pages: Any, linked: bool = True, **headers: str) -> None:
        """One page after the other by the query's ``page``; with *linked*, each names the next."""

        def answer(asked: Asked) -> Answer:
            number = int(asked.query.get("page", "1"))
            following = f'<{self.url}{path}?page={number + 1}>; rel="next", <{self.url}{path}?page=9>; rel="last"'
            link = {"Link": following} if linked and number < len(pages) else {}
            return Answer(pages[number - 1] if number <= len(pages) else [], headers=link | headers)

        self.scripts[path] = answer

    def count(self, path: str) -> int:
        return sum(one.path == path for one in self.asked)

    @property
    def counts(self) -> Mapping[str, int]:
        found: dict[str, int] = defaultdict(int)
        for one in self.asked:
            found[f"{one.method} {one.path}"] += 1
        return dict(found)


def _handler(forge: ForgeServer) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # else each answer waits 40 ms for an acknowledgement of its headers

        def answer(self) -> None:
            parts = urlsplit(self.path)
            asked = Asked(
                method=self.command,
                path=parts.path,
                query={name: values[0] for name, values in parse_qs(parts.query).items()},
                headers={name.lower(): value for name, value in self.headers.items()},
                body=self.rfile.read(int(self.headers.get("Content-Length") or 0)),
            )
            with forge.lock:
                forge.asked.append(asked)
                script = forge.scripts.get(parts.path)
                said = script(asked) if script else Answer({"message": "Not Found"}, 404)
            if said.cut:
                self.connection.shutdown(SHUT_RDWR)
                return
            content = said.body if isinstance(said.body, bytes) else json.dumps(said.body).encode()
            content = b"" if said.status == 304 else content
            self.send_response_only(said.status)
            for name, value in said.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if said.waits:
                forge.go_on.wait(PATIENCE)
            self.wfile.write(content)

        do_GET = do_POST = do_PATCH = do_DELETE = answer

    return Handler
