"""Who is calling: a program with a bearer token and its scopes, or a person with a JWT."""

from http import HTTPStatus
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from starlette.concurrency import run_in_threadpool

from notify.http import call_limits
from notify.http.context import Context, InContext
from notify.http.person_tokens import BadToken
from notify.http.problems import Unauthorized, documented
from notify.http.published_keys import KeysUnavailable
from notify.store.directory import directory, tokens
from notify.store.directory.tokens import Scope

RETRY_SECONDS = "5"
JWT_PARTS = 3
REFUSALS = documented(HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN)


Caller = frozenset[Scope] | str
"""The scopes of a program, or the username of a person, who may read and change their own preferences."""

_bearer = HTTPBearer(auto_error=False, description="A program's token (ntf_…), or a person's JWT.")


async def _caller(
    request: Request,
    context: InContext,
    credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(_bearer)],
) -> Caller:
    async with call_limits.key_check(request):
        if credentials is None:
            raise Unauthorized("expected Authorization: Bearer and a token", challenge="Bearer")
        token = credentials.credentials
        caller: Caller = await run_in_threadpool(_identify, context, token)
    return caller


def _identify(context: Context, token: str) -> Caller:
    """Source: RFC 7515 §3.1: a signed JWT has three parts with dots between them."""
    if token.startswith(tokens.PREFIX):
        return _program(context, token)
    if len(token.split(".")) != JWT_PARTS:
        raise Unauthorized(f"unknown token; program tokens begin with {tokens.PREFIX}, people's tokens are JWTs")
    return _user(context, token)


def _program(context: Context, token: str) -> frozenset[Scope]:
    with context.database.begin() as connection:
        scopes = tokens.use(connection, token)
    if scopes is None:
        raise Unauthorized("the token is unknown or revoked")
    return scopes


def _user(context: Context, token: str) -> str:
    if context.people is None:
        raise Unauthorized("people's tokens are not accepted: neither NOTIFY_JWT_SECRET nor NOTIFY_JWKS_URL is set")
    try:
        return context.people.username(token)
    except BadToken as error:
        raise Unauthorized(str(error)) from None
    except KeysUnavailable as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error), {"Retry-After": RETRY_SECONDS}) from None


def program_with(*enough: Scope) -> Any:  # noqa: ANN401 - what FastAPI's own Depends returns
    """The dependency that admits only programs with one of these scopes."""

    def check(caller: Annotated[Caller, Depends(_caller)]) -> None:
        if isinstance(caller, str) or not caller.intersection(enough):
            raise HTTPException(HTTPStatus.FORBIDDEN, f"needs a program's token with the scope {' or '.join(enough)}")

    return Depends(check)


def _person(caller: Annotated[Caller, Depends(_caller)], context: InContext) -> str:
    """The username, if it is in the directory, so that nobody stores preferences under a name that is not theirs."""
    if not isinstance(caller, str):
        raise HTTPException(HTTPStatus.FORBIDDEN, "needs a person's token; a program has no preferences")
    claim = context.people and context.people.claim
    with context.database.begin() as connection:
        if not directory.is_known(connection, caller):
            raise HTTPException(
                HTTPStatus.NOT_FOUND,
                f"nobody is known as {caller!r}, which is the claim {claim} of the token: the directory has no such"
                " person, and nothing is stored of one; NOTIFY_JWT_CLAIM names the claim with the username",
            )
    return caller


Me = Annotated[str, Depends(_person)]
