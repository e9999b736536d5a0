"""The part of GitHub's REST API that notify and people call: how a call is answered, and how it goes wrong."""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from json import JSONDecodeError, loads
from typing import Any

from fastapi import APIRouter, Request, Response

from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.misbehaviour import Answer, Misbehaviour
from notify.embedded.forge.routes.app_routes import AppRoutes
from notify.embedded.forge.routes.call import Call, Refused, as_json, tagged
from notify.embedded.forge.routes.lookup import Lookup
from notify.embedded.forge.routes.people_routes import PeopleRoutes
from notify.embedded.forge.routes.reading_routes import ReadingRoutes
from notify.embedded.forge.routes.tokens import Tokens
from notify.embedded.forge.shapes.shapes import Shapes
from notify.embedded.forge.state import ForgeState, Unknown

__all__ = ["Answer", "Rest"]


class Rest:
    """
    The API of one forge.

    Args:
        app_id: Of the app that notify is.
        public_key: PEM; checks the app's tokens.

    Attributes:
        calls: Every call so far: its method, its path and the status of its answer.
        instead: Answers that are given to the next calls, whatever they ask for.
        asked: Set when an answer that was ordered by ``only`` is given.
    """

    def __init__(self, state: ForgeState, shapes: Shapes, hooks: Hooks, *, app_id: int, public_key: str) -> None:
        self.state = state
        self.calls: list[tuple[str, str, int]] = []
        self._misbehaviour = Misbehaviour()
        self.instead, self.asked = self._misbehaviour.instead, self._misbehaviour.given
        self._tokens = Tokens(app_id=app_id, public_key=public_key, now=state.now)
        lookup = Lookup(state, shapes.repositories.web_url)
        self._routes = (
            *AppRoutes(state, shapes, hooks, lookup=lookup, tokens=self._tokens).routes(),
            *ReadingRoutes(state, shapes, lookup).routes(),
            *PeopleRoutes(state, shapes, lookup).routes(),
        )

    def only(self, path: str, *, answer: Answer, skip: int = 0, times: int = 1) -> None:
        """Give this answer to calls whose path contains *path*: so many of them, after the first *skip*."""
        self._misbehaviour.only(path, answer=answer, skip=skip, times=times)

    def behave(self) -> None:
        """Give the right answers again."""
        self._misbehaviour.end()

    def expire_tokens(self) -> None:
        """Refuse every token of an installation that was issued so far."""
        self._tokens.expire()

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/api/v3")
        for method, path, answer in self._routes:
            router.add_api_route(path, self._endpoint(answer), methods=[method], include_in_schema=False)
        return router

    def _endpoint(self, answer: Callable[[Call], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            response = await self._answered(request, answer)
            self.calls.append((request.method, request.url.path, response.status_code))
            return response

        return endpoint

    async def _answered(self, request: Request, answer: Callable[[Call], Any]) -> Response:
        instead = self._misbehaviour.answer(request.url.path)
        if instead is not None:
            await asyncio.sleep(instead.seconds)
            if instead.status:
                return as_json({"message": instead.message}, status=instead.status, headers=instead.headers)
        try:
            who = self._tokens.caller(request.headers.get("authorization", ""))
            call = Call(request, loads(await request.body() or b"{}"), who)
            with self.state.lock:
                given = answer(call)
        except Refused as refused:
            return as_json({"message": refused.message}, status=refused.status, headers=refused.headers)
        except Unknown:
            return as_json({"message": "Not Found"}, status=HTTPStatus.NOT_FOUND)
        except (JSONDecodeError, KeyError, TypeError):
            return as_json({"message": "Problems parsing JSON"}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if isinstance(given, Response):
            return given
        return tagged(request, *call.paged(given) if isinstance(given, list) else (given, {}))
