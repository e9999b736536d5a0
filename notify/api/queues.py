"""Queues: at which commit each is green, what becomes of its heads, and what builds report; retries by hand."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import datetime
from http import HTTPStatus
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Path, Query
from pydantic import Field

from notify.api.schemas import Limit, View
from notify.domain.head_ports import NotFound, SourceControlUnavailable
from notify.domain.heads import BuildReport, BuildStatus, InvalidUri, ProjectResult
from notify.domain.stages import HEADS
from notify.heads import reading, told_builds
from notify.heads.ingest import EmptyQueue, UnknownQueue
from notify.heads.retry import CannotRetry
from notify.http import auth
from notify.http.bodies import JsonBody
from notify.http.context import Context, InContext
from notify.http.problems import BODY_RESPONSES, documented
from notify.intake.schema import Line, Name, Strict, WebAddress
from notify.store.directory.tokens import Scope
from notify.store.heads import listing
from notify.store.heads.listing import QueueView, RequestView

MOST_PROJECTS = 10_000

router = APIRouter(prefix="/api/v1", tags=["queues"], responses=auth.REFUSALS | documented(HTTPStatus.NOT_FOUND))
may_write = auth.program_with(Scope.EVENTS_WRITE)
may_read = auth.program_with(Scope.EVENTS_WRITE, Scope.OPS)
AWAY = documented(HTTPStatus.SERVICE_UNAVAILABLE)
QueueName = Annotated[
    str, Path(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}$", description="Name of the queue in `NOTIFY_FORGES_FILE`.")
]
RequestNumber = Annotated[int, Path(ge=1, le=2**53)]


class HeadsQuery(Strict):
    """Which heads to list."""

    cursor: Annotated[str, Field(max_length=40)] | None = None
    limit: Limit = 50


class GreennessQuery(Strict):
    """Which fact to show."""

    uri: Annotated[str, Field(max_length=2_000)]
    project: Annotated[Line | None, Field(description="Absent: the whole repository.")] = None


class IngestIn(Strict):
    """Which queue's head to take in."""

    queue: Annotated[str, Field(pattern=r"^[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}$", examples=["monorepo/main"])]


class Ingested(View):
    """The request that validates the queue's newest head."""

    id: str = Field(description="The request, such as `request/monorepo/main/128`.")


class ProjectIn(Strict):
    """How broken one project is."""

    name: Name
    degree: Annotated[float, Field(ge=0, le=1, description="0 green to 1 fully broken.")]


class BuildIn(Strict):
    """What a runner reports of a build."""

    status: BuildStatus
    url: WebAddress | None = Field(default=None, description="Page of the build.")
    projects: list[ProjectIn] = Field(default=[], max_length=MOST_PROJECTS, description="Those that it looked at.")


class BuildOut(View):
    """The build as it is recorded: the first final status stands."""

    id: str
    request: str
    status: BuildStatus


class Head(View):
    """One head of a queue, with what is known of it."""

    uri: str
    sha: str
    title: str
    author: str
    committed_at: datetime
    request_id: int | None = Field(description="Null: it was never taken in.")
    state: str | None
    degree: float | None = Field(description="0 green to 1 fully broken. Null: not recorded, which is not green.")
    projects: dict[str, float]


class History(View):
    """Heads, newest first."""

    heads: list[Head]
    next_cursor: str | None = Field(description="Where the next page begins. Null: no more.")


class Greenness(View):
    """How broken a commit is, which never changes."""

    degree: float = Field(description="0 green to 1 fully broken.")
    request: str = Field(description="The request that found it out.")
    created_at: datetime


@router.post("/ingest", status_code=HTTPStatus.ACCEPTED, dependencies=[may_write], responses=BODY_RESPONSES | AWAY)
def ingest(given: Annotated[IngestIn, Depends(JsonBody(IngestIn))], context: InContext) -> Ingested:
    """
    Take in a queue's newest head.

    Safe to repeat: a head has one request. Without an answer from source control (503) nothing is stored.
    """
    with _answered():
        id_ = context.queues.ingest(given.queue)
    context.doorbell.ring(HEADS)
    return Ingested(id=str(id_))


@router.post(
    "/builds/{queue:path}/{build_id}",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[may_write],
    responses=BODY_RESPONSES,
)
def report_build(
    queue: QueueName,
    build_id: Annotated[str, Path(max_length=500)],
    given: Annotated[BuildIn, Depends(JsonBody(BuildIn))],
    context: InContext,
) -> BuildOut:
    """
    Report what became of a build, so that nobody need ask its runner.

    Safe to repeat. Once a final status is recorded, no other replaces it; the answer has the recorded one.
    """
    projects = tuple(ProjectResult(one.name, one.degree) for one in given.projects)
    report = BuildReport(status=given.status, url=given.url, projects=projects)
    with _answered():
        build = told_builds.take_in(context.database, context.queues.stores, queue, build_id, report)
    context.doorbell.ring(HEADS)
    return BuildOut(id=build.id, request=str(build.request), status=build.status)


@router.get("/queues", dependencies=[may_read])
def list_queues(context: InContext) -> list[QueueView]:
    """List queues: the last green head of each, and what is under way."""
    with context.database.begin() as connection:
        return listing.queues(connection, list(context.queues.settings))


@router.get("/queues/{queue:path}/history", dependencies=[may_read], responses=AWAY)
def get_history(queue: QueueName, asked: Annotated[HeadsQuery, Query()], context: InContext) -> History:
    """List a queue's heads, newest first, with what is known of each."""
    _configured(context, queue)
    with _answered():
        page = reading.history(context.database, context.queues, queue, cursor=asked.cursor, limit=asked.limit)
    return History(heads=[Head(**asdict(one)) for one in page.items], next_cursor=page.next_cursor)


@router.get("/queues/{queue:path}/greenness", dependencies=[may_read])
def get_greenness(queue: QueueName, asked: Annotated[GreennessQuery, Query()], context: InContext) -> Greenness:
    """Say how broken a commit is; 404 means that it is not recorded, which is not green."""
    with _answered():
        fact = context.queues.stores.facts.get(queue, asked.uri, asked.project or "")
    assert fact.created_at is not None, "a stored fact has it"  # noqa: S101 - for the type checker
    return Greenness(degree=fact.degree, request=str(fact.request), created_at=fact.created_at)


@router.post(
    "/queues/{queue:path}/retry",
    status_code=HTTPStatus.ACCEPTED,
    dependencies=[may_write],
    responses=AWAY | documented(HTTPStatus.CONFLICT, HTTPStatus.UNPROCESSABLE_ENTITY),
)
def retry(queue: QueueName, context: InContext) -> Ingested:
    """
    Validate a queue's newest head again, if nothing was found out about it.

    The head gets a new request; the one that was given up, or whose build was cancelled, stays as it is. Of several
    calls at once one makes the request. Refused (409) where there is a verdict, the newest request is still under
    way, or the ref is at another commit.
    """
    with _answered():
        id_ = context.queues.retry(queue)
    context.doorbell.ring(HEADS)
    return Ingested(id=str(id_))


@router.get("/queues/{queue:path}", dependencies=[may_read])
def get_queue(queue: QueueName, context: InContext) -> QueueView:
    """Show a queue: its last green head, and what is under way."""
    _configured(context, queue)
    with context.database.begin() as connection:
        (found,) = listing.queues(connection, [queue])
    return found


@router.get("/requests/{queue:path}/{number}", dependencies=[may_read])
def get_request(queue: QueueName, number: RequestNumber, context: InContext) -> RequestView:
    """Show a request: what it validates, its state, and its build."""
    with context.database.begin() as connection:
        found = listing.request(connection, queue, number)
    if found is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, f"there is no request/{queue}/{number}")
    return found


def _configured(context: Context, queue: str) -> None:
    if queue not in context.queues.settings:
        known = ", ".join(sorted(context.queues.settings)) or "none"
        raise HTTPException(HTTPStatus.NOT_FOUND, f"no queue {queue} is configured; known: {known}")


@contextmanager
def _answered() -> Iterator[None]:
    """What use cases raise, as answers."""
    try:
        yield
    except CannotRetry as error:
        raise HTTPException(HTTPStatus.CONFLICT, str(error)) from None
    except EmptyQueue as error:
        raise HTTPException(HTTPStatus.UNPROCESSABLE_ENTITY, str(error)) from None
    except (UnknownQueue, NotFound, InvalidUri) as error:
        raise HTTPException(HTTPStatus.NOT_FOUND, str(error)) from None
    except SourceControlUnavailable as error:
        raise HTTPException(HTTPStatus.SERVICE_UNAVAILABLE, str(error)) from None
