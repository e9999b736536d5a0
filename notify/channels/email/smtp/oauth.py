"""
Access tokens for a relay without passwords: fetched when needed, cached until shortly before they expire.

*Decided*: one exchange at a time per relay and process; concurrent callers share its result. A token endpoint that is
down counts as a relay failure, one that refuses as a configuration error; neither counts against an email.
"""

import asyncio
import json
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from http import HTTPStatus
from os import killpg
from pathlib import Path
from re import compile as pattern
from shutil import which
from signal import SIGKILL
from subprocess import DEVNULL, PIPE, Popen
from threading import Event, Timer
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, cast
from urllib.parse import urlsplit

from notify.channels.email.smtp import replies
from notify.domain.errors import NotifyError
from notify.domain.outcomes import Phase, Released

if TYPE_CHECKING:
    from httpx import AsyncClient

EXCHANGE_TIMEOUT = timedelta(seconds=10)
MAX_ANSWER_BYTES = 65_536
# Lifetime of a token that does not say when it expires.
DEFAULT_LIFETIME = timedelta(minutes=5)
# A token is renewed this long before it expires, or when a fifth of its lifetime is left.
RENEWAL_MARGIN = timedelta(minutes=5)
RENEWAL_FRACTION = 5
TOKEN = pattern(r"[!-~]{1,16384}")
# Source: RFC 6749 §4.1.2.1; Entra ID says so with a 400 too.
TEMPORARY_ERRORS = frozenset({"temporarily_unavailable", "server_error"})
TEMPORARY_STATUSES = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class NoToken(NotifyError):
    """No access token could be obtained."""

    def __init__(self, words: str, *, temporary: bool) -> None:
        super().__init__(words=words)
        self.words, self.temporary = words, temporary


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """Credentials for a token endpoint (RFC 6749 §4.4). The secret is read from its file each time."""

    token_url: str
    client_id: str
    client_secret_file: Path
    scope: str | None = None

    @property
    def name(self) -> str:
        return str(urlsplit(self.token_url).hostname)


@dataclass(frozen=True, slots=True)
class TokenCommand:
    """A program that prints a token, with its arguments."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"the command {self.words[0]}"


TokenSource = ClientCredentials | TokenCommand


@dataclass(frozen=True, slots=True)
class _Token:
    """Instants are in seconds of the clock of ``AccessTokens``."""

    text: str = field(repr=False)
    renew_at: float
    ends_at: float


class AccessTokens:
    """
    The tokens of one relay. Belongs to one event loop.

    Args:
        patience: How long one exchange may take.
        clock: Monotonic seconds.
    """

    def __init__(
        self, source: TokenSource, *, patience: timedelta = EXCHANGE_TIMEOUT, clock: Callable[[], float] = monotonic
    ) -> None:
        self._source = source
        self._patience = min(patience, EXCHANGE_TIMEOUT)
        self._clock = clock
        self._kept: _Token | None = None
        self._latest: _Token | Released | None = None
        self._exchange = asyncio.Lock()

    async def current(self, *, refused: str | None = None) -> str | Released:
        """
        A token, or why there is none.

        Args:
            refused: A token that the relay just refused; another is returned if possible.
        """
        kept = self._kept if self._kept and self._kept.text != refused else None
        if kept and self._clock() < kept.renew_at:
            return kept.text
        found = await self._exchanged()
        if isinstance(found, _Token):
            return found.text
        return kept.text if kept and self._clock() < kept.ends_at else found

    async def _exchanged(self) -> _Token | Released:
        """The result of the current exchange or of a new one."""
        before = self._latest
        async with self._exchange:
            if self._latest is not None and self._latest is not before:
                return self._latest
            found = self._latest = await self._fetched()
            if isinstance(found, _Token):
                self._kept = found
            return found

    async def _fetched(self) -> _Token | Released:
        asked_at = self._clock()
        try:
            async with asyncio.timeout(self._patience.total_seconds()):
                if isinstance(self._source, ClientCredentials):
                    text, life = await _granted(self._source)
                else:
                    text = await asyncio.to_thread(_printed, self._source, self._patience.total_seconds())
                    life = DEFAULT_LIFETIME
        except NoToken as refusal:
            if refusal.temporary:
                return replies.unreachable(Phase.AUTH, reason="token_unavailable", text=refusal.words)
            return replies.misconfigured(Phase.AUTH, reason="token_refused", text=refusal.words)
        except TimeoutError:
            words = f"{self._source.name} did not answer within {self._patience.total_seconds():g} s"
            return replies.unreachable(Phase.AUTH, reason="token_unavailable", text=words)
        seconds = life.total_seconds()
        margin = min(RENEWAL_MARGIN.total_seconds(), seconds / RENEWAL_FRACTION)
        return _Token(text, renew_at=asked_at + seconds - margin, ends_at=asked_at + seconds)


def obstacle(source: TokenSource) -> str | None:
    """Why this source can never return a token: unreadable secret or unknown program. None: it can."""
    if isinstance(source, TokenCommand):
        return None if which(source.words[0]) else f"token_command={source.words[0]!r}: no such program"
    try:
        _secret(source.client_secret_file)
    except NoToken as refusal:
        return refusal.words
    return None


async def _granted(source: ClientCredentials) -> tuple[str, timedelta]:
    """Source: RFC 6749 §§4.4, 5; the secret is in the body, which Entra ID, Okta and Keycloak accept."""
    secret = _secret(source.client_secret_file)
    form = {"grant_type": "client_credentials", "client_id": source.client_id, "client_secret": secret}
    form |= {"scope": source.scope} if source.scope else {}
    status, body = await _posted(source.token_url, form)
    answer = _json_object(body)
    token = answer.get("access_token")
    if status == HTTPStatus.OK and isinstance(token, str) and TOKEN.fullmatch(token):
        return token, _life(answer.get("expires_in"))
    said = " ".join(str(answer[name]) for name in ("error", "error_description") if name in answer)
    words = f"{source.name} answered {status} {said or 'without a token or a reason'}"
    if secret in words:
        words = f"{source.name} answered {status} (text not kept, because it repeats the secret)"
    temporary = (
        status >= HTTPStatus.INTERNAL_SERVER_ERROR
        or status in TEMPORARY_STATUSES
        or str(answer.get("error")) in TEMPORARY_ERRORS
    )
    raise NoToken(words, temporary=temporary)


async def _posted(url: str, form: dict[str, str]) -> tuple[int, bytes]:
    """
    The status and the body, up to ``MAX_ANSWER_BYTES``. Follows no redirect, so that the secret goes nowhere else.

    Raises:
        NoToken: There was no HTTP answer.
    """
    client = await asyncio.to_thread(_client, url)
    from httpx import HTTPError  # noqa: PLC0415 - loaded above, in the thread

    body = b""
    try:
        async with client, client.stream("POST", url, data=form) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > MAX_ANSWER_BYTES:
                    break
            return response.status_code, body
    except HTTPError as error:
        raise _unanswered(url, error) from None


def _client(url: str) -> "AsyncClient":
    # Imported here, in a thread, because it takes 18 MB and 0.1 s, and only processes that fetch tokens need it.
    from httpx import AsyncClient  # noqa: PLC0415

    return AsyncClient(
        verify=ssl.create_default_context(),
        trust_env=url.startswith("https:"),  # plain HTTP is for this machine only and must not use a proxy
        timeout=None,  # noqa: S113 - the whole exchange has a limit
        headers={"Accept": "application/json", "User-Agent": "notify"},
    )


def _unanswered(url: str, error: BaseException) -> NoToken:
    host, cause, words = urlsplit(url).hostname, error, type(error).__name__
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NoToken(f"the certificate of {host} is not valid: {cause.verify_message}", temporary=False)
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
    return NoToken(f"{host} does not answer: {words}", temporary=True)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _life(seconds: object) -> timedelta:
    """Source: RFC 6749 §5.1: an optional number; Entra ID's older endpoint returns it as text."""
    try:
        return timedelta(seconds=max(0.0, float(str(seconds))))
    except (ValueError, OverflowError):
        return DEFAULT_LIFETIME


def _secret(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "no text"
        raise NoToken(f"client_secret_file={str(file)!r}: {words}", temporary=False) from None
    if not secret:
        raise NoToken(f"client_secret_file={str(file)!r}: the file is empty", temporary=False)
    return secret


def _printed(source: TokenCommand, patience: float) -> str:
    """
    The single word that the program prints; it inherits standard error.

    Raises:
        NoToken: It failed, or printed something else.
        TimeoutError: It took too long and was killed with its children.
    """
    name = source.name
    try:
        process = Popen(source.words, stdin=DEVNULL, stdout=PIPE, start_new_session=True)  # noqa: S603 - the operator's
    except OSError as error:
        raise NoToken(f"{name} could not be started: {error.strerror}", temporary=False) from None
    overdue = Event()
    timer = Timer(patience, _end, [process, overdue])
    timer.start()
    with process:
        said = cast("IO[bytes]", process.stdout).read(MAX_ANSWER_BYTES)
        if len(said) == MAX_ANSWER_BYTES:
            _end(process, Event())
    timer.cancel()
    if overdue.is_set():
        raise TimeoutError
    token = said.decode("ascii", errors="replace").strip()
    if process.returncode and len(said) < MAX_ANSWER_BYTES:
        raise NoToken(f"{name} failed with exit code {process.returncode}", temporary=False)
    if not TOKEN.fullmatch(token):
        raise NoToken(f"{name} printed {'no token' if token else 'nothing'}; expected one word", temporary=False)
    return token


def _end(process: Popen[bytes], ended: Event) -> None:
    ended.set()
    with suppress(ProcessLookupError):
        killpg(process.pid, SIGKILL)
