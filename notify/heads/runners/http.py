"""
Builds behind an HTTP endpoint: one POST starts, GET asks, DELETE ends.

``POST url`` with an ``Idempotency-Key`` answers ``{"id", "status"?, "url"?}``; ``GET url/ID`` answers
``{"status", "url"?, "projects"?: [{"name", "degree"}]}``; ``DELETE url/ID`` asks for the end.
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from threading import Lock
from typing import Any
from urllib.parse import quote

import httpx

from notify.domain.forge_settings import HttpRunner
from notify.domain.head_ports import NotFound, RunnerRefused, RunnerUnavailable
from notify.domain.heads import BuildReport, BuildStatus, Head, ProjectResult, Request

SECONDS = 10.0
LARGEST_ANSWER = 2**20
MOST_PROJECTS = 10_000
LONGEST_ID = 500
LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT, HTTPStatus.TOO_EARLY, HTTPStatus.TOO_MANY_REQUESTS})


class HttpBuildRunner:
    """A ``BuildRunner``. Connects at the first call; safe for many threads."""

    def __init__(self, settings: HttpRunner, *, seconds: float = SECONDS) -> None:
        self._settings, self._seconds = settings, seconds
        self._lock = Lock()
        self._client: httpx.Client | None = None

    def start(self, request: Request) -> str:
        head = Head.parse(request.uri)
        content = {
            "queue": request.id.queue,
            "request": str(request.id),
            "uri": request.uri,
            "ref": head.ref,
            "head": head.sha,
            "base": Head.parse(request.base_uri).sha if request.base_uri else None,
            "strategy": request.strategy,
        }
        answer = self._call("POST", "", content=content, headers={"Idempotency-Key": str(request.id)})
        id_ = answer.get("id")
        id_ = str(id_) if isinstance(id_, int) and not isinstance(id_, bool) else id_
        if not isinstance(id_, str) or not 0 < len(id_) <= LONGEST_ID:
            raise RunnerUnavailable(words="the answer has no id")
        return id_

    def report(self, build_id: str) -> BuildReport:
        return _report(self._call("GET", f"/{quote(build_id, safe='')}", build_id=build_id))

    def cancel(self, build_id: str) -> None:
        self._call("DELETE", f"/{quote(build_id, safe='')}", build_id=build_id)

    def close(self) -> None:
        with self._lock:
            if self._client is not None:
                self._client.close()
            self._client = None

    def _call(
        self,
        method: str,
        path: str,
        *,
        content: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        build_id: str | None = None,
    ) -> Mapping[str, Any]:
        try:
            reply = self._opened().request(method, self._settings.url + path, json=content, headers=headers)
        except httpx.HTTPError as error:
            raise RunnerUnavailable(words=type(error).__name__) from None
        status = reply.status_code
        if status == HTTPStatus.NOT_FOUND and build_id is not None:
            raise NotFound(build=build_id)
        if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in LATER:
            raise RunnerUnavailable(status=status)
        if not HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            raise RunnerRefused(status=status)
        return {} if method == "DELETE" else _object(reply.content)

    def _opened(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                token = self._settings.token
                self._client = httpx.Client(
                    headers={"User-Agent": "notify"} | ({"Authorization": f"Bearer {token.value}"} if token else {}),
                    timeout=self._seconds,
                )
            return self._client


def _object(body: bytes) -> Mapping[str, Any]:
    try:
        found = json.loads(body) if len(body) <= LARGEST_ANSWER else None
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise RunnerUnavailable(words="the answer is no JSON object of at most 1 MiB")
    return found


def _report(answer: Mapping[str, Any]) -> BuildReport:
    """
    Raises:
        RunnerUnavailable: It is no report, which tells nothing about the build.
    """
    try:
        status = BuildStatus(answer.get("status", ""))
        projects = tuple(ProjectResult(*_project(one)) for one in answer.get("projects") or ())
    except (TypeError, ValueError, AttributeError):
        known = ", ".join(BuildStatus)
        raise RunnerUnavailable(words=f"expected a status of {known}, and projects with degrees 0 to 1") from None
    url = answer.get("url")
    return BuildReport(status=status, url=url if isinstance(url, str) else None, projects=projects[:MOST_PROJECTS])


def _project(stated: Mapping[str, Any]) -> tuple[str, float]:
    name, degree = stated.get("name"), stated.get("degree")
    if not isinstance(name, str) or not name or isinstance(degree, bool) or not isinstance(degree, int | float):
        raise ValueError
    if not 0 <= degree <= 1:
        raise ValueError
    return name, float(degree)
