"""People's JWTs: whom one speaks for, and how to issue one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
from pydantic import TypeAdapter, ValidationError

from notify.domain.errors import NotifyError
from notify.intake.schema import Name

LEEWAY = timedelta(seconds=30)
JWKS_TIMEOUT_SECONDS = 5
NAMES = TypeAdapter[str](Name)


class BadToken(NotifyError):
    """The token is not a person's: not signed by a key we trust, expired, or without a username."""


class KeysUnavailable(NotifyError):
    """The keys of people's tokens cannot be fetched."""


@dataclass(frozen=True, slots=True)
class PersonTokens:
    """
    Reads people's JWTs. ``sub`` is the username; ``exp`` is required.

    Args:
        algorithms: What may sign. Never symmetric and asymmetric ones together: a public key would be a secret.
        key_of: The key that has to have signed a token.
        audience: The ``aud`` that tokens must name; None: a token with an ``aud`` is meant for somebody else.
    """

    algorithms: Sequence[str]
    key_of: Callable[[str], jwt.PyJWK | str]
    audience: str | None = None

    def username(self, token: str) -> str:
        """
        Whom the token speaks for.

        Raises:
            BadToken: It does not speak for anybody.
            KeysUnavailable: Nobody can say at the moment.
        """
        try:
            claims = jwt.decode(
                token,
                self._key(token),
                algorithms=self.algorithms,
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": ["exp", "sub"]},
            )
            return NAMES.validate_python(claims["sub"])
        except (jwt.PyJWTError, ValidationError) as error:
            raise BadToken(reason=type(error).__name__) from None

    def _key(self, token: str) -> jwt.PyJWK | str:
        """ValueError is what the client lets through when the answer is no JSON."""
        try:
            return self.key_of(token)
        except (jwt.PyJWKClientConnectionError, jwt.PyJWKSetError, ValueError) as error:
            raise KeysUnavailable(reason=type(error).__name__) from None


def shared_secret(secret: str, *, audience: str | None = None) -> PersonTokens:
    """Tokens signed with HS256 and a secret that the issuer shares with us."""
    return PersonTokens(("HS256",), lambda _: secret, audience)


def published_keys(url: str, *, audience: str | None = None) -> PersonTokens:
    """Tokens signed with RS256 or ES256 and a key that the issuer publishes at *url*; fetched at the first use."""
    client = jwt.PyJWKClient(url, timeout=JWKS_TIMEOUT_SECONDS)
    return PersonTokens(("RS256", "ES256"), client.get_signing_key_from_jwt, audience)


def issue_user_token(secret: str, username: str, *, ttl: timedelta, audience: str | None = None) -> str:
    """A person's JWT, as ``shared_secret`` reads it."""
    now = datetime.now(UTC)
    claims = {"sub": username, "iat": now, "exp": now + ttl, **({"aud": audience} if audience else {})}
    return jwt.encode(claims, secret, algorithm="HS256")
