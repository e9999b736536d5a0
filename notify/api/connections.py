"""
One connection of a caller, for ``uvicorn --http notify.api.connections:Connection``: nobody holds one for ever.

uvicorn limits how long a connection may stand idle between two calls, and nothing else: a caller that sends half of a
head, or does not read the answer, is waited for until it goes away.

Rejected: ``--limit-concurrency``, which refuses everybody as soon as somebody holds that many connections.
"""

import asyncio
from typing import Any

import h11
from uvicorn.config import Config
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle
from uvicorn.server import ServerState

STATE = "client_seconds"
PATIENCE_SECONDS = 20.0
LARGEST_HEAD = 16 * 1024
LARGEST_READ = 8 * 1024
TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Connection(H11Protocol):
    """
    A connection that ends when its caller keeps us waiting, for the head of a call or to take the answer.

    What comes is read a little at a time, so that a body in a million chunks is no work of seconds at one go, and a
    head that is too large is refused wherever it is cut. How long a body may take is the business of
    ``notify.http.bodies``.
    """

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self.conn = h11.Connection(h11.SERVER, LARGEST_HEAD)
        self._patience = float(app_state.get(STATE, PATIENCE_SECONDS))
        self._unread = bytearray()
        self._waits_for_a_call: asyncio.TimerHandle | None = None
        self._waits_for_a_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)  # type: ignore[arg-type] # uvicorn narrows it too
        # Whatever is not taken at once is waited for.
        self.transport.set_write_buffer_limits(high=0)
        self._expect_a_call()

    def connection_lost(self, exc: Exception | None) -> None:
        self._expect_no_call()
        self._expect_no_reader()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        reads_on_later = bool(self._unread)
        self._unread += data
        if reads_on_later:
            self.transport.pause_reading()
        else:
            self._read()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        if not self._is_answering and self.conn.their_state is h11.SEND_BODY:
            self._expect_a_call()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waits_for_a_reader = self.loop.call_later(self._patience, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._expect_no_reader()

    @property
    def _is_answering(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle
        return cycle is not None and not cycle.response_complete

    def _read(self) -> None:
        """Read some of what has come, and the rest after the others' turn."""
        if self.transport.is_closing():
            return
        some = bytes(self._unread[:LARGEST_READ])
        del self._unread[:LARGEST_READ]
        super().data_received(some)
        if self._is_answering:
            self._expect_no_call()
        else:
            self._expect_a_call()
        if self._unread:
            self.transport.pause_reading()
            self.loop.call_soon(self._read)
        elif not self.flow.read_paused:
            self.transport.resume_reading()

    def _expect_a_call(self) -> None:
        """The time runs from the first byte that is waited for, whatever trickles in."""
        if self._waits_for_a_call is None:
            self._waits_for_a_call = self.loop.call_later(self._patience, self._give_up)

    def _give_up(self) -> None:
        begun, _ = self.conn.trailing_data
        if begun and not self.transport.is_closing():
            self.transport.write(TIMED_OUT)
        self.transport.close()

    def _expect_no_call(self) -> None:
        if self._waits_for_a_call is not None:
            self._waits_for_a_call.cancel()
            self._waits_for_a_call = None

    def _expect_no_reader(self) -> None:
        if self._waits_for_a_reader is not None:
            self._waits_for_a_reader.cancel()
            self._waits_for_a_reader = None
