"""
One HTTP client for a forge: time-outs below a lease, redirects, and conditional requests.

*Decided*: calls are synchronous, since a stage's loop works on its items in threads. No call is repeated here
except with fresh credentials: waiting inside a call would run a lease out.
"""

import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial
from threading import Lock
from time import monotonic
from typing import Any, Protocol
from urllib.parse import quote, urljoin, urlsplit

import httpx

from notify.domain.forge_answers import (
    AnswerMeaning,
    Applied,
    CredentialsExpired,
    ForgeFault,
    Moved,
    Refused,
    Unavailable,
    Unchanged,
)
from notify.domain.forge_settings import ForgeKind, ForgeSettings
from notify.domain.http_times import http_date
from notify.forges import answers
from notify.forges.answers import Credential

# A lease lasts 60 s; connecting and the last wait for bytes come on top of these limits.
LONGEST_CALL_SECONDS = 30.0
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
LARGEST_ANSWER = 32 * 2**20
MOST_REDIRECTS = 3
MOST_CONNECTIONS = 10
HIDDEN = b"(not shown)"
GITHUB_HEADERS = {"Accept": "application/vnd.github+json", "X-GitHub-Api-Version": "2022-11-28"}
GITEA_HEADERS = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class Scope:
    """What a call is about: a repository, an installation or, with neither, the app itself."""

    repository: str | None = None
    installation: int | None = None


APP = Scope()


@dataclass(frozen=True, slots=True)
class Token:
    """The value of ``Authorization``, and the installation that it belongs to."""

    text: str = field(repr=False)
    credential: Credential
    installation: int | None = None

    @property
    def header(self) -> str:
        scheme = "token" if self.credential is Credential.FIXED else "Bearer"
        return f"{scheme} {self.text}"


class Credentials(Protocol):
    def token(self, scope: Scope) -> Token:
        """
        Raises:
            ForgeFault: There is no token for this scope, or none can be had now.
        """

    def drop(self, token: Token) -> None:
        """Forget the token, which the forge has refused; the next one is new."""

    def installation(self, scope: Scope) -> int | None:
        """
        The installation whose token is used for this scope; None: none.

        Raises:
            ForgeFault: There is none for this scope, or it cannot be looked up now.
        """


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """
    A complete answer. Header names are in lower case.

    Args:
        url: Where it came from, after redirects.
        installation: The one for which the call was made.
    """

    method: str
    url: str
    status: int
    headers: Mapping[str, str]
    body: bytes = field(repr=False)
    installation: int | None = None

    @property
    def etag(self) -> str | None:
        return self.headers.get("etag")


class Connection:
    """
    Makes calls, without credentials of its own. Connects at the first call; thread-safe.

    Args:
        seconds: Limit for a complete answer.
        silence_seconds: Limit between two pieces of an answer.

    Attributes:
        clock_ahead: How far the forge's clock is ahead of ours, by its last answer; None: unknown.
    """

    def __init__(
        self,
        settings: ForgeSettings,
        *,
        seconds: float = LONGEST_CALL_SECONDS,
        silence_seconds: float = SILENCE_SECONDS,
    ) -> None:
        self.forge, self.base = settings.name, settings.api_url
        self._headers = GITHUB_HEADERS if settings.kind is ForgeKind.GITHUB else GITEA_HEADERS
        self._seconds, self._silence_seconds = seconds, silence_seconds
        self._lock = Lock()
        self._client: httpx.Client | None = None
        self.clock_ahead: timedelta | None = None

    def call(
        self,
        method: str,
        path: str,
        *,
        token: Token,
        params: Mapping[str, str] | None = None,
        content: Mapping[str, Any] | None = None,
        etag: str | None = None,
        about_installation: bool = False,
    ) -> tuple[Reply, AnswerMeaning]:
        """
        The answer and its meaning. Redirects within the forge are followed with the same method.

        Args:
            path: Below the API's address, or a complete URL of this forge.

        Raises:
            ForgeFault: There was no answer.
        """
        url = self.base + path if path.startswith("/") else path
        headers = {"Authorization": token.header} | ({"If-None-Match": etag} if etag else {})
        for _ in range(MOST_REDIRECTS + 1):
            if not self._is_ours(url):
                raise self.fault(method, url, None, Refused(reason="unexpected", words="leads to another server"))
            request = self._opened().build_request(method, url, params=params, json=content, headers=headers)
            reply = self._sent(request, token.installation)
            meaning = answers.meaning(
                reply.status,
                reply.headers,
                reply.body.replace(token.text.encode(), HIDDEN),
                credential=token.credential,
                about_installation=about_installation,
                now=datetime.now(UTC),
            )
            if not isinstance(meaning, Moved):
                return reply, meaning
            url, params = urljoin(reply.url, meaning.location), None
        raise self.fault(method, url, None, Refused(reason="unexpected", words="too many redirects"))

    def fault(
        self, method: str, url: str, status: int | None, meaning: AnswerMeaning, *, installation: int | None = None
    ) -> ForgeFault:
        request = f"{method} {urlsplit(url).path}"
        return ForgeFault(forge=self.forge, request=request, status=status, meaning=meaning, installation=installation)

    def fault_of(self, reply: Reply, meaning: AnswerMeaning) -> ForgeFault:
        """The fault to raise for an answer that the caller cannot use."""
        return self.fault(reply.method, reply.url, reply.status, meaning, installation=reply.installation)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                secure = self.base.startswith("https:")
                self._client = httpx.Client(
                    # The machine's certificates take a while to load; plain HTTP does not need them.
                    verify=ssl.create_default_context() if secure else ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT),
                    headers=self._headers | {"User-Agent": "notify"},
                    timeout=httpx.Timeout(self._silence_seconds, connect=CONNECT_SECONDS, pool=CONNECT_SECONDS),
                    limits=httpx.Limits(max_connections=MOST_CONNECTIONS),
                    trust_env=secure,  # plain HTTP stays in this network, so no proxy is used
                )
            return self._client

    def _sent(self, request: httpx.Request, installation: int | None) -> Reply:
        fault = partial(self.fault, request.method, str(request.url), installation=installation)
        began, asked_at = monotonic(), datetime.now(UTC)
        body = bytearray()
        try:
            response = self._opened().send(request, stream=True)
            self._compare_clocks(response.headers.get("date"), asked_at)
            try:
                for piece in response.iter_bytes():
                    body += piece
                    if len(body) > LARGEST_ANSWER:
                        words = f"the answer has more than {LARGEST_ANSWER} bytes"
                        raise fault(response.status_code, Refused(reason="unexpected", words=words))
                    if monotonic() - began > self._seconds:
                        raise fault(response.status_code, Unavailable(reason="timeout"))
            finally:
                response.close()
        except httpx.TimeoutException:
            raise fault(None, Unavailable(reason="timeout")) from None
        except (httpx.HTTPError, httpx.StreamError) as error:
            raise fault(None, Unavailable(reason="no_answer", words=_cause(error))) from None
        headers = {name.lower(): value for name, value in response.headers.items()}
        return Reply(
            method=request.method,
            url=str(request.url),
            status=response.status_code,
            headers=headers,
            body=bytes(body),
            installation=installation,
        )

    def _compare_clocks(self, stated: str | None, asked_at: datetime) -> None:
        """Assumes that the answer was written halfway through the call; its ``Date`` has whole seconds."""
        there = http_date(stated)
        if there is not None:
            halfway = asked_at + (datetime.now(UTC) - asked_at) / 2
            self.clock_ahead = there + timedelta(seconds=0.5) - halfway

    def _is_ours(self, url: str) -> bool:
        """Whether a token of this forge may be sent to this URL."""
        there, here = urlsplit(url), urlsplit(self.base)
        return (there.scheme, there.netloc) == (here.scheme, here.netloc)


class ForgeClient:
    """Makes calls with the credentials of a scope. An expired token is replaced once, immediately."""

    def __init__(self, connection: Connection, credentials: Credentials) -> None:
        self.connection, self._credentials = connection, credentials

    def installation(self, scope: Scope) -> int | None:
        """The installation whose token is used for this scope; None: none."""
        return self._credentials.installation(scope)

    def get(
        self, path: str, scope: Scope, *, params: Mapping[str, str] | None = None, etag: str | None = None
    ) -> Reply | None:
        """
        The answer of a successful GET; None: nothing has changed since *etag*.

        Raises:
            ForgeFault: There was another answer, or none.
        """
        reply, meaning = self.ask("GET", path, scope, params=params, etag=etag)
        if isinstance(meaning, Unchanged):
            return None
        if isinstance(meaning, Applied):
            return reply
        raise self.connection.fault_of(reply, meaning)

    def json(self, path: str, scope: Scope, *, params: Mapping[str, str] | None = None) -> object:
        reply = self.get(path, scope, params=params)
        assert reply is not None, "no etag was given"  # noqa: S101 - for the type checker
        return self.read(reply)

    def send(self, method: str, path: str, scope: Scope, *, content: Mapping[str, Any] | None = None) -> Reply:
        """
        The answer to a call that changes something.

        Raises:
            ForgeFault: The call failed, or there was no answer.
        """
        reply, meaning = self.ask(method, path, scope, content=content)
        if isinstance(meaning, Applied):
            return reply
        raise self.connection.fault_of(reply, meaning)

    def delete(self, path: str, scope: Scope) -> None:
        """
        Delete something; succeeds too if it is already gone.

        Raises:
            ForgeFault: It may still exist.
        """
        reply, meaning = self.ask("DELETE", path, scope)
        if not isinstance(meaning, Applied) and reply.status not in answers.ABSENT:
            raise self.connection.fault_of(reply, meaning)

    def ask(
        self,
        method: str,
        path: str,
        scope: Scope,
        *,
        params: Mapping[str, str] | None = None,
        content: Mapping[str, Any] | None = None,
        etag: str | None = None,
    ) -> tuple[Reply, AnswerMeaning]:
        """
        The answer and its meaning, for callers that decide by it.

        Raises:
            ForgeFault: There was no answer, or no token.
        """
        token = self._credentials.token(scope)
        reply, meaning = self.connection.call(method, path, token=token, params=params, content=content, etag=etag)
        if isinstance(meaning, CredentialsExpired):
            self._credentials.drop(token)
            token = self._credentials.token(scope)
            reply, meaning = self.connection.call(method, path, token=token, params=params, content=content, etag=etag)
        return reply, meaning

    def read(self, reply: Reply) -> object:
        """
        The JSON of a successful answer.

        Raises:
            ForgeFault: It is not JSON; something between us and the forge may have answered.
        """
        try:
            return json.loads(reply.body)
        except (ValueError, RecursionError):
            raise self.connection.fault_of(reply, Unavailable(reason="garbled")) from None


@dataclass(frozen=True, slots=True)
class FixedToken:
    """The token from the configuration."""

    text: str = field(repr=False)

    def token(self, scope: Scope) -> Token:  # noqa: ARG002 - the protocol's
        return Token(self.text, Credential.FIXED)

    def drop(self, token: Token) -> None:
        """Does nothing: there is no other token."""

    def installation(self, scope: Scope) -> int | None:  # noqa: ARG002 - the protocol's
        return None


def segment(name: str) -> str:
    """Text, escaped as one segment of a path."""
    return quote(name, safe="")


def repository_path(full_name: str) -> str:
    owner, _, name = full_name.partition("/")
    return f"/repos/{segment(owner)}/{segment(name)}"


def _cause(error: BaseException) -> str:
    """The operating system's message; the client's own may repeat a header."""
    cause, words = error, type(error).__name__
    while (deeper := cause.__cause__ or cause.__context__) is not None:
        cause = deeper
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
    return words
