"""The part of GitHub's REST API that notify and people call: how a call is answered, and how it goes wrong."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from json import JSONDecodeError, loads
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from notify.embedded.forge.git.repositories import GitRepositories
from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.misbehaviour import Answer, Misbehaviour
from notify.embedded.forge.routes.app_routes import AppRoutes
from notify.embedded.forge.routes.call import REPOSITORY, Call, as_json, tagged
from notify.embedded.forge.routes.check_routes import CheckRoutes
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.people_routes import PeopleRoutes
from notify.embedded.forge.routes.reading_routes import ReadingRoutes
from notify.embedded.forge.routes.refusals import InvalidRequest, Refused
from notify.embedded.forge.routes.status_routes import StatusRoutes
from notify.embedded.forge.routes.tokens import Tokens
from notify.embedded.forge.routes.workflow_routes import WorkflowRoutes
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown

__all__ = ["Answer", "Rest"]

API = "/api/v3"
# Where redirects from a repository's former name lead.
BY_ID = "/repositories/{repository_id}"
UNANSWERED = 0

Connection = tuple[str, int]


class Rest:
    """
    The API of one forge.

    Args:
        git: Makes commits; None: they are made up.
        app_id: Of the app that notify is.
        public_key: PEM; checks the app's tokens.

    Attributes:
        calls: Every call so far: its method, its path and the status of its answer; 0: there was none.
        misbehaviour: What is answered instead of the right answers.
        hang_up: Cuts the connection from an address and port.
    """

    def __init__(
        self,
        state: ForgeState,
        shapes: Shapes,
        hooks: Hooks,
        *,
        git: GitRepositories | None,
        app_id: int,
        public_key: str,
    ) -> None:
        self.state = state
        self.calls: list[tuple[str, str, int]] = []
        self.hang_up: Callable[[Connection], None] = lambda _: None
        self.misbehaviour = Misbehaviour()
        self.only = self.misbehaviour.only
        self.instead, self.asked = self.misbehaviour.instead, self.misbehaviour.given
        self._tokens = Tokens(app_id=app_id, public_key=public_key, now=state.now)
        lookup = Lookup(state, shapes.repositories.web_url)
        self._routes = (
            *StatusRoutes(state, shapes, lookup).routes(),
            *CheckRoutes(state, shapes, lookup).routes(),
            *WorkflowRoutes(state, shapes, lookup).routes(),
            *AppRoutes(state, shapes, hooks, lookup=lookup, tokens=self._tokens).routes(),
            *ReadingRoutes(state, shapes, lookup).routes(),
            *PeopleRoutes(state, shapes, lookup, git).routes(),
        )

    def behave(self) -> None:
        """Give the right answers again."""
        self.misbehaviour.end()

    def expire_tokens(self) -> None:
        """Refuse every token of an installation that was issued so far."""
        self._tokens.expire()

    def router(self) -> APIRouter:
        router = APIRouter(prefix=API)
        for method, path, answer in self._routes:
            for one in {path, path.replace(REPOSITORY, BY_ID, 1)}:
                router.add_api_route(one, self._endpoint(answer), methods=[method], include_in_schema=False)
        return router

    def _endpoint(self, answer: Callable[[Call], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            instead = self.misbehaviour.answer(request.method, request.url.path)
            try:
                response = await (
                    self._answered(request, answer) if instead is None else self._wrong(request, answer, instead)
                )
            except ClientDisconnect:
                response = Response(status_code=UNANSWERED)
            self.calls.append((request.method, request.url.path, response.status_code))
            return response

        return endpoint

    async def _wrong(self, request: Request, answer: Callable[[Call], Any], instead: Answer) -> Response:
        right = await self._answered(request, answer) if instead.done else None
        await asyncio.sleep(instead.seconds)
        if instead.hang_up and request.client is not None:
            self.hang_up((request.client.host, request.client.port))
            return Response(status_code=UNANSWERED)
        if instead.status == HTTPStatus.NO_CONTENT:
            return Response(status_code=instead.status, headers=dict(instead.headers))
        if instead.status:
            return as_json({"message": instead.message}, status=instead.status, headers=instead.headers)
        return right or await self._answered(request, answer)

    async def _answered(self, request: Request, answer: Callable[[Call], Any]) -> Response:
        try:
            who = self._tokens.caller(request.headers.get("authorization", ""))
            call = Call(request, loads(await request.body() or b"{}"), who)
            with self.state.lock:
                given = answer(call)
        except Refused as refused:
            return _refusal(refused)
        except Unknown:
            return _refusal(Refused(HTTPStatus.NOT_FOUND, "Not Found"))
        except JSONDecodeError:
            return _refusal(Refused(HTTPStatus.BAD_REQUEST, "Problems parsing JSON"))
        except (KeyError, TypeError):
            return _refusal(InvalidRequest("A field is missing, or of another type."))
        if isinstance(given, Response):
            return given
        return tagged(request, *call.paged(given) if isinstance(given, list) else (given, {}))


def _refusal(refused: Refused) -> Response:
    return as_json(refused.body, status=refused.status, headers=refused.headers)
