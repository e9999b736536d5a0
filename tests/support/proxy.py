"""A connection that a test can disturb: a TCP proxy on loopback in front of PostgreSQL, the broker or the relay."""

import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from enum import Enum
from functools import partial
from pathlib import Path
from select import select
from threading import Event, Lock, Thread
from typing import Self

from sqlalchemy import make_url

from tests.support.servers import in_words

BLOCK = 65_536
LOOK_SECONDS = 0.02
TIMEOUT_SECONDS = 60.0

Target = tuple[str, int] | Path


class Flow(Enum):
    """The direction of bytes."""

    TO_SERVER = "to server"
    TO_CLIENT = "to client"


@dataclass(slots=True)
class _Line:
    """One connection with both its sockets; ``marked`` means that the next reply must not arrive."""

    client: socket.socket
    server: socket.socket
    born: int
    marked: bool = False
    ended: set[Flow] = field(default_factory=set)


class Proxy:
    """
    Forwards every byte until told otherwise; commands apply to all connections.

    A context manager. Each connection has its own thread, and only that thread touches its sockets.

    Args:
        server: Host and port, or the path of a Unix socket.
    """

    def __init__(self, server: Target) -> None:
        self.sprung = Event()
        self._server = server
        self._lock = Lock()
        self._closing = Event()
        self._blocked: set[Flow] = set()
        self._budget: dict[Flow, int] = {}
        self._delay = 0.0
        self._refusing = False
        self._generation = 0
        self._trap: Callable[[bytes], bool] | None = None
        self._fuse: tuple[Flow, int] | None = None
        self.heard: dict[Flow, bytearray] = {}
        self._threads: list[Thread] = []

    def __enter__(self) -> Self:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(TIMEOUT_SECONDS)

    @property
    def smtp_url(self) -> str:
        """The proxy as ``NOTIFY_SMTP_URL``."""
        return f"smtp://127.0.0.1:{self.port}"

    @property
    def broker_url(self) -> str:
        """The proxy as ``NOTIFY_BROKER_URL``."""
        return f"redis://127.0.0.1:{self.port}/0"

    def heal(self) -> None:
        """Forward every byte again, on old connections and new ones."""
        with self._lock:
            self._blocked, self._budget = set(), {}
            self._delay, self._refusing, self._trap = 0.0, False, None

    def delay(self, seconds: float) -> None:
        """Delay every block of bytes by this long."""
        self._delay = seconds

    def block(self, *flows: Flow) -> None:
        """
        Swallow everything in these directions, including the end of the connection.

        Both directions are a black hole, one is a half-open connection. New connections are still accepted.
        """
        self._blocked = set(flows)

    def let_through(self, flow: Flow, *, at_most: int) -> None:
        """Forward this many more bytes in this direction, and swallow the rest."""
        with self._lock:
            self._budget[flow] = at_most

    def reset(self) -> None:
        """Reset every connection."""
        with self._lock:
            self._generation += 1

    def refuse(self) -> None:
        """Reset every connection, and every new one at once."""
        self._refusing = True
        self.reset()

    def cut_the_reply_to(self, matches: Callable[[bytes], bool]) -> None:
        """
        Let the next request that matches reach the server, and cut its connection instead of forwarding the reply.

        Once; ``sprung`` is set when it has happened.
        """
        with self._lock:
            self.sprung.clear()
            self._trap = matches

    def cut_after(self, flow: Flow, *, at_most: int) -> None:
        """
        Forward this many more bytes in this direction, and cut the connection instead of forwarding more.

        Once; ``sprung`` is set when it has happened.
        """
        with self._lock:
            self.sprung.clear()
            self._fuse = flow, at_most

    def listen(self) -> None:
        """Record everything from now on, in both directions, in ``heard``."""
        self.heard = {flow: bytearray() for flow in Flow}

    def _start(self, work: Callable[[], None]) -> None:
        thread = Thread(target=work, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            self._start(partial(self._serve, client))

    def _serve(self, client: socket.socket) -> None:
        born = self._generation
        with suppress(OSError):
            if not self._refusing:
                client.settimeout(TIMEOUT_SECONDS)
                client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with _connected(self._server) as server:
                    self._forward(_Line(client, server, born))
        _reset(client)

    def _forward(self, line: _Line) -> None:
        """Forward until one side closes or the connection is cut."""
        sides = {
            Flow.TO_SERVER: (line.client, line.server),
            Flow.TO_CLIENT: (line.server, line.client),
        }
        while line.born == self._generation and not self._closing.is_set():
            open_ways = [flow for flow in sides if flow not in line.ended]
            ready, _, _ = select([sides[flow][0] for flow in open_ways], [], [], LOOK_SECONDS)
            for flow in open_ways:
                source, sink = sides[flow]
                if source in ready and not self._passed(line, flow, source, sink):
                    return

    def _passed(self, line: _Line, flow: Flow, source: socket.socket, sink: socket.socket) -> bool:
        """Forward what came in this direction; whether the connection survives."""
        data = source.recv(BLOCK)
        if flow in self._blocked:
            if not data:
                line.ended.add(flow)
            return True
        if not data or self._springs(line, flow, data):
            return False
        if self._delay:
            self._closing.wait(self._delay)
        whole = len(data)
        data = self._up_to_the_cut(flow, data)
        if flow in self.heard:
            self.heard[flow] += data
        sink.sendall(self._rationed(flow, data))
        return len(data) == whole

    def _up_to_the_cut(self, flow: Flow, data: bytes) -> bytes:
        with self._lock:
            if self._fuse is None or self._fuse[0] is not flow:
                return data
            left = self._fuse[1]
            self._fuse = (flow, left - len(data)) if left >= len(data) else None
            if self._fuse is None:
                self.sprung.set()
            return data[:left]

    def _rationed(self, flow: Flow, data: bytes) -> bytes:
        with self._lock:
            if flow not in self._budget:
                return data
            part = data[: self._budget[flow]]
            self._budget[flow] -= len(part)
            return part

    def _springs(self, line: _Line, flow: Flow, data: bytes) -> bool:
        """Whether these bytes are the reply that must not arrive."""
        with self._lock:
            if flow is Flow.TO_SERVER and self._trap and self._trap(data):
                self._trap, line.marked = None, True
                return False
            if flow is Flow.TO_CLIENT and line.marked:
                self.sprung.set()
                return True
            return False


class CommitAfter:
    """Matches the commit of the transaction that contained these words."""

    def __init__(self, words: bytes) -> None:
        self._words = words
        self._said = False

    def __call__(self, data: bytes) -> bool:
        self._said = self._said or self._words in data
        return self._said and b"COMMIT" in data


def database_target(url: str) -> Target:
    """The address of the server behind a database URL: a Unix socket, or host and port."""
    parsed = make_url(url)
    folder = parsed.query.get("host")
    port = int(str(parsed.query.get("port") or parsed.port or 5432))
    if folder is None:
        return parsed.host or "127.0.0.1", port
    return Path(str(folder)) / f".s.PGSQL.{port}"


def through(proxy: Proxy, url: str) -> str:
    """The URL of the same database through the proxy."""
    return in_words(make_url(url).set(host="127.0.0.1", port=proxy.port, query={}))


def _connected(target: Target) -> socket.socket:
    if isinstance(target, Path):
        line = socket.socket(socket.AF_UNIX)
        line.connect(str(target))
    else:
        line = socket.create_connection(target)
        line.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    line.settimeout(TIMEOUT_SECONDS)
    return line


def _reset(line: socket.socket) -> None:
    """Close with a reset instead of a regular end."""
    with suppress(OSError):
        line.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    line.close()
