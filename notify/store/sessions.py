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
# waited for, which is what read committed does. No function of the application's stands in for PostgreSQL's.
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
    }
)
# What the URL's own options say of these holds instead.
LIMITS: Mapping[str, str] = MappingProxyType(
    {"statement_timeout": "30s", "lock_timeout": "0", "idle_in_transaction_session_timeout": "60s"}
)
READ_ONLY = "25006"

_OPTION = re.compile(r"(?:-c\s*|--)([\w-]+)\s*=")


class OwnConnection(psycopg.Connection[Any]):
    """
    A connection that says whether it leads to a session of its own.

    ``begin`` is None if so; else the statements that begin a transaction as it has to be.
    """

    begin: str | None = None

    def set_up(self, limits: Mapping[str, str], *, options: str = "") -> None:
        """
        Make the session, or each transaction, what notify needs.

        Args:
            limits: Besides what is needed; those that *options* name are left as they are.
            options: Those of the URL.
        """
        stated = {name.replace("-", "_").lower() for name in _OPTION.findall(options)}
        wanted = {**NEEDED, **{name: value for name, value in limits.items() if name not in stated}}
        self.autocommit = True
        own = sql.SQL("{} WHERE pg_backend_pid() = {}").format(_select(wanted, local=False), self.info.backend_pid)
        if self.execute(own).fetchone() is not None:
            self.autocommit = False
            return
        self.prepare_threshold = None
        begin = sql.SQL("BEGIN ISOLATION LEVEL READ COMMITTED; {}").format(_select(wanted, local=True))
        self.begin = begin.as_string(self)


def _select(wanted: Mapping[str, str], *, local: bool) -> sql.Composed:
    call = sql.SQL("set_config({}, {}, {})")
    return sql.SQL("SELECT ") + sql.SQL(", ").join(call.format(*one, local) for one in wanted.items())
