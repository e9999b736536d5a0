"""A database's URL in any spelling that SQLAlchemy or libpq takes."""

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
# libpq looks at these only when it connects.
# Source: PostgreSQL's documentation, "Parameter Key Words".
CHOICES: Mapping[str, frozenset[str]] = MappingProxyType(
    {
        "sslmode": frozenset({"disable", "allow", "prefer", "require", "verify-ca", "verify-full"}),
        "target_session_attrs": frozenset({"any", "read-write", "read-only", "primary", "standby", "prefer-standby"}),
        "load_balance_hosts": frozenset({"disable", "random"}),
    }
)

_AUTHORITY = re.compile(r"(?P<user>(?:[^:/@?]*(?::[^@]*)?@)?)(?P<places>[^/?]*)(?P<rest>.*)", re.DOTALL)
_PLACE = re.compile(r"(?:\[(?P<v6>[^\]]*)\]|(?P<host>[^:]*))(?::(?P<port>\d*))?")


class UnusableUrl(NotifyError, ValueError):
    """The URL of the database makes no sense."""

    def __init__(self, why: str) -> None:
        """
        Args:
            why: Never a part that may hold the password.
        """
        super().__init__()
        self.why = why

    def __str__(self) -> str:
        return self.why


def with_our_driver(url: str) -> URL:
    """
    The URL as SQLAlchemy has it, with psycopg as its driver, whatever it says and however it names its hosts.

    Raises:
        UnusableUrl: It cannot lead to a database.
    """
    scheme, _, rest = url.partition("://")
    if scheme.partition("+")[0] not in SCHEMES or not rest:
        _refuse(EXPECTED)
    try:
        made = _with_places(rest)
        _, options = PGDialect_psycopg().create_connect_args(made)  # type: ignore[no-untyped-call]
    except (ArgumentError, ValueError):
        raise UnusableUrl(EXPECTED) from None
    _check(options)
    return made


def _with_places(rest: str) -> URL:
    """Hosts as the query's ``host`` and ``port`` where SQLAlchemy does not take them as they stand."""
    parts = _AUTHORITY.fullmatch(rest)
    if parts is None or not set(parts["places"]) & set(",%"):
        return _joined(make_url(f"{DRIVER}://{rest}"))
    found = [_PLACE.fullmatch(one) for one in parts["places"].split(",")]
    places = [(one["v6"] or unquote(one["host"] or ""), one["port"] or "") for one in found if one]
    if len(places) < len(found):
        _refuse(EXPECTED)
    hosts, ports = (",".join(column) for column in zip(*places, strict=True))
    query = {"host": hosts, **({"port": ports} if ports.strip(",") else {})}
    return make_url(f"{DRIVER}://{parts['user']}{parts['rest']}").update_query_dict(query)


def _joined(url: URL) -> URL:
    """Repeated hosts beside ports are one list of each, which is how libpq has them."""
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
