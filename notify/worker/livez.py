"""A worker's heartbeats, in memory that its processes share, and ``GET /livez``, which answers from them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from json import dumps
from mmap import mmap
from socket import AF_INET, AF_INET6, create_server, has_dualstack_ipv6
from struct import calcsize
from threading import Thread
from time import monotonic
from typing import Literal

from notify.domain.ports import Promise, no_heartbeat

PATH = "/livez"
PATIENCE_SECONDS = 5
INSTANT: Literal["d"] = "d"


@dataclass(frozen=True, slots=True)
class Liveness:
    """Whether a worker is alive, in a sentence."""

    ok: bool
    detail: str


STOPPING = Liveness(ok=True, detail="stopping")


def liveness(promised: Mapping[int, Mapping[str, float]], *, now: float, processes: int) -> Liveness:
    """
    Whether at least *processes* of them keep their promises.

    A process that has died counts as alive until its promises run out; by then another has taken its place.

    Args:
        promised: For each process, until when each of its parts may be silent, on the clock of *now*.
    """
    silent = {
        process: ", ".join(part for part, until in parts.items() if until < now) for process, parts in promised.items()
    }
    alive = sum(not parts for parts in silent.values())
    words = [f"{alive} of {processes} processes are alive"]
    words += [f"process {process} is silent: {parts}" for process, parts in silent.items() if parts]
    return Liveness(ok=alive >= processes, detail="; ".join(words))


class Heartbeats:
    """
    Until when each of these parts of each process may be silent; made before the fork.

    No lock: a child may be killed. Each instant is written by one process, in one piece, on the
    monotonic clock, which all processes of a machine share.
    """

    def __init__(self, parts: Sequence[str], *, processes: int) -> None:
        self._processes = processes
        self._offsets = {part: offset for offset, part in enumerate(parts)}
        self._until = memoryview(mmap(-1, processes * len(parts) * calcsize(INSTANT))).cast(INSTANT)

    def of(self, process: int) -> Promise:
        """Where this process promises its heartbeats; one beyond *processes* is not watched."""
        return partial(self._promise, process) if process < self._processes else no_heartbeat

    def promised(self) -> dict[int, dict[str, float]]:
        """For each process, the parts that have made a promise, and until when they may be silent."""
        found = {process: self._of(process) for process in range(self._processes)}
        return {process: parts for process, parts in found.items() if parts}

    def _of(self, process: int) -> dict[str, float]:
        first = process * len(self._offsets)
        return {part: until for part, offset in self._offsets.items() if (until := self._until[first + offset])}

    def _promise(self, process: int, part: str, seconds: float) -> None:
        self._until[process * len(self._offsets) + self._offsets[part]] = monotonic() + seconds


class Livez:
    """Answers 200 or 503 at *host*, or at every address of this machine; holds no lock and logs nothing."""

    def __init__(self, port: int, *, ask: Callable[[], Liveness], host: str | None = None) -> None:
        class Answer(_Answer):
            asked = staticmethod(ask)

        # Binding it by its own means would ask a name server for this machine's name first.
        self._server = ThreadingHTTPServer(("", port), Answer, bind_and_activate=False)
        self._server.socket.close()
        both = host is None and has_dualstack_ipv6()
        family = AF_INET6 if both or ":" in (host or "") else AF_INET
        self._server.socket = create_server((host or "", port), family=family, dualstack_ipv6=both)

    def start(self) -> None:
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
