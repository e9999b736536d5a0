"""Pages for people who follow a link from a letter: no script, no cookie, nothing loaded from elsewhere."""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from pathlib import Path

from fastapi import HTTPException, Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined

from notify.channels.languages import DEFAULT, Languages
from notify.http.edge import route_path
from notify.resources import folder

PATHS = ("/unsubscribe/", "/preferences/")


class Refusal(HTTPException):
    """
    What a page does not do, and why.

    Args:
        detail: A sentence that the catalogues translate.
        language: What the reader reads; None: nobody knows but their browser.
    """

    def __init__(self, status: int, detail: str, *, language: str | None = None) -> None:
        super().__init__(status, detail)
        self.language = language


class Pages:
    """
    Renders ``templates/pages``; the styles of every page stand in ``_base.css``.

    Args:
        templates_dir: Folder whose files override those of ``templates/``.
    """

    def __init__(self, templates_dir: Path | None = None) -> None:
        folders = [*([templates_dir] if templates_dir else []), folder("templates")]
        self.languages = Languages(folders)
        self._environments = {tag: self._environment(folders, tag) for tag in self.languages.known}
        self._headers = _headers(css=self._environments[DEFAULT].get_template("pages/_base.css").render())

    def render(
        self, page: str, facts: Mapping[str, object], *, language: str | None = None, status: int = 200
    ) -> HTMLResponse:
        """
        The page ``templates/pages/<page>.html`` about these facts.

        Args:
            language: What the reader reads, as a BCP 47 tag; the nearest that is known is taken.
        """
        environment = self._environments[self.languages.best(language)]
        html = environment.get_template(f"pages/{page}.html").render(facts)
        return HTMLResponse(html, status_code=status, headers=self._headers)

    def refusal(self, request: Request, status: int, *, title: str, detail: str, language: str | None) -> HTMLResponse:
        """
        A page that says what is wrong, in the reader's language or else in the one that their browser asks for.

        Args:
            title: As ``detail``, a sentence that the catalogues translate.
        """
        chosen = self.languages.best(language or self.languages.asked_for(request.headers.get("accept-language")))
        said = self.languages.translations(chosen).gettext
        return self.render("message", {"title": said(title), "detail": said(detail)}, language=chosen, status=status)

    def _environment(self, folders: Sequence[Path], language: str) -> Environment:
        environment = Environment(
            loader=FileSystemLoader(folders), autoescape=True, undefined=StrictUndefined, trim_blocks=True
        )
        return self.languages.speak(environment, language)


def _headers(*, css: str) -> dict[str, str]:
    """The address of such a page is a key: it must not be stored, framed, or told to other sites."""
    style = b64encode(sha256(css.encode()).digest()).decode("ascii")
    return {
        "Content-Security-Policy": f"default-src 'none'; style-src 'sha256-{style}'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'",
        "Referrer-Policy": "no-referrer",
        "Cache-Control": "no-store",
        "X-Content-Type-Options": "nosniff",
    }


def is_page(request: Request) -> bool:
    """Whether somebody looks at the answer, so that a refusal is a page too."""
    return route_path(request.scope).startswith(PATHS)
