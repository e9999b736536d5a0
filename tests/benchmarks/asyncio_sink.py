"""A relay that accepts every email and keeps none, in one process: ``python -m tests.benchmarks.asyncio_sink PORT``."""

import asyncio
from argparse import ArgumentParser
from dataclasses import dataclass, field
from re import IGNORECASE, MULTILINE
from re import compile as pattern
from time import monotonic

MESSAGE_ID = pattern(rb"^Message-ID: *(\S+)", IGNORECASE | MULTILINE)
END = b"\r\n.\r\n"
BACKLOG = 1_000


@dataclass(slots=True)
class Book:
    """The names of the accepted emails, and when each was answered, in monotonic seconds."""

    names: set[bytes] = field(default_factory=set)
    answered: list[float] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)

    def note(self, content: bytes) -> None:
        found = MESSAGE_ID.search(content)
        self.names.add(found[1] if found else b"")
        self.answered.append(monotonic())
        self.changed.set()

    async def counts(self, least: int) -> str:
        """Emails, different emails, and the instant of email number *least*, once there are this many."""
        while len(self.answered) < least:
            self.changed.clear()
            await self.changed.wait()
        at = self.answered[least - 1] if least else 0.0
        return f"250 {len(self.answered)} {len(self.names)} {at!r}\r\n"


class Conversation(asyncio.Protocol):
    """
    One client's connection. Besides SMTP it knows ``STAT N``, which waits for N emails and reports them.

    Args:
        delay: Seconds before each answer, simulating a distant relay's round trip.
    """

    transport: asyncio.Transport

    def __init__(self, book: Book, *, extensions: tuple[str, ...], delay: float) -> None:
        self._book = book
        self._hello = "".join(f"250{'-' if more else ' '}{word}\r\n" for word, more in _flagged(("sink", *extensions)))
        self._delay = delay
        self._unread = b""
        self._in_content = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self._answer("220 sink ESMTP\r\n")

    def data_received(self, data: bytes) -> None:
        self._unread += data
        answers = []
        while (answer := self._next()) is not None:
            answers.append(answer)
        if answers:
            self._answer("".join(answers))

    def _next(self) -> str | None:
        """The answer to the next command; null while it is incomplete."""
        content, end, rest = self._unread.partition(END if self._in_content else b"\r\n")
        if not end:
            return None
        self._unread = rest
        if self._in_content:
            self._in_content = False
            self._book.note(content)
            return "250 2.0.0 taken\r\n"
        return self._to_command(content)

    def _to_command(self, line: bytes) -> str:
        verb = line[:4].upper()
        if verb == b"DATA":
            self._in_content = True
            return "354 go ahead\r\n"
        if verb == b"EHLO":
            return self._hello
        if verb == b"STAT":
            telling = asyncio.ensure_future(self._book.counts(int(line[5:])))
            telling.add_done_callback(lambda told: self.transport.write(told.result().encode()))
            return ""
        if verb == b"QUIT":
            asyncio.get_running_loop().call_later(self._delay, self.transport.close)
            return "221 2.0.0 bye\r\n"
        return "250 2.0.0 ok\r\n"

    def _answer(self, words: str) -> None:
        if self._delay:
            asyncio.get_running_loop().call_later(self._delay, self.transport.write, words.encode())
        else:
            self.transport.write(words.encode())


async def serve(port: int, *, delay: float, pipelining: bool) -> None:
    """Accept emails until the process ends."""
    extensions = ("PIPELINING", "8BITMIME", "SMTPUTF8") if pipelining else ("8BITMIME", "SMTPUTF8")
    book = Book()
    loop = asyncio.get_running_loop()
    made = await loop.create_server(
        lambda: Conversation(book, extensions=extensions, delay=delay), "127.0.0.1", port, backlog=BACKLOG
    )
    await made.serve_forever()


def _flagged(words: tuple[str, ...]) -> list[tuple[str, bool]]:
    """Each word, and whether another follows."""
    return [(word, number < len(words)) for number, word in enumerate(words, start=1)]


def main() -> None:
    """Serve as the arguments say."""
    parser = ArgumentParser(prog="python -m tests.benchmarks.asyncio_sink", description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("--delay", type=float, default=0.0, help="seconds")
    parser.add_argument("--no-pipelining", action="store_true")
    asked = parser.parse_args()
    asyncio.run(serve(asked.port, delay=asked.delay, pipelining=not asked.no_pipelining))


if __name__ == "__main__":
    main()
