"""A build service over HTTP, whose builds end at once, are reported by it, or wait until they are told to end."""

from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum, auto
from http.server import ThreadingHTTPServer
from json import dumps, loads
from time import monotonic

from notify.embedded.ports import LOOPBACK
from tests.support.http_server import QuietHandler, serving

TELLERS = 8
RUNNING = "running"


class Ends(Enum):
    """How the builds of a queue end."""

    AT_ONCE = auto()
    """Before they are asked for the first time."""
    TOLD = auto()
    """The service reports the end; to those who ask, they run for ever."""
    WHEN_ASKED = auto()
    """By ``end``."""


@dataclass(slots=True)
class Build:
    """One build. ``answered_at``: when its end was answered for the first time, in monotonic seconds."""

    queue: str
    head: str
    status: str = RUNNING
    is_looked_at: bool = False
    answered_at: float | None = None


class BuildService(ThreadingHTTPServer):
    """
    The service. ``tell`` is to be set: it reports a build's end, of this queue, id and status.

    Args:
        ends: How the builds of each queue end.
        verdicts: The final status of each head's build.
    """

    request_queue_size = 128
    tell: Callable[[str, str, str], None]

    def __init__(self, ends: Mapping[str, Ends], verdicts: Mapping[str, str]) -> None:
        super().__init__((LOOPBACK, 0), _Handler)
        self.url = f"http://{LOOPBACK}:{self.server_port}/builds"
        self.builds: dict[str, Build] = {}
        self._ends, self._verdicts = ends, verdicts
        self._tellers = ThreadPoolExecutor(TELLERS, thread_name_prefix="tellers")

    def begin(self, key: str, queue: str, head: str) -> str:
        """Start the build of this idempotency key, unless it has been started; its id."""
        id_ = key.replace("/", "-")
        if id_ in self.builds:
            return id_
        ends = self._ends[queue]
        self.builds[id_] = Build(queue, head, self._verdicts[head] if ends is Ends.AT_ONCE else RUNNING)
        if ends is Ends.TOLD:
            self._tellers.submit(self.tell, queue, id_, self._verdicts[head])
        return id_

    def look(self, id_: str) -> Build:
        build = self.builds[id_]
        build.is_looked_at = True
        if build.status != RUNNING and build.answered_at is None:
            build.answered_at = monotonic()
        return build

    def end(self, id_: str, status: str) -> None:
        self.builds[id_].status = status


class _Handler(QuietHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    server: BuildService

    def do_POST(self) -> None:
        given = loads(self.rfile.read(int(self.headers["Content-Length"])))
        self._answer({"id": self.server.begin(self.headers["Idempotency-Key"], given["queue"], given["head"])})

    def do_GET(self) -> None:
        self._answer({"status": self.server.look(self.path.rpartition("/")[2]).status})

    def _answer(self, content: Mapping[str, str]) -> None:
        body = dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
        self.wfile.flush()


@contextmanager
def build_service(ends: Mapping[str, Ends], verdicts: Mapping[str, str]) -> Iterator[BuildService]:
    """The service in threads of this process."""
    service = BuildService(ends, verdicts)
    with serving(service):
        yield service
