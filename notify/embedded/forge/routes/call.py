"""One call to the API: who calls, what they ask for, and how they are answered or refused."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from http import HTTPStatus
from json import dumps
from typing import Any
from urllib.parse import urlencode

from fastapi import Request, Response

from notify.embedded.forge.shapes.repository_shapes import Json
from notify.embedded.forge.state import Unknown


class Refused(Exception):
    """
    Args:
        headers: Besides the usual ones.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


@dataclass(frozen=True, slots=True)
class Call:
    """One call; ``who`` is ``app``, ``installation`` or a login."""

    request: Request
    body: Json
    who: str

    @property
    def login(self) -> str:
        """Whose action it is; the app's own are a bot's."""
        return "notify[bot]" if self.who in ("app", "installation") else self.who

    def only(self, who: str) -> None:
        """
        Raises:
            Refused: Somebody else calls.
        """
        if self.who != who:
            raise Refused(HTTPStatus.FORBIDDEN, "Resource not accessible")

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

    def paged(self, found: Sequence[Json]) -> tuple[list[Json], dict[str, str]]:
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

REPOSITORY = "/repos/{owner}/{name}"
PULL = f"{REPOSITORY}/pulls/{{number}}"
