"""What ``/openapi.json`` and ``/docs`` say beyond what the operations say themselves."""

from collections.abc import Sequence
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import HTMLResponse, RedirectResponse
from fastapi.routing import APIRoute
from starlette.routing import BaseRoute

from notify.http import bodies, problems

DESCRIPTION = """\
Programs authenticate with a token from `notify token create` (it begins with `ntf_` and has scopes). People
authenticate with a JWT that names them; `notify token user NAME` makes one where `NOTIFY_JWT_SECRET` is set. Send
either as `Authorization: Bearer TOKEN`.

Errors are problem documents (RFC 9457). `errors` names each field that was refused. Unknown fields are refused.
"""
TAGS = [
    {"name": "events", "description": "Emit events, and see what became of them. Scope `events:write`."},
    {"name": "event types", "description": "Defaults, expiry and bundling of event types, for operators. Scope `ops`."},
    {"name": "directory", "description": "People and change lists. Scope `directory:write`."},
    {"name": "preferences", "description": "One person's own preferences and history. Needs that person's JWT."},
    {"name": "jobs", "description": "Email jobs, for operators. Scope `ops`."},
    {"name": "webhooks", "description": "Webhooks of forges. Let in by their signature."},
    {"name": "forges", "description": "Repositories and webhook deliveries, for operators. Scope `ops`."},
    {"name": "queues", "description": "At which commit a branch is green. Scopes `events:write` and `ops`."},
    {"name": "statuses", "description": "Statuses on commits. Scope `statuses:write`; for operators `ops`."},
    {"name": "webhook endpoints", "description": "Where outcomes are told, for operators. Scope `ops`."},
    {"name": "pages", "description": "HTML pages behind the signed links in emails."},
    {"name": "health", "description": "Probes and metrics. Open to everybody."},
]

router = APIRouter(include_in_schema=False)
ROOT = '<div id="swagger-ui">'


@router.get("/")
def home(request: Request) -> RedirectResponse:
    return RedirectResponse(f"{_prefix(request)}/docs")


@router.get("/docs")
def docs(request: Request) -> HTMLResponse:
    """Swagger UI, which replaces the note as soon as it has been loaded from its CDN."""
    document = f"{_prefix(request)}/openapi.json"
    page = get_swagger_ui_html(openapi_url=document, title="notify API", swagger_favicon_url="data:,")
    note = (
        f'<p>Loading Swagger UI from cdn.jsdelivr.net. Without a network, read <a href="{document}">{document}</a>.</p>'
    )
    return HTMLResponse(bytes(page.body).decode().replace(ROOT, ROOT + note))


def _prefix(request: Request) -> str:
    """Source: in ASGI ``root_path`` is the prefix that a proxy serves us under."""
    prefix: str = request.scope.get("root_path", "")
    return prefix.rstrip("/")


def operation_id(route: APIRoute) -> str:
    """The name of its function, as clients in other languages write it: ``emitEvent``."""
    first, *others = route.name.split("_")
    return first + "".join(word.capitalize() for word in others)


def document(app: FastAPI, routes: Sequence[BaseRoute]) -> dict[str, Any]:
    """The OpenAPI document of *app*, made once."""
    if app.openapi_schema is None:
        _complete(FastAPI.openapi(app), routes)
    return FastAPI.openapi(app)


def _complete(document: dict[str, Any], routes: Sequence[BaseRoute]) -> None:
    """Add what FastAPI does not know: refusals, bodies, summaries from docstrings. Paths get the order of *routes*."""
    paths = dict.fromkeys(route.path_format for route in routes if isinstance(route, APIRoute))
    document["paths"] = {path: document["paths"][path] for path in paths if path in document["paths"]}
    document["components"]["schemas"].update(problems.schemas())
    bodies.describe(document, routes)
    for operations in document["paths"].values():
        for operation in operations.values():
            summary, _, rest = operation.pop("description").partition("\n\n")
            operation["summary"] = summary.removesuffix(".")
            if rest:
                operation["description"] = rest
