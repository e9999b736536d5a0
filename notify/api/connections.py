"""
A caller's connection with time limits, for ``uvicorn --http notify.api.connections:Connection``.

uvicorn limits how long a connection may be idle between two calls, and nothing else: it waits for ever for a caller
that sends half of its headers, or does not read the response.

Rejected: ``--limit-concurrency``, which refuses everybody as soon as somebody opens that many connections.
"""

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

STATE = "client_seconds"
LIMIT_SECONDS = 20.0
LARGEST_HEADERS = 16 * 1024
LARGEST_READ = 8 * 1024
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """
    A connection that is closed when its caller takes too long to send the headers or to read the response.

    Data is parsed in small pieces: a body in a million chunks must not block the event loop for seconds, and headers
    that are too large are refused however they are split. ``notify.http.bodies`` limits how long a body may take.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = h11.Connection(h11.SERVER, LARGEST_HEADERS)
        self._limit_seconds = float(app_state.get(STATE, LIMIT_SECONDS))
        self._unread = bytearray()
        self._call_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows it too
        # Whatever the caller does not read at once starts the timer.
        self.transport.set_write_buffer_limits(high=0)
        self._start_call_timer()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_call_timer()
        self._stop_reader_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        is_behind = bool(self._unread)
        self._unread += data
        if is_behind:
            self.transport.pause_reading()
        else:
            self._read()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering and self.conn.their_state is h11.SEND_BODY:
            self._start_call_timer()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._reader_timer = self.loop.call_later(self._limit_seconds, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_reader_timer()

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _read(self) -> None:
        """Parse a piece of what has arrived, and the rest after other connections had their turn."""
        if self.transport.is_closing():
            return
        some = bytes(self._unread[:LARGEST_READ])
        del self._unread[:LARGEST_READ]
        super().data_received(some)
        if self._is_answering:
            self._stop_call_timer()
        else:
            self._start_call_timer()
        if self._unread:
            self.transport.pause_reading()
            self.loop.call_soon(self._read)
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def _start_call_timer(self) -> None:
        """Start the timer unless it runs: bytes that trickle in do not extend it."""
        if self._call_timer is None:
            self._call_timer = self.loop.call_later(self._limit_seconds, self._give_up)

    def _give_up(self) -> None:
        begun, _ = self.conn.trailing_data
        if begun and not self.transport.is_closing():
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def _stop_call_timer(self) -> None:
        if self._call_timer is not None:
            self._call_timer.cancel()
            self._call_timer = None

    def _stop_reader_timer(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None
