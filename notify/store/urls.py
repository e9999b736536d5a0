"""Database URLs in any spelling that SQLAlchemy or libpq accepts."""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any, NoReturn
from urllib.parse import unquote

import psycopg
from psycopg.conninfo import make_conninfo
from sqlalchemy import URL, make_url
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.exc import ArgumentError

from notify.domain.errors import NotifyError

DRIVER = "postgresql+psycopg"
EXPECTED = "expected postgresql://user:password@host:port/database"
SCHEMES = frozenset({"postgres", "postgresql"})
HIGHEST_PORT = 65535
# libpq checks these only when it connects.
# Source: PostgreSQL's documentation, "Parameter Key Words".
CHOICES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
        "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
        "load_balance_hosts": frozenset({"disable", "random"}),
    }
)

_AUTHORITY = re.compile(r"(?P<user>(?:[^:/@?]*(?::[^@]*)?@)?)(?P<hosts>[^/?]*)(?P<rest>.*)", re.DOTALL)
_HOST = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>\d*))?")


class UnusableUrl(NotifyError, ValueError):
    """The database URL is invalid."""

    def __init__(self, why: str) -> None:
        """
        Args:
            why: Must not quote a part of the URL that may contain the password.
        """
        super().__init__()
        self.why = why

    def __str__(self) -> str:
        return self.why


def with_our_driver(url: str) -> URL:
    """
    The URL for SQLAlchemy, with psycopg as its driver.

    Raises:
        UnusableUrl: It is not a valid PostgreSQL URL.
    """
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in SCHEMES or not rest:
        _refuse(EXPECTED)
    try:
        made = _with_hosts(rest)
        _, options = PGDialect_psycopg().create_connect_args(made)  # type: ignore[no-untyped-call]
    except (ArgumentError, ValueError):
        raise UnusableUrl(EXPECTED) from None
    _check(options)
    return made


def _with_hosts(rest: str) -> URL:
    """Move hosts that SQLAlchemy cannot parse into the query, as ``host`` and ``port``."""
    parts = _AUTHORITY.fullmatch(rest)
    if parts is None or not set(parts["hosts"]) & set(",%"):
        return _joined(make_url(f"{DRIVER}://{rest}"))
    found = [_HOST.fullmatch(one) for one in parts["hosts"].split(",")]
    hosts_and_ports = [(one["v6"] or unquote(one["host"] or ""), one["port"] or "") for one in found if one]
    if len(hosts_and_ports) < len(found):
        _refuse(EXPECTED)
    hosts, ports = (",".join(column) for column in zip(*hosts_and_ports, strict=True))
    query = {"host": hosts, **({"port": ports} if ports.strip(",") else {})}
    return make_url(f"{DRIVER}://{parts['user']}{parts['rest']}").update_query_dict(query)


def _joined(url: URL) -> URL:
    """Join repeated hosts and ports into one list each, as libpq expects."""
    if "port" not in url.query:
        return url
    lists = {name: value for name in ("host", "port") if isinstance(value := url.query.get(name), tuple)}
    return url.update_query_dict({name: ",".join(value) for name, value in lists.items()})


def _check(options: Mapping[str, Any]) -> None:
    try:
        make_conninfo("", **options)
    except psycopg.ProgrammingError as error:
        raise UnusableUrl(f"{EXPECTED}; {error}".strip()) from None
    for port in str(options.get("port") or "").split(","):
        if port and not 0 < int(port) <= HIGHEST_PORT:
            _refuse(f"{EXPECTED}; found the port {port}")
    for name, known in CHOICES.items():
        _check_choice(name, options.get(name), sorted(known))


def _check_choice(name: str, value: object, known: Sequence[str]) -> None:
    if value is not None and value not in known:
        _refuse(f"expected {name}= to be one of {', '.join(known)}")


def _refuse(why: str) -> NoReturn:
    raise UnusableUrl(why)
