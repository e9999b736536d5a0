"""Pages of the embedded servers, for this machine alone: nothing is loaded from elsewhere."""

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from secrets import token_urlsafe
from urllib.parse import urlsplit

from fastapi import Request, Response
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notify.dns_names import is_local
from notify.resources import folder


async def guard(request: Request, proceed: Callable[[Request], Awaitable[Response]]) -> Response:
    """Refuse what another site makes a browser ask for, and set the headers that every page has."""
    if not is_local(request.url.hostname or "") or (request.method != "GET" and _is_cross_origin(request)):
        return Response("This server answers to local names and its own pages only.", status_code=HTTPStatus.FORBIDDEN)
    response = await proceed(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response


def page(template: str, **facts: object) -> Response:
    """A page that may apply its own style and run its own script, which fetches the page again."""
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; script-src 'nonce-{nonce}'; connect-src 'self';"
        " img-src data:; frame-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    )
    html = _templates().get_template(template).render(nonce=nonce, **facts)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})


def _is_cross_origin(request: Request) -> bool:
    """Whether a page of another origin sent this; programs that are no browsers name no origin."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


@cache
def _templates() -> Environment:
    return Environment(
        loader=FileSystemLoader(folder("templates") / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
