"""Snapshots of emails and pages: ``python -m tests.support.snapshots`` writes them anew."""

from collections.abc import Iterator
from pathlib import Path

from notify.http.pages import Pages
from tests.support import gallery
from tests.support.emails import HOST, NOON, composer

TESTS = Path(__file__).parents[1]
EMAIL_SNAPSHOTS = TESTS / "channels" / "email" / "writing" / "snapshots"
PAGE_SNAPSHOTS = TESTS / "web" / "snapshots"


def snapshots() -> Iterator[tuple[Path, str]]:
    """Path and content of every snapshot: each email as text and as HTML, and each page, in each language."""
    for exhibit in gallery.exhibits(composer(), Pages(), host=HOST, at=NOON):
        if exhibit.text is not None:
            yield EMAIL_SNAPSHOTS / f"{exhibit.stem}.txt", exhibit.text
        yield (PAGE_SNAPSHOTS if exhibit.text is None else EMAIL_SNAPSHOTS) / f"{exhibit.stem}.html", exhibit.html


if __name__ == "__main__":
    for folder in (EMAIL_SNAPSHOTS, PAGE_SNAPSHOTS):
        folder.mkdir(exist_ok=True)
        for old in folder.iterdir():
            old.unlink()
    for path, content in snapshots():
        path.write_text(content, encoding="utf-8")
