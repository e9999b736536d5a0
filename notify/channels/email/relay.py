"""Where letters are handed over, and how the way there is guarded: ``NOTIFY_SMTP_URL``, read once."""

from base64 import b64encode
from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import ip_address
from typing import NoReturn, Self
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from notify.domain.errors import InvalidSettings

EXPECTED = "expected smtp://user:password@host:587 or smtps://host, with ?starttls=required|never"


class Guard(StrEnum):
    """How the conversation is kept from being read."""

    IMPLICIT_TLS = "implicit"
    STARTTLS = "required"
    PLAIN = "never"


@dataclass(frozen=True, slots=True, kw_only=True)
class Relay:
    """
    The SMTP server that letters are handed to.

    ``username`` and ``password`` are both given or both None, and never with ``Guard.PLAIN``.
    """

    host: str
    port: int
    guard: Guard
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def from_url(cls, url: str) -> Self:
        """
        The relay that a URL names. Port 587 with STARTTLS, or 465 for ``smtps``, unless it says otherwise.

        STARTTLS is required except towards loopback, where the default is to do without.

        Raises:
            InvalidSettings: The URL makes no sense or would show a password to the network; its
                own password is never part of the message.
        """
        parts = _split(url)
        host = parts.hostname or ""
        guard = _guard(parts, host)
        username, password = _credentials(parts)
        if username is not None and guard is Guard.PLAIN:
            _refuse("it holds a password, which is never sent without TLS; add ?starttls=required")
        port = parts.port or (465 if guard is Guard.IMPLICIT_TLS else 587)
        return cls(host=host, port=port, guard=guard, username=username, password=password)

    @property
    def name(self) -> str:
        """The relay without credentials: ``host:port``."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @property
    def secrets(self) -> tuple[str, ...]:
        """Every form in which the password crosses the wire; none of them may be stored or logged."""
        if self.username is None or self.password is None:
            return ()
        plain = f"\0{self.username}\0{self.password}"
        return (self.password, _base64(self.password), _base64(plain))


def is_loopback(host: str) -> bool:
    """Whether what is said to this host stays on this machine."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """The parts of the URL, after refusing what no relay's URL has."""
    try:
        parts = urlsplit(url)
        nameable = bool((parts.hostname or "").encode("idna")) and parts.port != 0
    except ValueError:
        nameable = False
    if not nameable:
        _refuse("its host or port cannot be read (percent-encode / ? # @ : in the password)")
    if parts.scheme not in {"smtp", "smtps"}:
        _refuse("its scheme is neither smtp nor smtps")
    if parts.path not in {"", "/"} or parts.fragment:
        _refuse("something follows the host (percent-encode / ? # @ : in the password)")
    return parts


def _guard(parts: SplitResult, host: str) -> Guard:
    options = parse_qsl(parts.query, keep_blank_values=True)
    if {name for name, _ in options} - {"starttls"}:
        _refuse("it has a parameter other than starttls")
    if parts.scheme == "smtps":
        if options:
            _refuse("smtps is TLS from the first byte and takes no starttls")
        return Guard.IMPLICIT_TLS
    default = Guard.PLAIN if is_loopback(host) else Guard.STARTTLS
    wanted = dict(options).get("starttls", default.value)
    if wanted not in {Guard.STARTTLS, Guard.PLAIN}:
        _refuse("its starttls is neither required nor never")
    return Guard(wanted)


def _credentials(parts: SplitResult) -> tuple[str, str] | tuple[None, None]:
    if parts.username is None and parts.password is None:
        return None, None
    if not parts.username or not parts.password:
        _refuse("it holds a user without a password, or the reverse")
    return unquote(parts.username), unquote(parts.password)


def _base64(text: str) -> str:
    return b64encode(text.encode()).decode("ascii")


def _refuse(problem: str) -> NoReturn:
    raise InvalidSettings(f"NOTIFY_SMTP_URL is (not shown): {problem}; {EXPECTED}")
