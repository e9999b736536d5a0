"""Kills the process that is about to do something."""

from contextlib import suppress

import psutil

from tests.support.smtp import ClientLine, ScriptedRelay


def kill_sender_of(relay: ScriptedRelay, said: ClientLine) -> int:
    """Kill the local process that sent this line, and return its pid."""
    other_end = relay.journal.lines[said.connection].getpeername()
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr == other_end and connection.pid:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(connection.pid).kill()
            return connection.pid
    raise LookupError(other_end)
