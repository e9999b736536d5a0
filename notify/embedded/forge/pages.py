"""The embedded forge's pages: repositories, pull requests, and what was shown on each commit."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from email.utils import formatdate
from http import HTTPStatus
from pathlib import Path

from fastapi import FastAPI, Request, Response
from fastapi.responses import FileResponse
from markupsafe import Markup

from notify.channels.email.writing import comments
from notify.embedded.forge.git.repositories import GitCommit, GitRepositories
from notify.embedded.forge.hooks import Hooks
from notify.embedded.forge.records import Pull, Repository
from notify.embedded.forge.rest import Rest
from notify.embedded.forge.state import ForgeState
from notify.embedded.forge.statuses import CheckRun, StatusLedger
from notify.embedded.local_pages import guard, page
from notify.heads.runners.command_job import OUTPUT

SHOWN = 200
COMMITS_SHOWN = 50

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


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCommit:
    """
    A commit of the default branch.

    Attributes:
        made: What git says of it; None: the repository is not one of git's.
        branches: Those whose head it is.
        summary: One state for all that is shown on it; None: nothing is.
        pull: The pull request that it merged; None: none.
    """

    sha: str
    made: GitCommit | None
    branches: list[str]
    summary: str | None
    pull: Pull | None


class Pages:
    """
    What people see of one forge.

    Args:
        hooks: Whose deliveries are listed.
        git: Knows the commits; None: nobody does.
        builds: Where builds of commands are, whose output is shown; None: there are none.
    """

    def __init__(self, state: ForgeState, hooks: Hooks, *, git: GitRepositories | None, builds: Path | None) -> None:
        self._state, self._statuses, self._hooks = state, state.statuses, hooks
        self._git, self._builds = git, builds

    def front(self) -> Response:
        with self._state.lock:
            pulls = list(self._state.pulls())[:SHOWN]
            return page(
                "forge.html",
                repositories=sorted(self._state.repositories.values(), key=lambda one: one.full_name),
                pulls=[(one, pull, self._summary(one, pull.shown_on)) for one, pull in pulls],
                deliveries=list(reversed(self._hooks.deliveries))[:SHOWN],
                tone=tone,
            )

    def repository(self, full_name: str, *, url: str) -> Response:
        with self._state.lock:
            repository = self._state.repositories.get(full_name.lower())
            if repository is None:
                return _missing("There is no such repository.")
            return page(
                "forge_repository.html",
                repository=repository,
                url=url if self._git and repository.is_git else None,
                commits=self._commits(repository),
                runs=list(reversed(repository.runs.values()))[:SHOWN],
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
                shown=shown(self._statuses, repository, pull.shown_on),
                earlier=[one for one in pull.commits if one != pull.shown_on][::-1][:SHOWN],
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
                made=next(iter(self._log(repository, sha, limit=1)), None),
                shown=shown(self._statuses, repository, sha),
                pulls=[one for one in repository.pulls.values() if one.has(sha)],
                branches=_branches_at(repository, sha),
                calls=calls[::-1][:SHOWN],
                called=len(calls),
                markdown=_markdown,
                tone=tone,
            )

    def build(self, build_id: str) -> Response:
        """What the build has written so far."""
        output = self._builds / build_id / OUTPUT if self._builds and build_id.isalnum() else None
        if output is None or not output.exists():
            return _missing("There is no such build.")
        return FileResponse(output, media_type="text/plain; charset=utf-8")

    def _summary(self, repository: Repository, sha: str) -> str | None:
        """One state for all that is shown on a commit; None: nothing is."""
        tones = {tone(one.state) for one in shown(self._statuses, repository, sha)}
        for state in ("failure", "pending", "success"):
            if tone(state) in tones:
                return state
        return "neutral" if tones else None

    def _log(self, repository: Repository, sha: str, *, limit: int) -> list[GitCommit]:
        return self._git.log(repository, sha, limit=limit) if self._git and repository.is_git else []

    def _commits(self, repository: Repository) -> list[ShownCommit]:
        """The newest commits of the default branch; of a repository without git, the heads of all branches."""
        head = repository.branches.get(repository.default_branch)
        made = self._log(repository, head, limit=COMMITS_SHOWN) if head else []
        known = {one.sha: one for one in made} or dict.fromkeys(repository.branches.values())
        return [
            ShownCommit(
                sha=sha,
                made=one,
                branches=_branches_at(repository, sha),
                summary=self._summary(repository, sha),
                pull=next((pull for pull in repository.pulls.values() if pull.merge_commit == sha), None),
            )
            for sha, one in known.items()
        ]


def create_app(rest: Rest, pages: Pages) -> FastAPI:
    """The forge's API, and the pages that show what it keeps."""
    app = FastAPI(title="notify forge", docs_url=None, redoc_url=None, openapi_url=None)

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

    @app.get("/builds/{build_id}")
    async def build(build_id: str) -> Response:
        return pages.build(build_id)

    @app.get("/{owner}/{name}")
    async def repository(request: Request, owner: str, name: str) -> Response:
        full_name = f"{owner}/{name.removesuffix('.git')}"
        return pages.repository(full_name, url=f"{request.base_url}{full_name}.git")

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


def _branches_at(repository: Repository, sha: str) -> list[str]:
    """The branches whose head a commit is, the default one first."""
    found = [branch for branch, head in repository.branches.items() if head == sha]
    return sorted(found, key=lambda branch: (branch != repository.default_branch, branch))


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


def _markdown(written: str) -> Markup:
    return Markup(comments.as_html(written))  # noqa: S704 - sanitised by as_html


def _missing(words: str) -> Response:
    return Response(words, status_code=HTTPStatus.NOT_FOUND)
