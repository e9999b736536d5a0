"""
The session settings that notify needs, whatever the server, the database or the role is configured to.

Decided: a direct session is configured once, by one statement when it is opened. Behind a transaction pooler the same
    settings are sent with each BEGIN, in one message: no extra round trip, and nothing is left for other clients.
Decided: a pooler is recognised by the backend process id. It invents one, so that the id sent at connect differs from
    the server's.
Rejected: the startup packet's ``options``. PgBouncer refuses them, or is configured to ignore them.
Rejected: overriding ``default_transaction_read_only``. It says that nobody may write; we treat it as an outage.
"""

import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import psycopg
from psycopg import sql

# psycopg parses timestamps and intervals in one style only. Claims rely on rows being re-read after waiting for a lock
# (read committed). The search path keeps an application's functions from shadowing PostgreSQL's. Rows are looked up by
# key, nearly always in memory: the default cost, meant for spinning disks, makes the planner scan tables of a few
# hundred rows. JIT compilation costs more than any of our statements.
REQUIRED: Mapping[str, str] = MappingProxyType(
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
# A worker runs few statements, all prepared; planning one costs more than running it for one item.
PLANNED_ONCE: Mapping[str, str] = MappingProxyType({"plan_cache_mode": "force_generic_plan"})
TIMEOUTS: Mapping[str, str] = MappingProxyType(
    {
        "statement_timeout": "30s",
        "lock_timeout": "0",
        "idle_in_transaction_session_timeout": "60s",
        "transaction_timeout": "0",
    }
)
ADDED_IN: Mapping[str, int] = MappingProxyType({"transaction_timeout": 170_000})
READ_ONLY = "25006"

_OPTION = re.compile(r"(?:-c\s*|--)([\w-]+)\s*=")


class ConfiguredConnection(psycopg.Connection[Any]):
    """
    A connection that applies ``REQUIRED``: to its session, or behind a pooler to each transaction.

    ``begin``: the statements that begin a transaction behind a pooler; None: there is no pooler.
    """

    begin: str | None = None

    @property
    def is_pooled(self) -> bool:
        """Whether a pooler stands between us and the server."""
        return self.begin is not None

    def set_up(self, timeouts: Mapping[str, str], *, prepared: Mapping[str, str]) -> None:
        """
        Apply the settings and these timeouts; call it before the first transaction.

        Args:
            prepared: Settings for prepared statements, which are not used behind a pooler.
        """
        known = {name: value for name, value in timeouts.items() if ADDED_IN.get(name, 0) <= self.info.server_version}
        wanted = {**REQUIRED, **known}
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


def default_timeouts(options: str) -> Mapping[str, str]:
    """The default timeouts, except those that the URL's *options* set."""
    stated = {name.replace("-", "_").lower() for name in _OPTION.findall(options)}
    return {name: value for name, value in TIMEOUTS.items() if name not in stated}


def _select(wanted: Mapping[str, str], *, local: bool) -> sql.Composed:
    call = sql.SQL("set_config({}, {}, {})")
    return sql.SQL("SELECT ") + sql.SQL(", ").join(call.format(*one, local) for one in wanted.items())
