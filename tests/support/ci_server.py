"""A build service that speaks the protocol of the runner ``http``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import ThreadingHTTPServer
from typing import Any

from tests.support.http_server import QuietHandler, serving


class Ci(ThreadingHTTPServer):
    """A build service, which keeps each build under its idempotency key."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), CiHandler)
        self.builds: dict[str, dict[str, Any]] = {}
        self.calls: list[tuple[str, str, dict[str, Any]]] = []
        self.instead: list[tuple[int, bytes]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/builds"


class CiHandler(QuietHandler):
    server: Ci
    protocol_version = "HTTP/1.1"  # connections stay open

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        content = json.loads(self.rfile.read(length))
        self.server.calls.append(("POST", self.headers.get("Authorization", ""), content))
        key = self.headers["Idempotency-Key"].rpartition("/")[2]
        self.server.builds.setdefault(key, {"status": "running", "url": f"https://ci.example/{key}"})
        self._answer(201, {"id": key})

    def do_GET(self) -> None:
        build = self.server.builds.get(self.path.rpartition("/")[2])
        self._answer(200, build) if build else self._answer(404, {})

    def do_DELETE(self) -> None:
        build = self.server.builds.get(self.path.rpartition("/")[2])
        if build and build["status"] == "running":
            build["status"] = "cancelled"
        self._answer(204 if build else 404, {})

    def _answer(self, status: int, content: object) -> None:
        body = b"" if status == 204 else json.dumps(content).encode()
        if self.server.instead:
            status, body = self.server.instead.pop(0)
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@contextmanager
def ci_server() -> Iterator[Ci]:
    with serving(ci := Ci()):
        yield ci
