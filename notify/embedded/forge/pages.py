"""The embedded forge's pages: repositories, pull requests, and what was shown on each commit."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from markupsafe import Markup

from notify.channels.email.writing import comments
from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.records import Repository
from notify.embedded.forge.rest import Rest
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.statuses import CheckRun, StatusLedger
from notify.embedded.local_pages import guard, page

SHOWN = 200

# How a state looks: it went well, it did not, it is not yet known, it says nothing.
_TONES = {
    "good": ("success",),
    "bad": ("failure", "error", "timed_out", "action_required"),
    "waiting": ("pending", "queued", "in_progress"),
}
_TONE = {state: tone for tone, states in _TONES.items() for state in states}


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownStatus:
    """A status or check run of a commit. ``calls``: how often it was set."""

    context: str
    state: str
    description: str | None
    url: str | None
    by: str
    at: datetime
    calls: int
    run: CheckRun | None = None


class Pages:
    """
    What people see of one forge.

    Args:
        hooks: Whose deliveries are listed.
    """

    def __init__(self, state: ForgeState, hooks: Hooks) -> None:
        self._state, self._statuses, self._hooks = state, state.statuses, hooks

    def front(self) -> Response:
        with self._state.lock:
            pulls = list(self._state.pulls())[:SHOWN]
            return page(
                "forge.html",
                repositories=sorted(self._state.repositories.values(), key=lambda one: one.full_name),
                pulls=[(one, pull, _summary(shown(self._statuses, one, pull.head_sha))) for one, pull in pulls],
                deliveries=list(reversed(self._hooks.deliveries))[:SHOWN],
                tone=tone,
            )

    def pull(self, full_name: str, number: int) -> Response:
        with self._state.lock:
            repository = self._state.repositories.get(full_name.lower())
            pull = repository.pulls.get(number) if repository else None
            if repository is None or pull is None:
                return _missing("There is no such pull request.")
            return page(
                "forge_pull.html",
                repository=repository,
                pull=pull,
                shown=shown(self._statuses, repository, pull.head_sha),
                earlier=[one for one in pull.commits if one != pull.head_sha][::-1][:SHOWN],
                tone=tone,
            )

    def commit(self, full_name: str, sha: str) -> Response:
        with self._state.lock:
            repository = self._state.repositories.get(full_name.lower())
            if repository is None or sha not in repository.commits:
                return _missing("There is no such commit.")
            calls = self._statuses.of(repository.id, sha)
            return page(
                "forge_commit.html",
                repository=repository,
                sha=sha,
                shown=shown(self._statuses, repository, sha),
                pulls=[one for one in repository.pulls.values() if one.has(sha)],
                branches=[branch for branch, head in repository.branches.items() if head == sha],
                calls=calls[::-1][:SHOWN],
                called=len(calls),
                markdown=_markdown,
                tone=tone,
            )


def create_app(rest: Rest, hooks: Hooks) -> FastAPI:
    """The forge's API, and the pages that show what it keeps."""
    app = FastAPI(title="notify forge", docs_url=None, redoc_url=None, openapi_url=None)
    pages = Pages(rest.state, hooks)

    @app.middleware("http")
    async def guarded(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await guard(request, proceed)
        response.headers.setdefault("Date", formatdate(usegmt=True))
        return response

    @app.get("/")
    async def front() -> Response:
        return pages.front()

    @app.get("/livez")
    async def live() -> Response:
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @app.get("/{owner}/{name}/pull/{number}")
    async def pull(owner: str, name: str, number: int) -> Response:
        return pages.pull(f"{owner}/{name}", number)

    @app.get("/{owner}/{name}/commit/{sha}")
    async def commit(owner: str, name: str, sha: str) -> Response:
        return pages.commit(f"{owner}/{name}", sha)

    app.include_router(rest.router())
    return app


def shown(statuses: StatusLedger, repository: Repository, sha: str) -> list[ShownStatus]:
    """What is shown on a commit now, by name."""
    found = [_of_run(one) for one in statuses.latest_runs(repository.id, sha)]
    found += [
        ShownStatus(
            context=one.context,
            state=one.state,
            description=one.description,
            url=one.target_url,
            by=one.by,
            at=one.at,
            calls=statuses.count(repository.id, sha, one.context),
        )
        for one in statuses.latest(repository.id, sha)
    ]
    return sorted(found, key=lambda one: (one.context.lower(), one.run is None))


def tone(state: str) -> str:
    """How a state looks."""
    return _TONE.get(state, "neutral")


def _of_run(run: CheckRun) -> ShownStatus:
    return ShownStatus(
        context=run.name,
        state=run.state,
        description=run.output.get("title"),
        url=run.details_url,
        by=run.by,
        at=run.updated_at,
        calls=run.calls,
        run=run,
    )


def _summary(shown: list[ShownStatus]) -> str | None:
    """One state for all that is shown on a commit; None: nothing is."""
    tones = {tone(one.state) for one in shown}
    for state in ("failure", "pending", "success"):
        if tone(state) in tones:
            return state
    return "neutral" if shown else None


def _markdown(written: str) -> Markup:
    return Markup(comments.as_html(written))  # noqa: S704 - sanitised by as_html


def _missing(words: str) -> Response:
    return Response(words, status_code=HTTPStatus.NOT_FOUND)
