"""The API as an ASGI application. ``notify.embedded.commands`` has the command that serves it."""

import gc
from asyncio import Semaphore, to_thread
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from uuid import uuid4

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from notify import logs, wiring
from notify.api import (
    connections,
    directory,
    event_types,
    events,
    forges,
    health,
    jobs,
    metrics,
    preferences,
    queues,
    reference,
    statuses,
    webhook_endpoints,
    webhooks,
)
from notify.api.arrivals import Arrivals
from notify.channels.links import ForgedLink
from notify.domain.errors import InvalidSettings, MalformedEvent
from notify.domain.measures import Role, no_count
from notify.http import bodies, problems
from notify.http.call_limits import CallLimiter
from notify.http.context import Context
from notify.http.edge import AccessLog, HostFilter, PathPrefix
from notify.http.pages import Pages
from notify.http.person_tokens import PersonTokens, published_keys, shared_secret
from notify.resources import version
from notify.settings import Settings, load_or_exit
from notify.store.database import UNAVAILABLE
from notify.tally import Tally
from notify.web import preferences_page, unsubscribe

ROUTERS = (
    events.router,
    event_types.router,
    directory.router,
    preferences.router,
    jobs.router,
    webhooks.router,
    forges.router,
    forges.people,
    queues.router,
    statuses.router,
    webhook_endpoints.router,
    unsubscribe.router,
    preferences_page.router,
    preferences_page.mine,
    health.router,
    reference.router,
)


def create_app() -> FastAPI:
    """
    The application, from the settings of this process.

    Raises:
        SystemExit: A setting is invalid, or no database is set. uvicorn would print a traceback of any other error.
    """
    gc.freeze()  # Or each collection below goes through all that was imported: a third of the time this takes.
    settings = load_or_exit()
    logs.configure(level=settings.log_level, style=settings.log_format)
    try:
        app = build_app(context_of(settings))
    except InvalidSettings as error:
        raise SystemExit(f"notify: {error}") from None
    app.openapi()  # its tenth of a second belongs to the start, not to a request
    # Otherwise a full garbage collection blocks the event loop for a tenth of a second.
    gc.collect()
    gc.freeze()
    return app


def context_of(settings: Settings) -> Context:
    """The context that these settings describe. Opens no connection."""
    database = wiring.database(settings)
    tally = Tally(database, process=uuid4(), role=Role.API)
    doorbell = wiring.doorbell(settings, count=tally.count)
    return Context(
        database=database,
        doorbell=doorbell,
        tally=tally,
        pages=Pages(settings.templates_dir, added=wiring.added_templates()),
        preview_composer=wiring.preview_composer(settings),
        links=wiring.links(settings),
        people=_person_tokens(settings),
        forges=wiring.forges(settings, database),
        queues=wiring.queues(settings, database, doorbell=doorbell),
        keys=settings.signing_keys,
        operators=settings.operator_names,
        no_mail=wiring.NO_MAIL if settings.smtp_url is None else None,
        relays=tuple(one.name for one in wiring.relays(settings)),
        calls_per_minute=settings.api_calls_per_minute,
        names=None if settings.api_hosts is None else settings.api_hosts.split(),
        client_seconds=settings.api_client_seconds,
    )


def build_app(context: Context) -> FastAPI:
    """The application on this context. Opens no connection; makes its OpenAPI document when first asked for it."""
    app = FastAPI(
        title="notify",
        version=version(),
        summary="One event in, one email per person out.",
        description=reference.DESCRIPTION,
        openapi_tags=reference.TAGS,
        generate_unique_id_function=reference.operation_id,
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        responses=problems.COMMON_RESPONSES,
        lifespan=_serving,
    )
    attach(app, context)
    app.state.routes = routes = [route for router in ROUTERS for route in router.routes]
    # The routes that are tried before one that is called often cost its calls time.
    for router in sorted(ROUTERS, key=lambda one: one is not webhooks.router):
        app.include_router(router)
    _add_error_handlers(app)
    if context.calls_per_minute is not None:
        count = context.tally.count if context.tally is not None else no_count
        app.add_middleware(CallLimiter, per_minute=context.calls_per_minute, count=count)
    if context.names is not None:
        app.add_middleware(HostFilter, names=context.names)
    app.add_middleware(AccessLog)
    app.add_middleware(PathPrefix)
    app.openapi = partial(reference.document, app, routes)  # type: ignore[method-assign] # as FastAPI documents it
    return app


def attach(app: FastAPI, context: Context) -> None:
    """Have *app* answer with this context from now on; limits of calls and host names stay as it was built with."""
    app.state.context = context
    app.state.arrivals = Arrivals(context.database, context.doorbell)
    app.state.large_bodies = Semaphore(bodies.LARGE_AT_ONCE)
    app.state.metrics = metrics.registry(
        context.database,
        relays=context.relays,
        queues=tuple(context.queues.settings),
        forges=tuple(context.forges.by_name),
    )


@asynccontextmanager
async def _serving(app: FastAPI) -> AsyncIterator[dict[str, float]]:
    """Write this process's counts while it serves. The state is read by ``notify.api.connections``."""
    context: Context = app.state.context
    if context.tally is not None:
        context.tally.start()
    yield {connections.STATE: context.client_seconds}
    if context.tally is not None:
        await to_thread(context.tally.stop)


def _person_tokens(settings: Settings) -> PersonTokens | None:
    claim, audience = settings.jwt_claim, settings.jwt_audience
    if settings.jwks_url is not None:
        return published_keys(settings.jwks_url, claim=claim, audience=audience)
    if settings.jwt_secret is not None:
        return shared_secret(settings.jwt_secret.get_secret_value(), claim=claim, audience=audience)
    return None


def _add_error_handlers(app: FastAPI) -> None:
    app.exception_handler(HTTPException)(problems.refused)
    app.exception_handler(RequestValidationError)(problems.invalid)
    app.exception_handler(MalformedEvent)(problems.malformed)
    app.exception_handler(ForgedLink)(problems.forged)
    for away in UNAVAILABLE:
        app.exception_handler(away)(problems.unreachable)
    app.exception_handler(Exception)(problems.failed)
