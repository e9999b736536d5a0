"""Finds free TCP ports, and makes URLs of servers."""

from collections.abc import Collection
from contextlib import suppress
from socket import AF_INET, AF_INET6, IPPROTO_TCP, TCP_NODELAY, create_server, socket

LOOPBACK = "127.0.0.1"
HIGHEST = 65535
EVERYWHERE = {"0.0.0.0": LOOPBACK, "::": "::1"}  # noqa: S104
"""Where to reach a server that listens on every address."""


def free_port(wanted: int = 0, *, host: str = LOOPBACK, taken: Collection[int] = ()) -> int:
    """
    The port *wanted* if it is free, else the next free one above. 0 is any.

    Another process may take it before the caller binds it.

    Args:
        taken: Ports reserved for servers that have not bound them yet.
    """
    for port in range(wanted, HIGHEST + 1):
        if port not in taken:
            with suppress(OSError), listen(host, port) as probe:
                return int(probe.getsockname()[1])
    return free_port(host=host)


def listen(host: str, port: int) -> socket:
    """
    A socket that listens on the port. 0 is any. Connections wait until they are accepted.

    They inherit TCP_NODELAY, which asyncio sets only on connections of sockets that it has made itself. Without it, an
    answer that is written in two pieces, head and body, arrives 40 ms late.
    """
    listening = create_server((host, port), family=AF_INET6 if ":" in host else AF_INET)
    listening.setsockopt(IPPROTO_TCP, TCP_NODELAY, 1)
    return listening


def url(host: str, port: int) -> str:
    """The URL of the HTTP server that listens there."""
    at = EVERYWHERE.get(host, host)
    return f"http://{f'[{at}]' if ':' in at else at}:{port}"
