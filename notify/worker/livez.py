"""A worker's heartbeats, in shared memory, and ``GET /livez``, which reports them."""

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
    """Whether a worker is alive, and a sentence about it."""

    ok: bool
    detail: str


STOPPING = Liveness(ok=True, detail="stopping")


def liveness(promised: Mapping[int, Mapping[str, float]], *, now: float, processes: int) -> Liveness:
    """
    Whether at least this number of *processes* keep their promises.

    A dead process counts as alive until its promises expire; by then it has been replaced.

    Args:
        promised: For each process and component, when the next heartbeat is due, on the clock of *now*.
    """
    silent = {
        process: ", ".join(component for component, until in components.items() if until < now)
        for process, components in promised.items()
    }
    alive = sum(not components for components in silent.values())
    words = [f"{alive} of {processes} processes are alive"]
    words += [f"process {process} is silent: {components}" for process, components in silent.items() if components]
    return Liveness(ok=alive >= processes, detail="; ".join(words))


class Heartbeats:
    """
    When the next heartbeat of each component of each process is due; created before the fork.

    No lock: a child that has it may be killed. Each instant is written atomically by one process, on the
    monotonic clock, which all processes of a machine share.
    """

    def __init__(self, components: Sequence[str], *, processes: int) -> None:
        self._processes = processes
        self._offsets = {component: offset for offset, component in enumerate(components)}
        self._until = memoryview(mmap(-1, processes * len(components) * calcsize(INSTANT))).cast(INSTANT)

    def of(self, process: int) -> Promise:
        """The function with which this process promises its heartbeats; does nothing beyond *processes*."""
        return partial(self._promise, process) if process < self._processes else no_heartbeat

    def promised(self) -> dict[int, dict[str, float]]:
        """When the next heartbeat is due, for each process and component that has promised one."""
        found = {process: self._of(process) for process in range(self._processes)}
        return {process: components for process, components in found.items() if components}

    def _of(self, process: int) -> dict[str, float]:
        first = process * len(self._offsets)
        return {name: until for name, offset in self._offsets.items() if (until := self._until[first + offset])}

    def _promise(self, process: int, component: str, seconds: float) -> None:
        self._until[process * len(self._offsets) + self._offsets[component]] = monotonic() + seconds


class Livez:
    """Answers 200 or 503 at *host*, or at every address of this machine. Takes no lock and logs nothing."""

    def __init__(self, port: int, *, ask: Callable[[], Liveness], host: str | None = None) -> None:
        class Answer(_Answer):
            asked = staticmethod(ask)

        # Its own way of binding looks up this machine's name in DNS first.
        self._server = ThreadingHTTPServer(("", port), Answer, bind_and_activate=False)
        self._server.socket.close()
        both = host is None and has_dualstack_ipv6()
        family = AF_INET6 if both or ":" in (host or "") else AF_INET
        self._server.socket = create_server((host or "", port), family=family, dualstack_ipv6=both)

    def start(self) -> None:
        Thread(target=self._server.serve_forever, name="livez", daemon=True).start()

    def close_in_child(self) -> None:
        """Close the inherited socket in a child; the parent keeps the port."""
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
            self._say(HTTPStatus.NOT_FOUND, {"detail": f"not found; this server has only {PATH}"})

    def log_message(self, *_: object) -> None:
        """Probes come every few seconds."""

    def _say(self, status: HTTPStatus, facts: dict[str, object]) -> None:
        body = dumps(facts).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
