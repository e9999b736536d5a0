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


def create_app(rest: Rest, hooks: Hooks, statuses: StatusLedger) -> FastAPI:
    """The forge's API, and the pages that show what it keeps."""
    app = FastAPI(title="notify forge", docs_url=None, redoc_url=None, openapi_url=None)
    state = rest.state

    @app.middleware("http")
    async def guarded(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
        response = await guard(request, proceed)
        response.headers.setdefault("Date", formatdate(usegmt=True))
        return response

    @app.get("/")
    async def show() -> Response:
        with state.lock:
            pulls = list(state.pulls())[:SHOWN]
            return page(
                "forge.html",
                repositories=sorted(state.repositories.values(), key=lambda one: one.full_name),
                pulls=[(one, pull, _summary(shown(statuses, one, pull.head_sha))) for one, pull in pulls],
                deliveries=list(reversed(hooks.deliveries))[:SHOWN],
                tone=tone,
            )

    @app.get("/livez")
    async def live() -> Response:
        return Response(status_code=HTTPStatus.NO_CONTENT)

    @app.get("/{owner}/{name}/pull/{number}")
    async def show_pull(owner: str, name: str, number: int) -> Response:
        with state.lock:
            found = state.repositories.get(f"{owner}/{name}".lower())
            pull = found.pulls.get(number) if found else None
            if found is None or pull is None:
                return _missing("There is no such pull request.")
            shown_now = shown(statuses, found, pull.head_sha)
            earlier = [one for one in pull.commits if one != pull.head_sha][::-1][:SHOWN]
            return page("forge_pull.html", repository=found, pull=pull, shown=shown_now, earlier=earlier, tone=tone)

    @app.get("/{owner}/{name}/commit/{sha}")
    async def show_commit(owner: str, name: str, sha: str) -> Response:
        with state.lock:
            found = state.repositories.get(f"{owner}/{name}".lower())
            if found is None or sha not in found.commits:
                return _missing("There is no such commit.")
            calls = statuses.of(found.id, sha)
            return page(
                "forge_commit.html",
                repository=found,
                sha=sha,
                shown=shown(statuses, found, sha),
                pulls=[one for one in found.pulls.values() if one.has(sha)],
                branches=[branch for branch, head in found.branches.items() if head == sha],
                calls=calls[::-1][:SHOWN],
                called=len(calls),
                markdown=_markdown,
                tone=tone,
            )

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
