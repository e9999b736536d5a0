"""The letters as they were last looked at: ``python -m tests.support.snapshots`` writes them anew."""

from collections.abc import Iterator
from pathlib import Path

from notify.cli import sample
from tests.support.letters import HOST, NOON, composer

FOLDER = Path(__file__).parents[1] / "channels" / "email" / "snapshots"


def letters() -> Iterator[tuple[str, str]]:
    """Name and content of every snapshot: each type in each language, as text and as HTML."""
    ours = composer()
    for event_type in sample.PAYLOADS:
        for language in ours.languages:
            composed = ours.compose(sample.letter(event_type, host=HOST, locale=language), date=NOON)
            yield f"{event_type}.{language}.txt", f"Subject: {composed.subject}\n\n{composed.text}"
            yield f"{event_type}.{language}.html", composed.html


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for old in FOLDER.iterdir():
        old.unlink()
    for name, content in letters():
        (FOLDER / name).write_text(content, encoding="utf-8")
