"""
Parses the relays in ``NOTIFY_SMTP_URL`` and ``NOTIFY_SMTP_FALLBACK_URLS``.

Decided: everything about a relay is in its URL (``?starttls=``, ``?sessions=``, ``?per_second=``, ``?ca=``, the source
of access tokens), so that a second relay needs no second set of variables. A client secret is in a file, whose path is
in the URL.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from pathlib import Path
from re import compile as pattern
from shlex import split
from typing import NoReturn, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from notify.channels.email.smtp.oauth import ClientCredentials, TokenCommand, TokenSource
from notify.dns_names import NotADomain, ascii_domain, is_full_name
from notify.domain.errors import InvalidSettings
from notify.domain.rates import MAX_PER_SECOND

SETTING = "NOTIFY_SMTP_URL"
FALLBACKS = "NOTIFY_SMTP_FALLBACK_URLS"
EXPECTED = (
    "expected smtp://user:password@host:587 or smtps://host, with ?starttls=required|never&sessions=8&per_second=10"
    "&ca=FILE; for tokens instead of a password smtp://user@host with"
    " ?token_url=URL&client_id=ID&client_secret_file=FILE&scope=SCOPE or ?token_command=WORDS"
)
OAUTH_OPTIONS = ("token_url", "client_id", "client_secret_file", "scope", "token_command")
OPTIONS = ("starttls", "sessions", "fleet_sessions", "per_second", "ca", *OAUTH_OPTIONS)
MAX_SESSIONS = 256
MAX_FLEET_SESSIONS = 65_536
MAX_DIGITS = 10
UNREADABLE = "its host or port cannot be read (percent-encode / ? # @ : in the password)"
NUMBER = pattern(r"[0-9]+(\.[0-9]+)?")


class Encryption(StrEnum):
    """How the connection is encrypted."""

    IMPLICIT_TLS = "implicit"
    STARTTLS = "required"
    PLAIN = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """
    An SMTP server that emails are sent to.

    Args:
        host: Without a final dot.
        username: With a *password* or *tokens*; never with ``Encryption.PLAIN``.
        sessions: Maximum for one worker process; None: the default.
        fleet_sessions: Maximum for all workers together; None: unlimited.
        per_second: Maximum number of emails per second from all workers; None: unlimited.
        is_rooted: The URL's host has a final dot, so no search domain is tried.
        ca: File with the trusted authorities; None: the system's.
        tokens: Where access tokens come from.
        ehlo_name: Our name; None: our address.
    """

    host: str
    port: int
    encryption: Encryption
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    sessions: int | None = None
    fleet_sessions: int | None = None
    per_second: float | None = None
    is_rooted: bool = False
    ca: Path | None = None
    tokens: TokenSource | None = None
    ehlo_name: str | None = None

    @classmethod
    def from_url(cls, url: str, *, setting: str = SETTING) -> Self:
        """
        The relay for a URL. Defaults: port 587 with STARTTLS, or 465 for ``smtps``; no TLS on loopback.

        Args:
            setting: The URL's setting, for the message.

        Raises:
            InvalidSettings: The URL is invalid or would expose a password; the message never contains it.
        """
        try:
            return cls._read(url)
        except _InvalidUrl as problem:
            raise InvalidSettings(f"{setting} is (not shown): {problem}; {EXPECTED}") from None

    @classmethod
    def _read(cls, url: str) -> Self:
        parts = _split(url)
        host = _host(parts)
        options = _options(parts)
        encryption = _encryption(parts.scheme, host, options.get("starttls"))
        tokens = _tokens(options)
        username, password = _credentials(parts, tokens)
        if username is not None and encryption is Encryption.PLAIN:
            _refuse("it has a user, but notify logs in only over TLS; add ?starttls=required")
        if "ca" in options and encryption is Encryption.PLAIN:
            _refuse("it has ca, which needs TLS; add ?starttls=required")
        return cls(
            host=host,
            port=parts.port or (465 if encryption is Encryption.IMPLICIT_TLS else 587),
            encryption=encryption,
            username=username,
            password=password,
            sessions=_sessions(options, "sessions", most=MAX_SESSIONS),
            fleet_sessions=_sessions(options, "fleet_sessions", most=MAX_FLEET_SESSIONS),
            per_second=_per_second(options.get("per_second")),
            ca=_file(options, "ca"),
            tokens=tokens,
            is_rooted=(parts.hostname or "").endswith(".") and is_full_name(host),
        )

    @property
    def name(self) -> str:
        """The relay without credentials: ``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def lookup(self) -> str:
        """The name to look up in DNS."""
        return f"{self.host}." if self.is_rooted else self.host


def parse_relays(first: str, fallbacks: str) -> tuple[Relay, ...]:
    """
    The relays by priority: the first, then the space-separated *fallbacks*.

    Raises:
        InvalidSettings: A URL is invalid, or two are for the same relay.
    """
    relays = [Relay.from_url(first)]
    for number, url in enumerate(fallbacks.split(), start=1):
        relay = Relay.from_url(url, setting=f"{FALLBACKS}, URL {number},")
        if relay.name in (one.name for one in relays):
            raise InvalidSettings(f"{FALLBACKS} names {relay.name}, which is already named; expected each relay once")
        relays.append(relay)
    return tuple(relays)


def is_loopback(host: str) -> bool:
    """Whether this host is this machine."""
    name = host.removesuffix(".")
    if name == "localhost":
        return True
    try:
        return ip_address(name).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        readable = bool(parts.hostname) and parts.port != 0
    except ValueError:
        readable = False
    if not readable:
        _refuse(UNREADABLE)
    if parts.scheme not in {"smtp", "smtps"}:
        _refuse("its scheme is neither smtp nor smtps")
    if parts.path not in {"", "/"} or parts.fragment:
        _refuse("something follows the host (percent-encode / ? # @ : in the password)")
    return parts


def _host(parts: SplitResult) -> str:
    """The host in ASCII, without a final dot; an ASCII name may be anything resolvable, such as ``mail_catcher``."""
    host = (parts.hostname or "").removesuffix(".")
    try:
        encoded = host.encode("idna").decode("ascii") if host.isascii() else ascii_domain(host)
    except UnicodeError:
        encoded = ""
    except NotADomain:
        _refuse("its host is not a valid domain (IDNA 2008)")
    return encoded or _refuse(UNREADABLE)


def _options(parts: SplitResult) -> dict[str, str]:
    pairs = parse_qsl(parts.query, keep_blank_values=True)
    options = dict(pairs)
    if options.keys() - OPTIONS:
        _refuse(f"it has a parameter other than {', '.join(OPTIONS)}")
    if len(options) < len(pairs):
        _refuse("it has a parameter twice")
    return options


def _encryption(scheme: str, host: str, starttls: str | None) -> Encryption:
    if scheme == "smtps":
        if starttls is not None:
            _refuse("smtps always uses TLS and has no starttls")
        return Encryption.IMPLICIT_TLS
    if starttls is None:
        return Encryption.PLAIN if is_loopback(host) else Encryption.STARTTLS
    if starttls not in {Encryption.STARTTLS, Encryption.PLAIN}:
        _refuse("its starttls is neither required nor never")
    return Encryption(starttls)


def _sessions(options: Mapping[str, str], name: str, *, most: int) -> int | None:
    stated = options.get(name)
    if stated is None:
        return None
    if not (stated.isascii() and stated.isdigit() and len(stated) <= MAX_DIGITS) or not 1 <= int(stated) <= most:
        _refuse(f"its {name} is not a number from 1 to {most}")
    return int(stated)


def _per_second(stated: str | None) -> float | None:
    if stated is None:
        return None
    number = float(stated) if NUMBER.fullmatch(stated) else 0.0
    if not 0 < number <= MAX_PER_SECOND:
        _refuse(f"its per_second is not a number above 0 and up to {MAX_PER_SECOND:g}")
    return number


def _credentials(parts: SplitResult, tokens: TokenSource | None) -> tuple[str | None, str | None]:
    if tokens is not None:
        if not parts.username or parts.password:
            _refuse("with a source of tokens, expected a user and no password")
        return unquote(parts.username), None
    if parts.username is None and parts.password is None:
        return None, None
    if not parts.username or not parts.password:
        _refuse("it has a user without a password, or the reverse")
    return unquote(parts.username), unquote(parts.password)


def _tokens(options: Mapping[str, str]) -> TokenSource | None:
    given = {name: options[name] for name in OAUTH_OPTIONS if name in options}
    if not given:
        return None
    if "token_command" in given:
        if len(given) > 1:
            _refuse(
                f"it has token_command and {', '.join(given.keys() - {'token_command'})}; expected one source of tokens"
            )
        return TokenCommand(_words(given["token_command"]))
    missing = [name for name in ("token_url", "client_id", "client_secret_file") if not given.get(name)]
    if missing:
        _refuse(f"it has {', '.join(given)} and lacks {', '.join(missing)}")
    return ClientCredentials(
        token_url=_token_url(given["token_url"]),
        client_id=given["client_id"],
        client_secret_file=Path(given["client_secret_file"]),
        scope=given.get("scope") or None,
    )


def _words(command: str) -> tuple[str, ...]:
    try:
        words = tuple(split(command))
    except ValueError:
        words = ()
    return words or _refuse("its token_command is not a command (in a URL, + is a space and %2B a plus)")


def _token_url(stated: str) -> str:
    """Source: RFC 6749 §3.2: requests to a token endpoint require TLS."""
    try:
        parts = urlsplit(stated)
        secure = parts.scheme == "https" or (parts.scheme == "http" and is_loopback(parts.hostname or ""))
        usable = secure and bool(parts.hostname) and stated.isascii() and stated.isprintable() and parts.port != 0
    except ValueError:
        usable = False
    return stated if usable else _refuse("its token_url is neither https://… nor http://… on this machine")


def _file(options: Mapping[str, str], name: str) -> Path | None:
    if name not in options:
        return None
    return Path(options[name]) if options[name] else _refuse(f"its {name} names no file")


class _InvalidUrl(Exception):
    """The message contains no secret."""


def _refuse(problem: str) -> NoReturn:
    raise _InvalidUrl(problem)
