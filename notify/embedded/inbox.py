"""The web inbox of the catcher: a list of emails, and each as HTML, text, headers and raw bytes."""

from http import HTTPStatus
from re import IGNORECASE
from re import compile as pattern
from typing import Annotated

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

from notify.embedded.local_pages import guard, page
from notify.embedded.mailbox import CaughtEmail, Mailbox

VIEWS = ("html", "text", "headers", "raw")

EMAIL_POLICY = (
    "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; style-src 'unsafe-inline';"
    " img-src data:; form-action 'none'; frame-ancestors 'self'"
)
"""For the HTML of an email: it may style itself and open links in new tabs, and neither run nor load anything."""

HEAD = pattern(r"<head\b[^>]*>", IGNORECASE)
NEW_TABS = '<base target="_blank">'

router = APIRouter()


def create_app(mailbox: Mailbox) -> FastAPI:
    """
    The inbox over this mailbox.

    Anybody can write an email. The inbox's own pages escape its words; its HTML is shown in a sandboxed frame,
    and its policy forbids the same when it is opened by itself.
    """
    app = FastAPI(title="notify inbox", docs_url=None, redoc_url=None, openapi_url=None)
    app.state.mailbox = mailbox
    app.middleware("http")(guard)
    app.include_router(router)
    return app


async def _mailbox(request: Request) -> Mailbox:
    mailbox: Mailbox = request.app.state.mailbox
    return mailbox


async def _find(identifier: str, mailbox: Annotated[Mailbox, Depends(_mailbox)]) -> CaughtEmail:
    caught = mailbox.find(identifier)
    if caught is None:
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such email; only the newest are kept.")
    return caught


Emails = Annotated[Mailbox, Depends(_mailbox)]


@router.get("/")
async def show_list(mailbox: Emails, q: str = "") -> Response:
    """The newest first; with *q*, those that contain all of its words."""
    words = q.lower().split()
    found = [one for one in mailbox.newest_first() if all(word in one.email.searchable for word in words)]
    return page("inbox.html", emails=found, query=q.strip())


@router.get("/emails/{identifier}")
async def show_email(caught: Annotated[CaughtEmail, Depends(_find)], view: str | None = None) -> Response:
    """An email, as HTML if it has any, else as text, unless another view is asked for."""
    if view not in VIEWS:
        view = "html" if caught.email.html else "text"
    raw = caught.path.read_bytes().decode("utf-8", "replace") if view == "raw" else ""
    return page("inbox_email.html", caught=caught, view=view, views=VIEWS, raw=raw)


@router.get("/emails/{identifier}/html")
async def show_html(caught: Annotated[CaughtEmail, Depends(_find)]) -> Response:
    html = HEAD.sub(lambda found: found[0] + NEW_TABS, caught.email.html, count=1)
    return HTMLResponse(
        html if NEW_TABS in html else NEW_TABS + html, headers={"Content-Security-Policy": EMAIL_POLICY}
    )


@router.get("/emails/{identifier}/download")
async def download(caught: Annotated[CaughtEmail, Depends(_find)]) -> Response:
    return FileResponse(caught.path, media_type="message/rfc822", filename=caught.path.name)


@router.post("/delete")
async def delete_all(mailbox: Emails) -> Response:
    mailbox.clear()
    return RedirectResponse("/", status_code=HTTPStatus.SEE_OTHER)


@router.get("/livez")
async def live() -> Response:
    return Response(status_code=HTTPStatus.NO_CONTENT)
