"""HTTP servers of tests, each in a thread of its own."""

from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

from tests.support.smtp import Certificate

PATIENCE = 30.0


class QuietHandler(BaseHTTPRequestHandler):
    """Logs nothing, not even that the client has given up."""

    def log_message(self, *_: object) -> None:
        """The tests read nothing of it."""

    def handle(self) -> None:
        try:
            super().handle()
        except OSError:
            self.close_connection = True


@contextmanager
def serving(server: ThreadingHTTPServer, certificate: Certificate | None = None) -> Iterator[None]:
    """
    Serve within the block, however it ends.

    Args:
        certificate: Speaks TLS.
    """
    server.daemon_threads = True
    if certificate is not None:
        server.socket = certificate.server_side().wrap_socket(server.socket, server_side=True)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
