"""
How a PostgreSQL session has to be for notify, whatever the server, the database or the role is set to.

Decided: a session of our own is set once, when it is opened, by one statement. Behind a pooler that gives each
    transaction to any of its sessions, the same travels with each BEGIN, in the same message: no round trip more,
    and nothing of ours stays behind for others.
Decided: a pooler is known by its process id. It makes one up, so that the one it has told at the start is not the
    server's.
Rejected: the start packet's ``options``. PgBouncer refuses them, or has been told to ignore them.
Rejected: overriding ``default_transaction_read_only``. Who sets it wants nothing written; that is an outage.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

# psycopg reads instants and intervals in one style only. A claim counts on a row being looked at anew when it was
# waited for, which is what read committed does. No function of the application's stands in for PostgreSQL's. Rows are
# looked up by their keys, in memory nearly always: at the default, which is for disks that turn, a table of a few
# hundred rows is read whole for each. To compile a statement costs more than any of ours.
NEEDED: Mapping[str, str] = MappingProxyType(
    {
        "datestyle": "ISO",
        "intervalstyle": "postgres",
        "timezone": "UTC",
        "standard_conforming_strings": "on",
        "extra_float_digits": "1",
        "array_nulls": "on",
        "search_path": "pg_catalog",
        "default_transaction_isolation": "read committed",
        "random_page_cost": "1.1",
        "jit": "off",
    }
)
# A worker runs the same few statements, each of them prepared. To plan one anew costs more than to run it for one item.
PLANNED_ONCE: Mapping[str, str] = MappingProxyType({"plan_cache_mode": "force_generic_plan"})
LIMITS: Mapping[str, str] = MappingProxyType(
    {
        "statement_timeout": "30s",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "60s",
        "transaction_timeout": "0",
    }
)
SINCE: Mapping[str, int] = MappingProxyType({"transaction_timeout": 170_000})
READ_ONLY = "25006"

_OPTION = re.compile(r"(?:-c\s*|--)([\w-]+)\s*=")


class OwnConnection(psycopg.Connection[Any]):
    """
    A connection whose session, or behind a pooler each of whose transactions, is what notify needs.

    ``begin``: the statements that begin a transaction behind a pooler; None: the session is ours alone.
    """

    begin: str | None = None

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands between us and the server."""
        return self.begin is not None

    def set_up(self, limits: Mapping[str, str], *, prepared: Mapping[str, str]) -> None:
        """
        State what is needed, and these limits; before the first transaction.

        Args:
            prepared: What makes prepared statements better; a pooler has none.
        """
        known = {name: value for name, value in limits.items() if SINCE.get(name, 0) <= self.info.server_version}
        wanted = {**NEEDED, **known}
        self.autocommit = True
        own = sql.SQL("{} WHERE pg_backend_pid() = {}").format(
            _select({**wanted, **prepared}, local=False), self.info.backend_pid
        )
        if self.execute(own).fetchone() is not None:
            self.autocommit = False
            return
        self.prepare_threshold = None
        begin = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED; {}").format(_select(wanted, local=True))
        self.begin = begin.as_string(self)


def usual_limits(options: str) -> Mapping[str, str]:
    """What a server puts up with, but for what the URL's own *options* say of it."""
    stated = {name.replace("-", "_").lower() for name in _OPTION.findall(options)}
    return {name: value for name, value in LIMITS.items() if name not in stated}


def _select(wanted: Mapping[str, str], *, local: bool) -> sql.Composed:
    call = sql.SQL("set_config({}, {}, {})")
    return sql.SQL("SELECT ") + sql.SQL(", ").join(call.format(*one, local) for one in wanted.items())
