"""
A GitHub App's credentials: its JWT, its installations, and their tokens.

Source: GitHub, "Generating a JSON Web Token (JWT) for a GitHub App" and "Authenticating as a GitHub App installation".
"""

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from re import compile as pattern
from threading import Lock
from time import monotonic, time
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from notify.domain.errors import InvalidSettings
from notify.domain.forge_answers import Applied, ForgeFault, Refused, Unavailable
from notify.domain.forge_settings import ForgeSettings, Secret
from notify.domain.http_times import http_date
from notify.forges.answers import Credential
from notify.forges.client import Connection, Reply, Scope, Token, repository_path
from notify.forges.common.fields import Fields, Misfit

BACKDATED = timedelta(seconds=60)
JWT_LIFE = timedelta(minutes=9)
RENEWAL_MARGIN = timedelta(minutes=5)
ABSENT = timedelta(minutes=1)
ALGORITHM = "RS256"
KEYS_KEPT = 16
TOKEN = pattern(r"[!-~]{1,16384}")


@dataclass(frozen=True, slots=True)
class _Kept:
    """A token, and until when we use it, in seconds of our clock."""

    token: Token
    until: float


@dataclass(slots=True)
class _State:
    installations: dict[str, int] = field(default_factory=dict)
    absent_until: dict[str, float] = field(default_factory=dict)
    suspended_until: dict[int, float] = field(default_factory=dict)
    tokens: dict[int, _Kept] = field(default_factory=dict)


class AppCredentials:
    """
    Tokens of one app. Only one exchange runs at a time; concurrent callers wait for it and share its result.

    Args:
        clock: Monotonic seconds.
        now: Seconds since the epoch, for the JWT.

    Raises:
        InvalidSettings: The private key is not a usable key.
    """

    def __init__(
        self,
        settings: ForgeSettings,
        connection: Connection,
        *,
        clock: Callable[[], float] = monotonic,
        now: Callable[[], float] = time,
    ) -> None:
        if settings.app_id is None or settings.private_key is None:
            raise InvalidSettings(f"forges.{settings.name}: expected app_id and private_key")
        self._app_id, self._installation = settings.app_id, settings.installation_id
        self._key = _loaded(settings.name, settings.private_key)
        self._connection, self._clock, self._now = connection, clock, now
        self._exchange = Lock()
        self._state = _State()

    def token(self, scope: Scope) -> Token:
        if scope.repository is None and scope.installation is None:
            return self._app_token()
        # Without the lock, so that a valid token does not wait for the exchange of another installation.
        if (kept := self._kept(self._known(scope))) is not None:
            return kept
        with self._exchange:
            installation = self._known(scope) or self._installed(scope.repository or "")
            return self._kept(installation) or self._exchanged(installation)

    def drop(self, token: Token) -> None:
        with self._exchange:
            self._state.tokens = {id_: kept for id_, kept in self._state.tokens.items() if kept.token != token}

    def installation(self, scope: Scope) -> int | None:
        known = self._known(scope)
        if known is not None or scope.repository is None:
            return known
        with self._exchange:
            return self._known(scope) or self._installed(scope.repository)

    def _known(self, scope: Scope) -> int | None:
        """The installation if it is known without a look-up; None: it is not, or the call is the app's own."""
        if scope.repository is None:
            return scope.installation
        return self._installation or self._state.installations.get(scope.repository.lower())

    def _kept(self, installation: int | None) -> Token | None:
        kept = self._state.tokens.get(installation) if installation is not None else None
        return kept.token if kept is not None and self._clock() < kept.until else None

    def _app_token(self, installation: int | None = None) -> Token:
        now = int(self._now())
        claims = {
            "iat": now - int(BACKDATED.total_seconds()),
            "exp": now + int(JWT_LIFE.total_seconds()),
            "iss": str(self._app_id),
        }
        return Token(jwt.encode(claims, self._key, algorithm=ALGORITHM), Credential.APP, installation)

    def _installed(self, full_name: str) -> int:
        name = full_name.lower()
        path = f"{repository_path(full_name)}/installation"
        if self._clock() < self._state.absent_until.get(name, 0.0):
            raise self._connection.fault("GET", path, None, Refused(reason="not_installed"))
        try:
            found = self._asked("GET", path)
        except ForgeFault as fault:
            if _is_refused(fault, "not_installed"):
                self._state.absent_until[name] = self._clock() + ABSENT.total_seconds()
            raise
        self._state.absent_until.pop(name, None)
        self._state.installations[name] = self._number(found, "id")
        return self._state.installations[name]

    def _exchanged(self, installation: int) -> Token:
        path = f"/app/installations/{installation}/access_tokens"
        began = self._clock()
        if began < self._state.suspended_until.get(installation, 0.0):
            raise self._connection.fault("POST", path, None, Refused(reason="suspended"))
        try:
            reply = self._asked("POST", path, installation)
        except ForgeFault as fault:
            if _is_refused(fault, "suspended"):
                self._state.suspended_until[installation] = began + ABSENT.total_seconds()
            else:
                # After a new installation of the app the number is different.
                self._state.installations = {
                    name: id_ for name, id_ in self._state.installations.items() if id_ != installation
                }
            raise
        try:
            stated = Fields(_json(reply))
            if not TOKEN.fullmatch(stated.text("token")):
                raise Misfit("token: expected one word")  # noqa: TRY301 - a misfit like the others
            token = Token(stated.text("token"), Credential.INSTALLATION, installation)
            ends_at = stated.instant("expires_at")
        except Misfit as misfit:
            raise self._connection.fault_of(reply, Unavailable(reason="garbled", words=str(misfit))) from None
        life = ends_at - _here(reply, self._now())
        self._state.tokens[installation] = _Kept(token, began + (life - RENEWAL_MARGIN).total_seconds())
        return token

    def _asked(self, method: str, path: str, installation: int | None = None) -> Reply:
        token = self._app_token(installation)
        reply, meaning = self._connection.call(method, path, token=token, about_installation=True)
        if not isinstance(meaning, Applied):
            raise self._connection.fault_of(reply, meaning)
        return reply

    def _number(self, reply: Reply, name: str) -> int:
        try:
            return Fields(_json(reply)).number(name)
        except Misfit as misfit:
            raise self._connection.fault_of(reply, Unavailable(reason="garbled", words=str(misfit))) from None


def _is_refused(fault: ForgeFault, reason: str) -> bool:
    return isinstance(fault.meaning, Refused) and fault.meaning.reason == reason


def _loaded(forge: str, secret: Secret) -> RSAPrivateKey:
    key = _rsa_key(secret.value)
    if key is None:
        raise InvalidSettings(
            f"forges.{forge}.private_key is {secret.reference}: expected an RSA private key in PEM, without a password"
        )
    return key


@lru_cache(KEYS_KEPT)
def _rsa_key(pem: str) -> RSAPrivateKey | None:
    """None: it is something else. Each part of a process wants the key, and checking it takes 60 ms."""
    try:
        key = load_pem_private_key(pem.encode(), password=None)
    except (TypeError, ValueError):
        return None
    return key if isinstance(key, RSAPrivateKey) else None


def _json(reply: Reply) -> Any:  # noqa: ANN401 - whatever it is
    try:
        return json.loads(reply.body)
    except (ValueError, RecursionError):
        return None


def _here(reply: Reply, now: float) -> datetime:
    """The time by the forge's clock, in case ours is wrong."""
    return http_date(reply.headers.get("date")) or datetime.fromtimestamp(now, UTC)
