"""The tokens with which the embedded forge is called: of the app, of its installation, of people."""

from collections.abc import Callable
from datetime import datetime, timedelta
from http import HTTPStatus
from secrets import token_hex

import jwt

from notify.embedded.forge.routes.refusals import Refused

TOKEN_LIVES = timedelta(hours=1)
# A person's token is this and the login.
PERSON = "person_"


class Tokens:
    """
    Args:
        app_id: Of the app whose tokens are known.
        public_key: PEM; checks the app's tokens.
        now: The clock, aware UTC.
    """

    def __init__(self, *, app_id: int, public_key: str, now: Callable[[], datetime]) -> None:
        self.app_id, self._public_key, self._now = app_id, public_key, now
        self.lifetime = TOKEN_LIVES
        self._issued: dict[str, datetime] = {}

    def issue(self) -> tuple[str, datetime]:
        """A token of the installation, and when it expires."""
        token, expires_at = f"ghs_{token_hex(18)}", self._now() + self.lifetime
        self._issued[token] = expires_at
        return token, expires_at

    def expire(self) -> None:
        """Refuse every token of the installation that was issued so far."""
        self._issued.clear()

    def caller(self, authorization: str) -> str:
        """
        Who calls with this header: ``app``, ``installation`` or a login.

        Raises:
            Refused: Nobody whom this forge knows.
        """
        kind, _, token = authorization.partition(" ")
        if kind.lower() not in ("bearer", "token") or not token:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Requires authentication")
        if token.startswith(PERSON):
            return token.removeprefix(PERSON)
        if token in self._issued:
            if self._issued[token] > self._now():
                return "installation"
            del self._issued[token]
        try:
            claims = jwt.decode(token, self._public_key, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Bad credentials") from None
        if str(claims.get("iss")) != str(self.app_id):
            raise Refused(HTTPStatus.UNAUTHORIZED, "Bad credentials")
        return "app"
