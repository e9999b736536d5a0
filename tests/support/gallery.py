"""
Every email and page in every language, small and wide, light and dark: ``python -m tests.support.gallery FOLDER``.

With Chromium installed, they are shown as pictures. A second argument names a folder of templates.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from tempfile import TemporaryDirectory

from notify.channels.email.writing.compose import Composer
from notify.cli import sample
from notify.domain.jobs import EmailFacts
from notify.http.pages import Pages
from tests.support import sample_bundles, sample_pages
from tests.support.emails import HOST, composer

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "chrome-headless-shell")
SCHEMES = {"light": "1", "dark": "0"}  # Blink's numbers for the reader's colour scheme
WIDTHS = (320, 1200)
HEIGHT = 1600
HEIGHT_OF_A_FORM = 3400
TIMEOUT_SECONDS = 60

INDEX = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Emails and pages</title>
<style>
body {{ margin: 2rem; font: 1rem/1.5 system-ui, sans-serif; }}
figure {{ margin: 0 0 3rem; }}
figcaption {{ margin: 0 0 .5rem; font-weight: 600; }}
img, iframe {{ max-width: 100%; border: 1px solid #999; }}
</style>
<h1>Emails and pages</h1>
{figures}
</html>
"""
FRAMES = """<!doctype html>
<meta charset="utf-8">
<style>
body {{ display: flex; gap: 20px; align-items: start; margin: 20px; background: #888; }}
iframe {{ border: 0; }}
</style>
{frames}
"""


@dataclass(frozen=True, slots=True)
class Exhibit:
    """One email or page in one language."""

    name: str
    language: str
    html: str
    text: str | None = None

    @property
    def stem(self) -> str:
        """The name of its files, without extension."""
        return f"{self.name}.{self.language}"

    @property
    def height(self) -> int:
        """The height of its pictures, in pixels."""
        return HEIGHT_OF_A_FORM if "<fieldset" in self.html else HEIGHT


def browser() -> str | None:
    """The first Chromium that is installed, null if there is none."""
    return next((found for name in BROWSERS if (found := shutil.which(name))), None)


def write(folder: Path, composer: Composer, pages: Pages, *, host: str, browser: str | None) -> Path:
    """
    Write the gallery into this folder, which is created if missing, and return its page.

    Args:
        browser: Takes the pictures; null shows the emails themselves.
    """
    folder.mkdir(parents=True, exist_ok=True)
    figures = []
    for exhibit in exhibits(composer, pages, host=host, at=datetime.now(UTC)):
        _write(folder / f"{exhibit.stem}.html", exhibit.html)
        if exhibit.text is not None:
            _write(folder / f"{exhibit.stem}.txt", exhibit.text)
        shown = _frames(exhibit) if browser is None else _pictures(folder, exhibit, browser)
        figures += [f"<figure><figcaption>{escape(title)}</figcaption>{what}</figure>" for title, what in shown.items()]
    page = folder / "index.html"
    _write(page, INDEX.format(figures="\n".join(figures)))
    return page


def exhibits(composer: Composer, pages: Pages, *, host: str, at: datetime) -> Iterator[Exhibit]:
    """
    Every email and page in each available language.

    Args:
        at: When it was sent, and when its events happened.
    """
    for language in composer.languages:
        for name, email in _emails(host=host, at=at, language=language):
            composed = composer.compose(email, date=at)
            yield Exhibit(name, language, composed.html, f"Subject: {composed.subject}\n\n{composed.text}")
        for name, html in sample_pages.pages(pages, language, at=at):
            yield Exhibit(f"page.{name}", language, html)


def _emails(*, host: str, at: datetime, language: str) -> Iterator[tuple[str, EmailFacts]]:
    for event_type in sample.PAYLOADS:
        yield event_type, sample.email(event_type, host=host, locale=language)
    yield "bundle", sample_bundles.bundle(host=host, at=at, locale=language)
    yield "digest", sample_bundles.digest(host=host, at=at, locale=language)


def _frames(exhibit: Exhibit) -> dict[str, str]:
    return {exhibit.stem: _frame(exhibit, 320) + _frame(exhibit, 1200)}


def _frame(exhibit: Exhibit, width: int) -> str:
    fit = "this.height=this.contentDocument.documentElement.scrollHeight"
    return (
        f'<iframe title="{width}" width="{width}" height="10" onload="{fit}" srcdoc="{escape(exhibit.html)}"></iframe>'
    )


def _pictures(folder: Path, exhibit: Exhibit, browser: str) -> dict[str, str]:
    """One picture for each colour scheme: the email at every width, side by side."""
    with TemporaryDirectory() as scratch:
        page = Path(scratch) / "frames.html"
        _write(page, FRAMES.format(frames="".join(_frame(exhibit, width) for width in WIDTHS)))
        for scheme in SCHEMES:
            picture = folder / f"{exhibit.stem}.{scheme}.png"
            _take(page, picture, browser=browser, scheme=scheme, height=exhibit.height, profile=scratch)
    names = {scheme: f"{exhibit.stem}.{scheme}.png" for scheme in SCHEMES}
    return {f"{exhibit.stem}, {scheme}": f'<img src="{name}" alt="" loading="lazy">' for scheme, name in names.items()}


def _take(page: Path, picture: Path, *, browser: str, scheme: str, height: int, profile: str) -> None:
    options = [
        "--headless",
        "--disable-gpu",
        "--hide-scrollbars",
        f"--user-data-dir={profile}/profile",
        f"--window-size={sum(WIDTHS) + 60},{height}",
        f"--blink-settings=preferredColorScheme={SCHEMES[scheme]}",
        f"--screenshot={picture.absolute()}",
        *(["--no-sandbox"] if os.geteuid() == 0 else []),
    ]
    command = [browser, *options, page.as_uri()]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT_SECONDS)


def _write(path: Path, words: str) -> None:
    path.write_text(words, encoding="utf-8")


def main(arguments: Sequence[str]) -> None:
    """Write the gallery and print where its page is."""
    folder, *templates = map(Path, arguments)
    templates_dir = templates[0] if templates else None
    page = write(folder, composer(templates_dir=templates_dir), Pages(templates_dir), host=HOST, browser=browser())
    sys.stdout.write(f"{page}\n")


if __name__ == "__main__":
    main(sys.argv[1:])
