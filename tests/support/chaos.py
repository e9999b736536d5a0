"""Finding and ending the very process that is about to do something."""

from contextlib import suppress

import psutil

from tests.support.smtp import Said, ScriptedRelay


def kill_the_one_who_said(relay: ScriptedRelay, said: Said) -> int:
    """Kill the process at the other end of this line, wherever it is on this machine; its pid."""
    other_end = relay.journal.lines[said.connection].getpeername()
    for connection in psutil.net_connections("tcp4"):
        if connection.laddr == other_end and connection.pid:
            with suppress(psutil.NoSuchProcess):
                psutil.Process(connection.pid).kill()
            return connection.pid
    raise LookupError(other_end)
