"""Emails and pages as they were last looked at: ``python -m tests.support.snapshots`` writes them anew."""

from collections.abc import Iterator
from pathlib import Path

from notify.http.pages import Pages
from tests.support import gallery
from tests.support.letters import HOST, NOON, composer

TESTS = Path(__file__).parents[1]
LETTERS = TESTS / "channels" / "email" / "writing" / "snapshots"
PAGES = TESTS / "web" / "snapshots"


def snapshots() -> Iterator[tuple[Path, str]]:
    """Path and content of every snapshot: each email as text and as HTML, and each page, in each language."""
    for exhibit in gallery.exhibits(composer(), Pages(), host=HOST, at=NOON):
        if exhibit.text is not None:
            yield LETTERS / f"{exhibit.stem}.txt", exhibit.text
        yield (PAGES if exhibit.text is None else LETTERS) / f"{exhibit.stem}.html", exhibit.html


if __name__ == "__main__":
    for folder in (LETTERS, PAGES):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    for path, content in snapshots():
        path.write_text(content, encoding="utf-8")
