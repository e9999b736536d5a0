"""The part of GitHub's REST API that notify calls, and that by which people act on the embedded forge."""

import asyncio
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from hashlib import sha256
from http import HTTPStatus
from json import JSONDecodeError, dumps, loads
from secrets import token_hex
from threading import Event
from typing import Any
from urllib.parse import urlencode

import jwt
from fastapi import APIRouter, Request, Response

from notify.embedded.forge.hooks import HookDelivery, Hooks
from notify.embedded.forge.shapes import Json, Shapes, text
from notify.embedded.forge.state import ForgeState, Pull, Repository, Unknown

TOKEN_LIVES = timedelta(hours=1)
INSTALLATION = 1
PERMISSIONS = {
    "contents": "read",
    "metadata": "read",
    "pull_requests": "write",
    "members": "read",
    "statuses": "write",
    "checks": "write",
}
# A person's token is this and the login.
PERSON = "person_"


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer to be given instead of the right one, once."""

    status: int
    headers: Mapping[str, str] = field(default_factory=dict)
    message: str = "as told"
    seconds: float = 0.0


class Refused(Exception):
    """
    Args:
        headers: Besides the usual ones.
    """

    def __init__(self, status: HTTPStatus, message: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(message)
        self.status, self.message, self.headers = status, message, headers or {}


class Rest:
    """
    The API of one forge.

    Args:
        app_id: Of the app that notify is.
        public_key: PEM; checks the app's tokens.
    """

    def __init__(self, state: ForgeState, shapes: Shapes, hooks: Hooks, *, app_id: int, public_key: str) -> None:
        self.state, self.shapes, self.hooks = state, shapes, hooks
        self.app_id, self._public_key = app_id, public_key
        self.instead: list[Answer] = []
        self._of_path: list[tuple[str, list[int], Answer]] = []
        self.asked = Event()
        self.calls: list[tuple[str, str, int]] = []
        self._tokens: dict[str, datetime] = {}
        self.token_lives = TOKEN_LIVES

    def router(self) -> APIRouter:
        router = APIRouter(prefix="/api/v3")
        for method, path, answer in self._routes():
            router.add_api_route(path, self._endpoint(answer), methods=[method], include_in_schema=False)
        return router

    def only(self, path: str, *, answer: Answer, skip: int = 0, times: int = 1) -> None:
        """Give this answer to calls whose path contains *path*: so many of them, after the first *skip*."""
        self.asked.clear()
        self._of_path.append((path, [skip, times], answer))

    def _instead(self, path: str) -> Answer | None:
        for part, left, answer in self._of_path:
            if part in path:
                if left[0]:
                    left[0] -= 1
                elif left[1]:
                    left[1] -= 1
                    self.asked.set()
                    return answer
        return self.instead.pop(0) if self.instead else None

    def expire_tokens(self) -> None:
        """No token of an installation holds any more."""
        self._tokens.clear()

    def _routes(self) -> Iterable[tuple[str, str, Callable[["Call"], Any]]]:
        repository = "/repos/{owner}/{name}"
        pull = f"{repository}/pulls/{{number}}"
        return (
            ("GET", "/app", self._app),
            ("GET", "/app/hook/deliveries", self._hook_deliveries),
            ("POST", "/app/hook/deliveries/{id}/attempts", self._deliver_again),
            ("GET", "/app/installations", self._installations),
            ("GET", "/orgs/{owner}/installation", self._installation),
            ("GET", f"{repository}/installation", self._installation),
            ("POST", "/app/installations/{id}/access_tokens", self._token),
            ("GET", "/installation/repositories", self._repositories),
            ("POST", "/orgs/{owner}/repos", self._add_repository),
            ("GET", repository, self._repository),
            ("GET", "/repositories/{id}", self._repository),
            ("GET", f"{repository}/branches", self._branches),
            ("GET", f"{repository}/contents/{{path:path}}", self._contents),
            ("GET", f"{repository}/pulls", self._pulls),
            ("POST", f"{repository}/pulls", self._open_pull),
            # Before the pull request of a number, which "comments" is not.
            ("GET", f"{repository}/pulls/comments", self._all_line_comments),
            ("GET", pull, self._pull),
            ("PATCH", pull, self._edit_pull),
            ("PUT", f"{pull}/merge", self._merge),
            ("GET", f"{pull}/reviews", self._reviews),
            ("POST", f"{pull}/reviews", self._review),
            ("POST", f"{pull}/requested_reviewers", self._request_review),
            ("GET", f"{pull}/reviews/{{id}}", self._one_review),
            ("GET", f"{pull}/reviews/{{id}}/comments", self._comments_of_review),
            ("GET", f"{pull}/comments", self._line_comments),
            ("GET", f"{repository}/issues/comments", self._all_comments),
            ("GET", f"{repository}/issues/{{number}}/comments", self._comments),
            ("POST", f"{repository}/issues/{{number}}/comments", self._comment),
            ("GET", "/orgs/{owner}/teams/{slug}/members", self._team_members),
        )

    def _endpoint(self, answer: Callable[["Call"], Any]) -> Callable[[Request], Any]:
        async def endpoint(request: Request) -> Response:
            response = await self._answered(request, answer)
            self.calls.append((request.method, request.url.path, response.status_code))
            return response

        return endpoint

    async def _answered(self, request: Request, answer: Callable[["Call"], Any]) -> Response:
        instead = self._instead(request.url.path)
        if instead is not None:
            await asyncio.sleep(instead.seconds)
            if instead.status:
                return _json({"message": instead.message}, status=instead.status, headers=instead.headers)
        try:
            call = Call(request, loads(await request.body() or b"{}"), self._who(request))
            with self.state.lock:
                given = answer(call)
        except Refused as refused:
            return _json({"message": refused.message}, status=refused.status, headers=refused.headers)
        except Unknown:
            return _json({"message": "Not Found"}, status=HTTPStatus.NOT_FOUND)
        except (JSONDecodeError, KeyError, TypeError):
            return _json({"message": "Problems parsing JSON"}, status=HTTPStatus.UNPROCESSABLE_ENTITY)
        if isinstance(given, Response):
            return given
        return _tagged(request, *call.paged(given) if isinstance(given, list) else (given, {}))

    def _who(self, request: Request) -> str:
        """Who calls: ``app``, ``installation`` or a login."""
        kind, _, token = request.headers.get("authorization", "").partition(" ")
        if kind.lower() not in ("bearer", "token") or not token:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Requires authentication")
        if token.startswith(PERSON):
            return token.removeprefix(PERSON)
        if token in self._tokens:
            if self._tokens[token] > self.state.now():
                return "installation"
            del self._tokens[token]
        try:
            claims = jwt.decode(token, self._public_key, algorithms=["RS256"])
        except jwt.InvalidTokenError:
            raise Refused(HTTPStatus.UNAUTHORIZED, "Bad credentials") from None
        if str(claims.get("iss")) != str(self.app_id):
            raise Refused(HTTPStatus.UNAUTHORIZED, "Bad credentials")
        return "app"

    def _app(self, call: "Call") -> Json:
        call.only("app")
        now = text(self.state.now())
        return {
            "id": self.app_id,
            "slug": "notify",
            "node_id": "A_1",
            "owner": self.shapes.user("admin"),
            "name": "notify",
            "description": None,
            "external_url": self.shapes.web_url,
            "html_url": f"{self.shapes.web_url}/apps/notify",
            "created_at": now,
            "updated_at": now,
            "permissions": PERMISSIONS,
            "events": ["issue_comment", "pull_request", "pull_request_review", "pull_request_review_comment", "push"],
        }

    def _installations(self, call: "Call") -> list[Json]:
        call.only("app")
        owners = sorted({one.owner for one in self.state.repositories.values()})
        return [self._installed(owner) for owner in owners[:1]]

    def _installation(self, call: "Call") -> Json:
        call.only("app")
        of_repository = "name" in call.request.path_params
        return self._installed(self._named(call).owner if of_repository else call.request.path_params["owner"])

    def _installed(self, owner: str) -> Json:
        now = text(self.state.now())
        return {
            "id": INSTALLATION,
            "app_id": self.app_id,
            "app_slug": "notify",
            "account": self.shapes.user(owner),
            "target_id": self.state.account_id(owner),
            "target_type": "Organization",
            "repository_selection": "all",
            "access_tokens_url": f"{self.shapes.api_url}/app/installations/{INSTALLATION}/access_tokens",
            "repositories_url": f"{self.shapes.api_url}/installation/repositories",
            "html_url": f"{self.shapes.web_url}/installations/{INSTALLATION}",
            "permissions": PERMISSIONS,
            "events": [],
            "single_file_name": None,
            "created_at": now,
            "updated_at": now,
            "suspended_by": None,
            "suspended_at": None,
        }

    def _token(self, call: "Call") -> Response:
        call.only("app")
        if call.number("id") != INSTALLATION:
            raise Unknown
        token, ends = f"ghs_{token_hex(18)}", self.state.now() + self.token_lives
        self._tokens[token] = ends
        given = {"token": token, "expires_at": text(ends), "permissions": PERMISSIONS, "repository_selection": "all"}
        return _json(given, status=HTTPStatus.CREATED)

    def _hook_deliveries(self, call: "Call") -> list[Json]:
        call.only("app")
        failed = call.query("status") == "failure"
        found = [one for one in reversed(self.hooks.deliveries) if not (failed and one.arrived)]
        return [self._hook_delivery(one) for one in found]

    def _hook_delivery(self, one: HookDelivery) -> Json:
        return {
            "id": one.id,
            "guid": one.guid,
            "delivered_at": text(one.created_at),
            "redelivery": one.redelivery,
            "duration": one.seconds,
            "status": "OK" if one.arrived else "Failed to connect",
            "status_code": one.status_code,
            "event": one.event,
            "action": one.action,
            "installation_id": INSTALLATION,
            "repository_id": one.repository_id,
        }

    def _deliver_again(self, call: "Call") -> Response:
        call.only("app")
        for one in self.hooks.deliveries:
            if one.id == call.number("id"):
                self.hooks.again(one)
                return _json({}, status=HTTPStatus.ACCEPTED)
        raise Unknown

    def _repositories(self, call: "Call") -> Response:
        call.only("installation")
        found, headers = call.paged([self.shapes.repository(one) for one in self.state.repositories.values()])
        return _tagged(call.request, {"total_count": len(self.state.repositories), "repositories": found}, headers)

    def _add_repository(self, call: "Call") -> Response:
        full_name = f"{call.request.path_params['owner']}/{call.body['name']}"
        if full_name.lower() in self.state.repositories:
            raise Refused(HTTPStatus.UNPROCESSABLE_ENTITY, "name already exists on this account")
        return _json(self.shapes.repository(self.state.add_repository(full_name)), status=HTTPStatus.CREATED)

    def _repository(self, call: "Call") -> Any:  # noqa: ANN401 - a redirect or the repository
        if "id" in call.request.path_params:
            return self.shapes.repository(self.state.by_id(call.number("id")))
        return self.shapes.repository(self._named(call))

    def _branches(self, call: "Call") -> list[Json]:
        repository = self._named(call)
        return [self.shapes.branch(repository, name) for name in sorted(repository.branches)]

    def _contents(self, call: "Call") -> Any:  # noqa: ANN401 - GitHub answers with a list or an object
        repository, path = self._named(call), call.request.path_params["path"].strip("/")
        if path in repository.files:
            return self._file(repository, path)
        below = {
            one.removeprefix(f"{path}/").partition("/")[0] for one in repository.files if one.startswith(f"{path}/")
        }
        if not below:
            raise Unknown
        return [self._file(repository, f"{path}/{name}", whole=False) for name in sorted(below)]

    def _file(self, repository: Repository, path: str, *, whole: bool = True) -> Json:
        content = repository.files.get(path)
        url = f"{self.shapes.api_url}/repos/{repository.full_name}/contents/{path}"
        html = f"{self.shapes.web_url}/{repository.full_name}/blob/{repository.default_branch}/{path}"
        shape = {
            "type": "dir" if content is None else "file",
            "size": len((content or "").encode()),
            "name": path.rpartition("/")[2],
            "path": path,
            "sha": sha256((content or path).encode()).hexdigest()[:40],
            "url": url,
            "git_url": url,
            "html_url": html,
            "download_url": None if content is None else html,
            "_links": {"git": url, "self": url, "html": html},
        }
        if whole and content is not None:
            shape |= {"encoding": "base64", "content": b64encode(content.encode()).decode()}
        return shape

    def _pulls(self, call: "Call") -> list[Json]:
        repository, state = self._named(call), call.query("state") or "open"
        found = [one for one in repository.pulls.values() if state in ("all", one.state)]
        if call.query("sort") == "updated":
            found.sort(key=lambda one: (one.updated_at, one.number))
        else:
            found.sort(key=lambda one: one.number)
        if call.query("direction") != "asc":
            found.reverse()
        return [self.shapes.listed_pull(repository, one) for one in found]

    def _pull(self, call: "Call") -> Json:
        return self.shapes.pull(*self._found(call))

    def _reviews(self, call: "Call") -> list[Json]:
        repository, pull = self._found(call)
        return [self.shapes.review(repository, pull, one) for one in pull.reviews]

    def _one_review(self, call: "Call") -> Json:
        repository, pull = self._found(call)
        for one in pull.reviews:
            if one.id == call.number("id"):
                return self.shapes.review(repository, pull, one)
        raise Unknown

    def _comments_of_review(self, call: "Call") -> list[Json]:
        repository, pull = self._found(call)
        of_it = [one for one in pull.comments if one.review_id == call.number("id")]
        return [self.shapes.comment(repository, pull, one) for one in of_it]

    def _line_comments(self, call: "Call") -> list[Json]:
        return self._said(self._named(call), [self._found(call)[1]], call, on_lines=True)

    def _comments(self, call: "Call") -> list[Json]:
        return self._said(self._named(call), [self._found(call)[1]], call, on_lines=False)

    def _all_line_comments(self, call: "Call") -> list[Json]:
        repository = self._named(call)
        return self._said(repository, repository.pulls.values(), call, on_lines=True)

    def _all_comments(self, call: "Call") -> list[Json]:
        repository = self._named(call)
        return self._said(repository, repository.pulls.values(), call, on_lines=False)

    def _said(self, repository: Repository, pulls: Iterable[Pull], call: "Call", *, on_lines: bool) -> list[Json]:
        since = call.query("since")
        found = [
            (pull, one)
            for pull in pulls
            for one in pull.comments
            if (one.path is not None) == on_lines and (not since or text(one.created_at) >= since)
        ]
        found.sort(key=lambda one: one[1].id, reverse=call.query("direction") == "desc")
        return [self.shapes.comment(repository, pull, one) for pull, one in found]

    def _team_members(self, call: "Call") -> list[Json]:
        call.only("installation")
        key = f"{call.request.path_params['owner']}/{call.request.path_params['slug']}"
        if key not in self.state.teams:
            raise Unknown
        return [self.shapes.user(login) for login in self.state.teams[key]]

    def _open_pull(self, call: "Call") -> Response:
        given = call.body
        pull = self.state.open_pull(
            self._named(call).full_name,
            by=call.login,
            title=given["title"],
            body=given.get("body") or "",
            head=given["head"],
            base=given["base"],
            draft=bool(given.get("draft")),
        )
        return _json(self.shapes.pull(self._named(call), pull), status=HTTPStatus.CREATED)

    def _edit_pull(self, call: "Call") -> Json:
        repository, pull = self._found(call)
        state = call.body.get("state")
        if state == "closed" and pull.state == "open":
            self.state.close(repository.full_name, pull.number, by=call.login)
        elif state == "open" and pull.state == "closed":
            self.state.reopen(repository.full_name, pull.number, by=call.login)
        if "title" in call.body or "body" in call.body:
            said = {name: call.body.get(name) for name in ("title", "body")}
            self.state.edit_pull(repository.full_name, pull.number, by=call.login, **said)
        return self.shapes.pull(repository, pull)

    def _merge(self, call: "Call") -> Json:
        repository, pull = self._found(call)
        sha = self.state.merge(repository.full_name, pull.number, by=call.login)
        return {"sha": sha, "merged": True, "message": "Pull Request successfully merged"}

    def _review(self, call: "Call") -> Json:
        repository, pull = self._found(call)
        states = {"APPROVE": "APPROVED", "REQUEST_CHANGES": "CHANGES_REQUESTED", "COMMENT": "COMMENTED"}
        made = self.state.review(
            repository.full_name,
            pull.number,
            by=call.login,
            state=states[call.body["event"]],
            body=call.body.get("body") or "",
            comments=call.body.get("comments") or (),
        )
        return self.shapes.review(repository, pull, made)

    def _request_review(self, call: "Call") -> Response:
        repository, pull = self._found(call)
        logins, teams = call.body.get("reviewers") or (), call.body.get("team_reviewers") or ()
        self.state.request_review(repository.full_name, pull.number, by=call.login, logins=logins, teams=teams)
        return _json(self.shapes.listed_pull(repository, pull), status=HTTPStatus.CREATED)

    def _comment(self, call: "Call") -> Response:
        repository, pull = self._found(call)
        made = self.state.comment(repository.full_name, pull.number, by=call.login, body=call.body["body"])
        return _json(self.shapes.comment(repository, pull, made), status=HTTPStatus.CREATED)

    def _named(self, call: "Call") -> Repository:
        """
        Raises:
            Refused: It has another name today, under which it can be asked for.
        """
        name = f"{call.request.path_params['owner']}/{call.request.path_params['name']}"
        found = self.state.repository(name)
        if found.full_name.lower() != name.lower():
            path = call.request.url.path.replace(f"/repos/{name}", f"/repositories/{found.id}", 1)
            location = f"{self.shapes.web_url}{path}"
            raise Refused(HTTPStatus.MOVED_PERMANENTLY, "Moved Permanently", {"Location": location})
        return found

    def _found(self, call: "Call") -> tuple[Repository, Pull]:
        repository = self._named(call)
        pull = repository.pulls.get(call.number("number"))
        if pull is None:
            raise Unknown
        return repository, pull


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


def _tagged(request: Request, given: object, headers: Mapping[str, str]) -> Response:
    """With a tag, so that the same answer need not be given twice."""
    tag = f'W/"{sha256(dumps(given, sort_keys=True).encode()).hexdigest()}"'
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=HTTPStatus.NOT_MODIFIED, headers={"ETag": tag})
    return _json(given, headers={**headers, "ETag": tag})


def _json(given: object, *, status: int = HTTPStatus.OK, headers: Mapping[str, str] | None = None) -> Response:
    usual = {"X-RateLimit-Limit": "5000", "X-RateLimit-Remaining": "4999"}
    return Response(dumps(given), status, {**usual, **(headers or {})}, media_type="application/json; charset=utf-8")
