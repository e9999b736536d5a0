"""The web inbox of the catcher: letters in a list, and each as HTML, text, headers and raw bytes."""

from collections.abc import Awaitable, Callable
from functools import cache
from http import HTTPStatus
from secrets import token_urlsafe
from typing import Annotated
from urllib.parse import urlsplit

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notify.embedded.mailbox import Caught, Mailbox
from notify.hosts import is_local
from notify.resources import folder

RAW_BYTES = 256 * 1024
VIEWS = ("html", "text", "headers", "raw")

LETTER_POLICY = (
    "sandbox; default-src 'none'; style-src 'unsafe-inline'; img-src data:; form-action 'none'; frame-ancestors 'self'"
)
"""For the HTML of a letter: it may lay itself out, and neither act nor load anything."""

Next = Callable[[Request], Awaitable[Response]]


router = APIRouter()


def create_app(mailbox: Mailbox) -> FastAPI:
    """
    The inbox over this mailbox.

    Letters come from anybody. On the inbox's own pages their words are escaped; their HTML is shown in a frame
    without any right, and its answer forbids the same once more for whoever opens it alone.
    """
    app = FastAPI(title="notify inbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.mailbox = mailbox
    app.middleware("http")(_guard)
    app.include_router(router)
    return app


async def _mailbox(request: Request) -> Mailbox:
    mailbox: Mailbox = request.app.state.mailbox
    return mailbox


async def _caught(identifier: str, mailbox: Annotated[Mailbox, Depends(_mailbox)]) -> Caught:
    caught = mailbox.find(identifier)
    if caught is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such letter; only the newest are kept.")
    return caught


Letters = Annotated[Mailbox, Depends(_mailbox)]


@router.get("/")
async def show_list(mailbox: Letters) -> Response:
    return _page("inbox.html", letters=list(mailbox.newest_first()))


@router.get("/letters/{identifier}")
async def show_letter(caught: Annotated[Caught, Depends(_caught)], view: str | None = None) -> Response:
    """A letter, as HTML if it has any, else as text, unless another view is asked for."""
    usual = "html" if caught.letter.html else "text"
    chosen = view if view in VIEWS else usual
    raw = caught.path.read_bytes()[:RAW_BYTES] if chosen == "raw" else b""
    return _page(
        "inbox_letter.html",
        caught=caught,
        view=chosen,
        views=VIEWS,
        raw=raw.decode("utf-8", "replace"),
        cut=caught.size > RAW_BYTES,
    )


@router.get("/letters/{identifier}/html")
async def show_html(caught: Annotated[Caught, Depends(_caught)]) -> Response:
    return HTMLResponse(caught.letter.html, headers={"Content-Security-Policy": LETTER_POLICY})


@router.get("/letters/{identifier}/download")
async def download(caught: Annotated[Caught, Depends(_caught)]) -> Response:
    return FileResponse(caught.path, media_type="message/rfc822", filename=caught.path.name)


@router.post("/delete")
async def delete_all(mailbox: Letters) -> Response:
    mailbox.clear()
    return RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)


@router.get("/livez")
async def live() -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)


async def _guard(request: Request, proceed: Next) -> Response:
    """Refuse what another site makes a browser ask for, and set the headers that hold for every page."""
    if not is_local(request.url.hostname or "") or (request.method == "POST" and _from_elsewhere(request)):
        return Response("The inbox answers to local names and its own pages only.", status_code=HTTPStatus.FORBIDDEN)
    response = await proceed(request)
    response.headers["X-Content-Type-Options"] = "nosniff"
    response.headers["Referrer-Policy"] = "no-referrer"
    response.headers["Cache-Control"] = "no-store"
    response.headers.setdefault("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
    return response


def _from_elsewhere(request: Request) -> bool:
    """Whether a page of another origin sent this; programs that are no browsers name none."""
    origin = request.headers.get("origin")
    return origin is not None and urlsplit(origin).netloc != request.headers.get("host")


@cache
def _pages() -> Environment:
    return Environment(
        loader=FileSystemLoader(folder("templates") / "pages"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def _page(template: str, **facts: object) -> Response:
    """A page whose own style is the only one that may apply, and that can run no script at all."""
    nonce = token_urlsafe(16)
    policy = (
        f"default-src 'none'; style-src 'nonce-{nonce}'; img-src data:; frame-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    )
    html = _pages().get_template(template).render(nonce=nonce, **facts)
    return HTMLResponse(html, headers={"Content-Security-Policy": policy})
