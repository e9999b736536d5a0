"""One call to the API: who calls, what they ask for, and how they are answered or refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from json import dumps
from typing import Any, TypeVar
from urllib.parse import urlencode

from fastapi import Request, Response

from notify.embedded.forge.routes.refusals import InvalidRequest, Refused
from notify.embedded.forge.shapes.repository_shapes import Json
from notify.embedded.forge.state import Unknown

REPOSITORY = "/repos/{owner}/{name}"
PULL = f"{REPOSITORY}/pulls/{{number}}"
ISSUE = f"{REPOSITORY}/issues/{{number}}"
COMMIT = f"{REPOSITORY}/commits/{{sha}}"

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Call:
    """One call; ``who`` is ``app``, ``installation`` or a login."""

    request: Request
    body: Any
    who: str

    @property
    def login(self) -> str:
        """Whose action it is; the app's own are a bot's."""
        return "notify[bot]" if self.who in ("app", "installation") else self.who

    @property
    def fields(self) -> Json:
        """
        The body, which is an object.

        Raises:
            InvalidRequest: It is something else.
        """
        if not isinstance(self.body, dict):
            raise InvalidRequest("The body is not an object.")
        return self.body

    def only(self, *who: str, message: str = "Resource not accessible") -> None:
        """
        Raises:
            Refused: Somebody else calls.
        """
        if self.who not in who:
            raise Refused(HTTPStatus.FORBIDDEN, message)

    def not_as_app(self) -> None:
        """
        Raises:
            Refused: The app calls as itself, not for an installation.
        """
        if self.who == "app":
            raise Refused(HTTPStatus.FORBIDDEN, "Resource not accessible by integration")

    def named(self, name: str) -> str:
        """A part of the path."""
        given: str = self.request.path_params[name]
        return given

    def number(self, name: str) -> int:
        """
        Raises:
            Unknown: It is no number.
        """
        try:
            return int(self.request.path_params[name])
        except ValueError:
            raise Unknown from None

    def query(self, name: str) -> str:
        return self.request.query_params.get(name, "")

    def counted(self, name: str, found: Sequence[T], shape: Callable[[T], Json]) -> Response:
        """A page of what was found under its name, and how many there are in all."""
        page, headers = self.paged(found)
        return tagged(self.request, {"total_count": len(found), name: [shape(one) for one in page]}, headers)

    def listed(self, found: Sequence[T], shape: Callable[[T], Json]) -> Response:
        """A page of what was found."""
        page, headers = self.paged(found)
        return tagged(self.request, [shape(one) for one in page], headers)

    def paged(self, found: Sequence[T]) -> tuple[list[T], dict[str, str]]:
        """The page that is asked for, and the header that says where the next is."""
        size = min(int(self.query("per_page") or 30), 100)
        page = max(int(self.query("page") or 1), 1)
        rest = found[(page - 1) * size :]
        if len(rest) <= size:
            return list(rest), {}
        following = urlencode({**self.request.query_params, "per_page": size, "page": page + 1})
        url = self.request.url.replace(query=following)
        return list(rest[:size]), {"Link": f'<{url}>; rel="next"'}


def tagged(request: Request, given: object, headers: Mapping[str, str]) -> Response:
    """With a tag, so that the same answer need not be given twice."""
    tag = f'W/"{sha256(dumps(given, sort_keys=True).encode()).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return as_json(given, headers={**headers, "ETag": tag})


def as_json(given: object, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    usual = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}
    return Response(dumps(given), status, {**usual, **(headers or {})}, media_type="application/json; charset=utf-8")


# The method, the path below the API's address, and what answers: a list in pages, an object, or a whole response.
Route = tuple[str, str, Callable[[Call], Any]]
