"""A scripted token endpoint: a real HTTP server on loopback that grants, refuses or waits."""

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from threading import Event
from typing import Any, Self
from urllib.parse import parse_qsl

from tests.support.http_server import QuietHandler, serving
from tests.support.smtp import Certificate

TIMEOUT_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Says:
    """One answer; ``body`` null grants a new token. ``times`` repeats the body."""

    status: int = 200
    body: bytes | Mapping[str, Any] | None = None
    times: int = 1


@dataclass
class TokenEndpoint:
    """
    The server and its script, which may change while it runs. A context manager.

    Args:
        life: Seconds that a token lasts; null leaves it out.
        answers: Given in turn; after that every exchange is granted.
        certificate: Speaks TLS.
    """

    life: int | str | None = 3600
    answers: list[Says] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    certificate: Certificate | None = None

    def __enter__(self) -> Self:
        self.go_on = Event()
        self.go_on.set()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._stops = ExitStack()
        self._stops.enter_context(serving(self._server, self.certificate))
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._stops.close()

    @property
    def url(self) -> str:
        scheme = "https" if self.certificate else "http"
        return f"{scheme}://127.0.0.1:{self._server.server_port}/tenant/oauth2/v2.0/token"

    def hang(self) -> None:
        """Answer nothing from now on."""
        self.go_on.clear()

    def answer(self, form: dict[str, str]) -> tuple[Says, bytes]:
        self.asked.append(form)
        number = len(self.asked)
        says = self.answers.pop(0) if self.answers else Says()
        self.go_on.wait(TIMEOUT_SECONDS)
        if isinstance(says.body, bytes):
            return says, says.body
        granted: dict[str, Any] = {"token_type": "Bearer", "access_token": f"token-{number}"}
        granted |= {} if self.life is None else {"expires_in": self.life}
        return says, json.dumps(granted if says.body is None else says.body).encode()


def _handler(endpoint: TokenEndpoint) -> type[QuietHandler]:
    class Handler(QuietHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            says, words = endpoint.answer({"path": self.path, **dict(parse_qsl(body.decode()))})
            self.send_response(says.status)
            if says.status // 100 == 3:
                self.send_header("Location", endpoint.url)
            self.send_header("Content-Length", str(len(words) * says.times))
            self.end_headers()
            with suppress(OSError):  # the client has already given up
                for _ in range(says.times):
                    self.wfile.write(words)

    return Handler
