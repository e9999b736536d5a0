"""Non-default settings of a database, as an administrator may have made them."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import psycopg
from psycopg import sql
from sqlalchemy import make_url

from tests.support.servers import in_words

DEFAULTS: dict[str, Mapping[str, str]] = {
    "all there is": {
        "datestyle": "SQL, DMY",
        "intervalstyle": "sql_standard",
        "timezone": "Asia/Kolkata",
        "default_transaction_isolation": "serializable",
        "default_transaction_deferrable": "on",
        "search_path": "nowhere, information_schema",
        "client_encoding": "LATIN1",
        "standard_conforming_strings": "off",
        "bytea_output": "escape",
        "extra_float_digits": "-15",
        "array_nulls": "off",
        "row_security": "off",
        "lc_messages": "C",
        "lock_timeout": "1ms",
        "statement_timeout": "5s",
        "idle_in_transaction_session_timeout": "1s",
    },
    "other styles": {
        "datestyle": "German",
        "intervalstyle": "iso_8601",
        "timezone": "America/St_Johns",
        "default_transaction_isolation": "repeatable read",
    },
    "old styles": {"datestyle": "Postgres, DMY", "intervalstyle": "postgres_verbose", "timezone": "Pacific/Apia"},
}


@contextmanager
def defaults(url: str, settings: Mapping[str, str]) -> Iterator[None]:
    """Applies to connections that are opened within the block."""
    parsed = make_url(url)
    alter = sql.SQL("ALTER DATABASE {}").format(sql.Identifier(parsed.database or ""))
    with psycopg.connect(in_words(parsed), autocommit=True) as administrator:
        try:
            for name, value in settings.items():
                setting = sql.SQL(" SET {} = {}").format(sql.Identifier(name), _value(name, value))
                administrator.execute(alter + setting)
            yield
        finally:
            administrator.execute(alter + sql.SQL(" RESET ALL"))


def _value(name: str, value: str) -> sql.Composable:
    """A search path is a list of names; every other value is one text."""
    parts = value.split(", ") if name == "search_path" else [value]
    return sql.SQL(", ").join(sql.Literal(part) for part in parts)
