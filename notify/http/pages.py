"""Renders pages for people who follow a link in an email: no script, no cookie, nothing from other sites."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from http import HTTPStatus
from pathlib import Path
from types import MappingProxyType
from typing import Any

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.types import Scope

from notify.channels.languages import DEFAULT, Languages, marked
from notify.resources import folder

PATHS = ("/unsubscribe/", "/preferences/")
FORGED = marked(
    "The link is incomplete or does not come from this service; nothing was changed. Open it from the email again."
)
UNREACHABLE = marked("The database does not answer, so your change may not have been saved. Try again in a moment.")
FAILED = marked("This is an error in the service. It has been logged.")
LATER = marked("Please try again in a moment")
BUSY = marked("Too many requests in one minute; nothing was changed.")
# Title and text of a refusal, by status.
REFUSALS: Mapping[int, tuple[str, str]] = MappingProxyType(
    {
        HTTPStatus.NOT_FOUND: (marked("This link does not work"), FORGED),
        HTTPStatus.CONFLICT: (marked("This cannot be switched off"), marked("Nothing was changed.")),
        HTTPStatus.TOO_MANY_REQUESTS: (LATER, BUSY),
        HTTPStatus.INTERNAL_SERVER_ERROR: (marked("Something went wrong"), FAILED),
        HTTPStatus.SERVICE_UNAVAILABLE: (LATER, UNREACHABLE),
    }
)
OTHERWISE = (
    marked("This was not understood"),
    marked("Nothing was changed. Open the link in the email again, and use the form of its page."),
)
PAGE_RESPONSES: dict[int | str, dict[str, Any]] = {
    int(status): {"description": status.phrase, "content": {"text/html": {"schema": {"type": "string"}}}}
    for status in HTTPStatus
    if status in {*REFUSALS, 400, 408, 413, 415}
}


class Refusal(HTTPException):
    """
    A page refuses the call.

    Args:
        detail: A sentence that the catalogues translate.
        language: The reader's, if known; None: the browser's.
        settings_url: Their preferences page; None: it is not known whose.
    """

    def __init__(
        self, status: int, detail: str, *, language: str | None = None, settings_url: str | None = None
    ) -> None:
        super().__init__(status, detail)
        self.language = language
        self.settings_url = settings_url


class Pages:
    """
    Renders ``templates/pages``; all styles are in ``_base.css``.

    Args:
        templates_dir: Folder whose files override those in ``templates/``.
        added: Folders with translations of further event types' labels.
    """

    def __init__(self, templates_dir: Path | None = None, *, added: Sequence[Path] = ()) -> None:
        folders = [*([templates_dir] if templates_dir else []), folder("templates")]
        self.languages = Languages(folders, added=added)
        self._environments = {tag: self._environment(folders, tag) for tag in self.languages.known}
        self._headers = _headers(css=self._environments[DEFAULT].get_template("pages/_base.css").render())

    def render(
        self, page: str, facts: Mapping[str, object], *, language: str | None = None, status: int = 200
    ) -> HTMLResponse:
        """
        The page ``templates/pages/<page>.html`` with these facts.

        Args:
            language: The reader's, as a BCP 47 tag; the nearest available one is used.
        """
        environment = self._environments[self.languages.best(language)]
        html = environment.get_template(f"pages/{page}.html").render(facts)
        return HTMLResponse(html, status_code=status, headers=self._headers)

    def refusal(
        self,
        request: Request,
        status: int,
        refusal: Refusal | None = None,
        *,
        headers: Mapping[str, str] | None = None,
    ) -> HTMLResponse:
        """A page that says what is wrong, in the reader's language if known, else in the browser's."""
        title, detail = REFUSALS.get(status, OTHERWISE)
        accepted = self.languages.asked_for(request.headers.get("accept-language"))
        language = self.languages.best((refusal and refusal.language) or accepted)
        said = self.languages.translations(language).gettext
        facts = {
            "title": said(title),
            "detail": said(refusal.detail if refusal else detail),
            "settings_url": refusal and refusal.settings_url,
        }
        page = self.render("message", facts, language=language, status=status)
        page.headers.update(headers or {})
        return page

    def _environment(self, folders: Sequence[Path], language: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        return self.languages.speak(environment, language)


def _headers(*, css: str) -> dict[str, str]:
    """The page's URL is a credential, so it must not be cached, framed, or sent to other sites."""
    style = b64encode(sha256(css.encode()).digest()).decode("ascii")
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def is_page(request: Request) -> bool:
    """Whether the call is for a page that a person views in a browser."""
    return route_path(request.scope).startswith(PATHS)


def route_path(scope: Scope) -> str:
    """
    The path as in our routes, without a proxy's prefix.

    Source: in ASGI ``path`` begins with ``root_path``; some servers omit it, and Starlette accepts both.
    """
    path: str = scope["path"]
    rest = path.removeprefix(scope.get("root_path", ""))
    return rest if rest.startswith("/") else path
