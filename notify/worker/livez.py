"""The worker's health address: ``GET /livez``, from a thread of the parent that holds no lock and logs nothing."""

from collections.abc import Callable
from dataclasses import asdict
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from socket import AF_INET, AF_INET6, create_server, has_dualstack_ipv6, socket
from threading import Thread

from notify.domain.liveness import Liveness

PATH = "/livez"
PATIENCE_SECONDS = 5


class Livez:
    """
    Answers at this address, or at every address of this machine, 200 or 503, to whoever asks.

    Raises:
        OSError: The port is taken, or not ours to take.
    """

    def __init__(self, port: int, *, ask: Callable[[], Liveness], host: str | None = None) -> None:
        class Answer(_Answer):
            asked = staticmethod(ask)

        # Binding it by its own means would ask a name server for this machine's name first.
        self._server = ThreadingHTTPServer(("", port), Answer, bind_and_activate=False)
        self._server.socket.close()
        self._server.socket = _everywhere(port) if host is None else _at(host, port)

    def start(self) -> None:
        """Begin to answer."""
        Thread(target=self._server.serve_forever, name="livez", daemon=True).start()

    def let_go(self) -> None:
        """In a child, which inherits it: leave the port to the parent."""
        self._server.socket.close()


class _Answer(BaseHTTPRequestHandler):
    timeout = PATIENCE_SECONDS
    server_version = "notify"
    sys_version = ""
    asked: Callable[[], Liveness]

    def do_GET(self) -> None:
        if self.path.partition("?")[0] == PATH:
            found = self.asked()
            self._say(HTTPStatus.OK if found.ok else HTTPStatus.SERVICE_UNAVAILABLE, asdict(found))
        else:
            self._say(HTTPStatus.NOT_FOUND, {"detail": f"there is only {PATH}"})

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds."""

    def _say(self, status: HTTPStatus, facts: dict[str, object]) -> None:
        body = dumps(facts).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def _at(host: str, port: int) -> socket:
    return create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)


def _everywhere(port: int) -> socket:
    """A listening socket, of both families where the machine has them."""
    both = has_dualstack_ipv6()
    return create_server(("", port), family=AF_INET6 if both else AF_INET, dualstack_ipv6=both)
