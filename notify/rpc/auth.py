"""Who is calling: a program with a bearer token in the call's metadata, and its scopes."""

from collections.abc import Iterable

from notify.domain.errors import NotifyError
from notify.store.database import Database
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope

KEY = "authorization"


class Unauthenticated(NotifyError):
    """The call needs the metadata "authorization: Bearer TOKEN" with the token of a program."""


class PermissionDenied(NotifyError):
    """The token does not have the scope that the call needs."""


def admit(database: Database, metadata: Iterable[tuple[str, str | bytes]], *, scope: Scope) -> None:
    """
    Raises:
        Unauthenticated: There is no token, or it is not valid.
        PermissionDenied: It has other scopes only.
    """
    given = next((str(value) for key, value in metadata if key == KEY), "")
    scheme, _, token = given.partition(" ")
    if scheme.lower() != "bearer" or not token.strip():
        raise Unauthenticated(problem="it has none")
    with database.begin() as connection:
        scopes = tokens.use(connection, token.strip())
    if scopes is None:
        raise Unauthenticated(problem="the token is unknown or revoked")
    if scope not in scopes:
        raise PermissionDenied(scope=scope)
