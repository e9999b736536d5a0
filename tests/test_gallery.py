"""The gallery: every email and page in every language, with pictures if Chromium is installed."""

from pathlib import Path

import pytest

from notify.cli import sample
from notify.http.pages import Pages
from tests.support import gallery
from tests.support.emails import HOST, composer

EMAILS = [*sample.PAYLOADS, "bundle", "digest"]
PAGES = [
    "page.unsubscribe",
    "page.confirmation",
    "page.confirmation.queue",
    "page.preferences",
    "page.preferences.saved",
    "page.preferences.refused",
    "page.refusal",
]
STAND_IN = """#!/bin/sh
for option; do
    case $option in
        --blink-settings=*) settings=${option#*=} ;;
        --screenshot=*) picture=${option#*=} ;;
    esac
done
printf %s "$settings$option" > "$picture"
"""


def test_without_a_browser_every_email_and_page_is_shown_in_every_language(tmp_path: Path) -> None:
    page = gallery.write(tmp_path / "new" / "gallery", composer(), Pages(), host=HOST, browser=None)
    shown = page.read_text(encoding="utf-8")
    files = {path.name for path in page.parent.iterdir()} - {page.name}
    stems = [f"{name}.{language}" for name in EMAILS + PAGES for language in ("en", "de")]
    assert all(f"<figcaption>{stem}</figcaption>" in shown for stem in stems)
    texts = {f"{stem}.txt" for stem in stems if not stem.startswith("page.")}
    assert files == {f"{stem}.html" for stem in stems} | texts
    assert shown.count("<iframe") == 2 * len(stems)


def test_a_browser_takes_a_picture_of_every_email_and_page_light_and_dark(tmp_path: Path) -> None:
    browser = tmp_path / "chromium"
    browser.write_text(STAND_IN)
    browser.chmod(0o755)
    page = gallery.write(tmp_path / "gallery", composer(), Pages(), host=HOST, browser=str(browser))
    pictures = {path.name: path.read_text() for path in page.parent.glob("*.png")}
    assert len(pictures) == 2 * 2 * len(EMAILS + PAGES)
    assert pictures["cl.merged.de.dark.png"].startswith("preferredColorScheme=0")
    assert pictures["cl.merged.de.light.png"].startswith("preferredColorScheme=1")
    assert all(f'src="{name}"' in page.read_text(encoding="utf-8") for name in pictures)


def test_the_browser_is_the_first_that_is_installed_or_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert gallery.browser() is None
    for name in ("google-chrome", "chromium"):
        (tmp_path / name).touch(mode=0o755)
    assert gallery.browser() == str(tmp_path / "chromium")
