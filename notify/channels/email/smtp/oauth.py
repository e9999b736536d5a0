"""
Access tokens for a relay that takes no password: asked for when one is needed, kept until shortly before they end.

*Decided*: one exchange at a time for each relay and process; whoever asks meanwhile shares its result. A token
endpoint that is down counts against the relay, one that refuses against the configuration: no email is charged.
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

LONGEST_EXCHANGE = timedelta(seconds=10)
LONGEST_ANSWER = 65_536
# How long a token is kept that does not say when it ends.
USUAL_LIFE = timedelta(minutes=5)
# A token is renewed this long before it ends, or when a fifth of its life is left.
RENEWAL_MARGIN = timedelta(minutes=5)
RENEWAL_FRACTION = 5
TOKEN = pattern(r"[!-~]{1,16384}")
# Source: RFC 6749 §4.1.2.1; Entra ID says so with a 400 too.
PASSING = frozenset({"temporarily_unavailable", "server_error"})
BUSY = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_MANY_REQUESTS})


class NoToken(NotifyError):
    """No access token was given."""

    def __init__(self, words: str, *, passing: bool) -> None:
        super().__init__(words=words)
        self.words, self.passing = words, passing


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientCredentials:
    """What a token endpoint asks of a program (RFC 6749 §4.4). The secret is read from its file each time."""

    token_url: str
    client_id: str
    client_secret_file: Path
    scope: str | None = None

    @property
    def name(self) -> str:
        return str(urlsplit(self.token_url).hostname)


@dataclass(frozen=True, slots=True)
class TokenCommand:
    """A program that prints a token, and its arguments."""

    words: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"the command {self.words[0]}"


TokenSource = ClientCredentials | TokenCommand


@dataclass(frozen=True, slots=True)
class _Token:
    """Instants are in the seconds of our clock."""

    text: str = field(repr=False)
    renew_at: float
    ends_at: float


class AccessTokens:
    """
    The tokens of one relay. Lives in one event loop.

    Args:
        patience: How long one exchange may take.
        clock: Monotonic seconds.
    """

    def __init__(
        self, source: TokenSource, *, patience: timedelta = LONGEST_EXCHANGE, clock: Callable[[], float] = monotonic
    ) -> None:
        self._source = source
        self._patience = min(patience, LONGEST_EXCHANGE)
        self._clock = clock
        self._kept: _Token | None = None
        self._latest: _Token | Released | None = None
        self._exchange = asyncio.Lock()

    async def current(self, *, refused: str | None = None) -> str | Released:
        """
        A token, or why there is none.

        Args:
            refused: A token that the relay has just refused; it is not given again while there is another.
        """
        kept = self._kept if self._kept and self._kept.text != refused else None
        if kept and self._clock() < kept.renew_at:
            return kept.text
        found = await self._exchanged()
        if isinstance(found, _Token):
            return found.text
        return kept.text if kept and self._clock() < kept.ends_at else found

    async def _exchanged(self) -> _Token | Released:
        """The result of an exchange that ends after this call."""
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
                    life = USUAL_LIFE
        except NoToken as refusal:
            if refusal.passing:
                return replies.unreachable(Phase.AUTH, reason="token_unavailable", text=refusal.words)
            return replies.misconfigured(Phase.AUTH, reason="token_refused", text=refusal.words)
        except TimeoutError:
            words = f"{self._source.name} gave no answer within {self._patience.total_seconds():g} s"
            return replies.unreachable(Phase.AUTH, reason="token_unavailable", text=words)
        seconds = life.total_seconds()
        margin = min(RENEWAL_MARGIN.total_seconds(), seconds / RENEWAL_FRACTION)
        return _Token(text, renew_at=asked_at + seconds - margin, ends_at=asked_at + seconds)


def obstacle(source: TokenSource) -> str | None:
    """Why this can never give a token: no secret that can be read, no such program. None: it may."""
    if isinstance(source, TokenCommand):
        return None if which(source.words[0]) else f"token_command={source.words[0]!r}: no such program"
    try:
        _secret(source.client_secret_file)
    except NoToken as refusal:
        return refusal.words
    return None


async def _granted(source: ClientCredentials) -> tuple[str, timedelta]:
    """Source: RFC 6749 §§4.4, 5; the secret in the body, as Entra ID, Okta and Keycloak take it."""
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
        words = f"{source.name} answered {status} (its words are not kept: they repeated the secret)"
    passing = status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in BUSY or str(answer.get("error")) in PASSING
    raise NoToken(words, passing=passing)


async def _posted(url: str, form: dict[str, str]) -> tuple[int, bytes]:
    """
    The status, and as much of the body as an answer may have. Follows no redirect: the secret goes nowhere else.

    Raises:
        NoToken: Nothing answered, or not in HTTP.
    """
    client = await asyncio.to_thread(_client, url)
    from httpx import HTTPError  # noqa: PLC0415 - loaded above, in the thread

    body = b""
    try:
        async with client, client.stream("POST", url, data=form) as response:
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > LONGEST_ANSWER:
                    break
            return response.status_code, body
    except HTTPError as error:
        raise _unanswered(url, error) from None


def _client(url: str) -> "AsyncClient":
    # Here and not above: 18 MB and a tenth of a second, in a thread, for the processes that ask for tokens only.
    from httpx import AsyncClient  # noqa: PLC0415

    return AsyncClient(
        verify=ssl.create_default_context(),
        trust_env=url.startswith("https:"),  # plain HTTP stays on this machine and passes no proxy
        timeout=None,  # noqa: S113 - the whole exchange has a limit
        headers={"Accept": "application/json", "User-Agent": "notify"},
    )


def _unanswered(url: str, error: BaseException) -> NoToken:
    host, cause, words = urlsplit(url).hostname, error, type(error).__name__
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
        if isinstance(cause, ssl.SSLCertVerificationError):
            return NoToken(f"the certificate of {host} does not hold: {cause.verify_message}", passing=False)
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
    return NoToken(f"{host} does not answer: {words}", passing=True)


def _json_object(body: bytes) -> dict[str, Any]:
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _life(seconds: object) -> timedelta:
    """Source: RFC 6749 §5.1: a number, and not always there; Entra ID's older endpoint writes it as text."""
    try:
        return timedelta(seconds=max(0.0, float(str(seconds))))
    except (ValueError, OverflowError):
        return USUAL_LIFE


def _secret(file: Path) -> str:
    try:
        secret = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        words = getattr(error, "strerror", None) or "no text"
        raise NoToken(f"client_secret_file={str(file)!r}: {words}", passing=False) from None
    if not secret:
        raise NoToken(f"client_secret_file={str(file)!r}: the file is empty", passing=False)
    return secret


def _printed(source: TokenCommand, patience: float) -> str:
    """
    The one word that the program prints; its standard error is ours.

    Raises:
        NoToken: It failed, or printed something else.
        TimeoutError: It took too long, and was killed with all that it had started.
    """
    name = source.name
    try:
        process = Popen(source.words, stdin=DEVNULL, stdout=PIPE, start_new_session=True)  # noqa: S603 - the operator's
    except OSError as error:
        raise NoToken(f"{name} could not be started: {error.strerror}", passing=False) from None
    overdue = Event()
    timer = Timer(patience, _end, [process, overdue])
    timer.start()
    with process:
        said = cast("IO[bytes]", process.stdout).read(LONGEST_ANSWER)
        if len(said) == LONGEST_ANSWER:
            _end(process, Event())
    timer.cancel()
    if overdue.is_set():
        raise TimeoutError
    token = said.decode("ascii", errors="replace").strip()
    if process.returncode and len(said) < LONGEST_ANSWER:
        raise NoToken(f"{name} failed with exit code {process.returncode}", passing=False)
    if not TOKEN.fullmatch(token):
        raise NoToken(f"{name} printed {'no token' if token else 'nothing'}; expected one word", passing=False)
    return token


def _end(process: Popen[bytes], ended: Event) -> None:
    ended.set()
    with suppress(ProcessLookupError):
        killpg(process.pid, SIGKILL)
