"""TCP ports on the loopback interface that nothing listens on."""

from collections.abc import Collection
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOCK_STREAM, SOL_SOCKET, socket

LOOPBACK = "127.0.0.1"
HIGHEST = 65535


def free_port(wanted: int = 0, *, host: str = LOOPBACK, taken: Collection[int] = ()) -> int:
    """
    The port *wanted* if it is free, else the next free one above; 0 is any.

    The answer can be out of date at once: whoever binds it must be ready to be refused.

    Args:
        taken: Ports promised to others that have not bound them yet.
    """
    for port in range(wanted, HIGHEST + 1):
        if port in taken:
            continue
        try:
            return _bind(host, port)
        except OSError:
            continue
    return _bind(host, 0)


def _bind(host: str, port: int) -> int:
    with socket(AF_INET, SOCK_STREAM) as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        probe.bind((host, port))
        return int(probe.getsockname()[1])


def listen(host: str, port: int) -> socket:
    """
    A socket that listens on the port; 0 is any. Connections queue until somebody serves it.

    Raises:
        OSError: The port is taken.
    """
    family = AF_INET6 if ":" in host else AF_INET
    opened = socket(family, SOCK_STREAM)
    try:
        opened.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen()
    except OSError:
        opened.close()
        raise
    return opened
