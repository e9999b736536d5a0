"""The API as an ASGI application: ``uvicorn --factory notify.api.app:create_app --no-access-log``."""

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from sqlalchemy.exc import OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from starlette.exceptions import HTTPException

from notify import logs, wiring
from notify.api import directory, events, health, jobs, preferences, preferences_page, problems, reference, unsubscribe
from notify.api.context import Context
from notify.api.edge import AccessLog, LimitedBody
from notify.api.pages import Pages
from notify.api.person_tokens import PersonTokens, published_keys, shared_secret
from notify.channels.links import ForgedLink
from notify.settings import Settings, load

ROUTERS = (
    events.router,
    directory.router,
    preferences.router,
    jobs.router,
    unsubscribe.router,
    preferences_page.router,
    health.router,
    reference.router,
)


def create_app() -> FastAPI:
    """
    The application of this process's settings.

    Raises:
        InvalidSettings: They make no sense, or name no database.
    """
    settings = load()
    logs.configure(level=settings.log_level, style=settings.log_format)
    return build_app(context_of(settings))


def context_of(settings: Settings) -> Context:
    """The parts that these settings describe. Opens no connection."""
    return Context(
        database=wiring.database(settings),
        doorbell=wiring.doorbell(settings),
        pages=Pages(settings.templates_dir),
        links=wiring.links(settings),
        people=_person_tokens(settings),
        no_mail=wiring.NO_MAIL if settings.smtp_url is None else None,
        relay=wiring.relay_name(settings),
    )


def build_app(context: Context) -> FastAPI:
    """The application that answers from *context*. Building it touches nothing outside the process."""
    app = FastAPI(
        title="notify",
        summary="One event in, one letter per person out.",
        redirect_slashes=False,
        docs_url=None,
        redoc_url=None,
        responses=problems.OF_ALL,
    )
    app.state.context = context
    app.state.metrics = health.registry(context.database, relay=context.relay)
    for router in ROUTERS:
        app.include_router(router)
    _refuse_in_one_voice(app)
    app.add_middleware(LimitedBody)
    app.add_middleware(AccessLog)
    app.openapi()["components"]["schemas"].update(problems.schemas())
    return app


def _person_tokens(settings: Settings) -> PersonTokens | None:
    audience = settings.jwt_audience
    if settings.jwks_url is not None:
        return published_keys(settings.jwks_url, audience=audience)
    if settings.jwt_secret is not None:
        return shared_secret(settings.jwt_secret.get_secret_value(), audience=audience)
    return None


def _refuse_in_one_voice(app: FastAPI) -> None:
    app.exception_handler(HTTPException)(problems.refused)
    app.exception_handler(RequestValidationError)(problems.invalid)
    app.exception_handler(ForgedLink)(problems.forged)
    app.exception_handler(OperationalError)(problems.unreachable)
    app.exception_handler(PoolTimeout)(problems.unreachable)
    app.exception_handler(Exception)(problems.failed)
