"""Reads and issues people's JWTs."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import jwt
from pydantic import TypeAdapter, ValidationError

from notify.domain.errors import NotifyError
from notify.http.published_keys import PublishedKeys
from notify.intake.schema import Name

LEEWAY = timedelta(seconds=30)
SYMMETRIC = "HS256"
NAMES = TypeAdapter[str](Name)


class BadToken(NotifyError):
    """The token is not valid: not signed by a trusted key, expired, or without a username."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PersonTokens:
    """
    Reads people's JWTs; ``exp`` is required.

    Args:
        key_of: Finds the key for a key id and algorithm. Must not return the same key for symmetric and asymmetric
            algorithms: a public key would then be accepted as a secret.
        claim: The claim with the username.
        audience: The required ``aud``; None: tokens with an ``aud`` are refused.
    """

    key_of: Callable[[str | None, str], jwt.PyJWK | str | None]
    claim: str
    audience: str | None = None

    def username(self, token: str) -> str:
        """
        The username in the token.

        Raises:
            BadToken: The token is not valid.
            KeysUnavailable: The keys could not be fetched.
        """
        try:
            header = jwt.get_unverified_header(token)
            algorithm = str(header.get("alg"))
            key = self.key_of(header.get("kid"), algorithm)
            if key is None:
                raise BadToken(reason="unknown key")
            claims = jwt.decode(
                token,
                key,
                algorithms=[algorithm],
                audience=self.audience,
                leeway=LEEWAY,
                options={"require": ["exp", self.claim], "verify_sub": False},
            )
            return NAMES.validate_python(claims[self.claim])
        except (jwt.PyJWTError, ValidationError) as error:
            raise BadToken(reason=type(error).__name__) from None


def shared_secret(secret: str, *, claim: str = "sub", audience: str | None = None) -> PersonTokens:
    """Tokens signed with HS256 and a shared secret."""
    return PersonTokens(
        key_of=lambda _, algorithm: secret if algorithm == SYMMETRIC else None,
        claim=claim,
        audience=audience,
    )


def published_keys(url: str, *, claim: str = "sub", audience: str | None = None) -> PersonTokens:
    """Tokens signed with a key published at *url*, which is fetched on first use."""
    return PersonTokens(key_of=PublishedKeys(url).find, claim=claim, audience=audience)


def issue_user_token(
    secret: str, username: str, *, ttl: timedelta, claim: str = "sub", audience: str | None = None
) -> str:
    """A JWT that ``shared_secret`` accepts."""
    now = datetime.now(UTC)
    claims = {"sub": username, claim: username, "iat": now, "exp": now + ttl, **({"aud": audience} if audience else {})}
    return jwt.encode(claims, secret, algorithm=SYMMETRIC)
