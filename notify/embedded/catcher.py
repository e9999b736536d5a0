"""The catcher: an SMTP server that accepts every email, forwards none, and shows them in a web inbox."""

import asyncio
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from signal import SIG_BLOCK, SIGINT, SIGTERM, pthread_sigmask, sigwait
from socket import socket
from threading import Thread

import uvicorn
from aiosmtpd.smtp import SMTP, Envelope, Session

from notify.embedded import inbox
from notify.embedded.mailbox import Mailbox
from notify.embedded.ports import LOOPBACK, listen

STOP_SECONDS = 5
LARGEST_MESSAGE = 32 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Catcher:
    """Where the running catcher accepts emails, and where people read them."""

    smtp_url: str
    inbox_url: str


@contextmanager
def running_catcher(
    folder: Path, *, host: str = LOOPBACK, smtp_port: int = 0, inbox_port: int = 0
) -> Iterator[Catcher]:
    """
    An SMTP server and its web inbox, in a thread of their own.

    Both ports accept connections at once. There is no TLS and no password: use it on the loopback interface or in a
    network of containers only.

    Args:
        folder: Where emails are kept between runs. It is created if missing.
        smtp_port: 0 takes any free port, as does *inbox_port*.
    """
    mailbox = Mailbox(folder)
    with listen(host, smtp_port) as smtp, listen(host, inbox_port) as web:
        server = uvicorn.Server(
            uvicorn.Config(inbox.create_app(mailbox), log_level="warning", lifespan="off", timeout_graceful_shutdown=1)
        )
        thread = Thread(target=lambda: asyncio.run(_serve(mailbox, server, smtp, web)), name="catcher")
        thread.start()
        try:
            yield Catcher(f"smtp://{host}:{smtp.getsockname()[1]}", f"http://{host}:{web.getsockname()[1]}")
        finally:
            server.should_exit = True
            thread.join(STOP_SECONDS)


class Handler:
    """Called by aiosmtpd with each message. It is stored before 250 is sent."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.mailbox = mailbox

    async def handle_DATA(self, _server: SMTP, _session: Session, envelope: Envelope) -> str:  # noqa: N802 - aiosmtpd's name
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        identifier = self.mailbox.add(content, sender=envelope.mail_from or "", recipients=envelope.rcpt_tos)
        return f"250 2.0.0 kept as {identifier}"


async def _serve(mailbox: Mailbox, server: uvicorn.Server, smtp_socket: socket, web_socket: socket) -> None:
    loop = asyncio.get_running_loop()
    smtp = await loop.create_server(
        lambda: SMTP(Handler(mailbox), enable_SMTPUTF8=True, hostname="catcher", data_size_limit=LARGEST_MESSAGE),
        sock=smtp_socket,
    )
    try:
        await server.serve(sockets=[web_socket])
    finally:
        smtp.close()


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the catcher until SIGINT or SIGTERM."""
    parser = ArgumentParser(prog="python -m notify.embedded.catcher", description=__doc__)
    parser.add_argument("--host", default=LOOPBACK, help="address that both ports listen on")
    parser.add_argument("--smtp-port", type=int, default=1025, help="SMTP port")
    parser.add_argument("--inbox-port", type=int, default=8025, help="port of the web inbox")
    parser.add_argument("--folder", type=Path, required=True, help="where emails are kept")
    options = parser.parse_args(arguments)
    # Blocked before the thread starts, which inherits the mask: the signals are left to sigwait.
    pthread_sigmask(SIG_BLOCK, {SIGINT, SIGTERM})
    with running_catcher(
        options.folder, host=options.host, smtp_port=options.smtp_port, inbox_port=options.inbox_port
    ) as catcher:
        print(f"accepting emails at {catcher.smtp_url}, inbox at {catcher.inbox_url}", flush=True)  # noqa: T201
        sigwait({SIGINT, SIGTERM})


if __name__ == "__main__":
    main()
