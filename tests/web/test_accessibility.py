"""Everybody can read and use the pages: by ear, by keyboard, with low contrast, in both colour schemes."""

from itertools import pairwise
from re import findall

import pytest

from notify.http.pages import Pages
from notify.resources import folder
from tests.support import sample_pages
from tests.support.emails import NOON
from tests.support.html_tree import Tree

PAGES = Pages()
STYLES = (folder("templates") / "pages" / "_base.css").read_text(encoding="utf-8")
LEAST_CONTRAST = 4.5
PAIRS = [
    *(("ink", "paper"), ("quiet", "paper"), ("accent", "paper"), ("on-accent", "accent")),
    *(("done-ink", "done"), ("trouble-ink", "trouble"), ("trouble-ink", "paper")),
]

every_page = pytest.mark.parametrize(
    "html",
    [
        pytest.param(html, id=f"{name}-{language}")
        for language in PAGES.languages.known
        for name, html in sample_pages.pages(PAGES, language, at=NOON)
    ],
)


def colours(scheme: str) -> dict[str, str]:
    """The custom properties of the pages' styles, by name, in this colour scheme."""
    light, _, dark = STYLES.partition("@media (prefers-color-scheme: dark)")
    found = dict(findall(r"--([\w-]+): (#[0-9a-f]{6});", light))
    return found if scheme == "light" else found | dict(findall(r"--([\w-]+): (#[0-9a-f]{6});", dark))


def luminance(colour: str) -> float:
    """Source: WCAG 2.2, relative luminance."""
    channels = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in channels)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("words", "ground"), PAIRS)
def test_text_has_enough_contrast(words: str, ground: str, scheme: str) -> None:
    bright, dim = sorted((luminance(colours(scheme)[name]) for name in (words, ground)), reverse=True)
    assert (bright + 0.05) / (dim + 0.05) >= LEAST_CONTRAST


def test_every_colour_of_the_pages_is_a_custom_property_and_differs_in_the_dark() -> None:
    rules = STYLES.partition("* { box-sizing")[2]
    assert findall(r"#[0-9a-f]{3,8}\b", rules) == []
    assert {name for pair in PAIRS for name in pair} | {"line"} == colours("light").keys()
    assert all(colours("light")[name] != colours("dark")[name] for name in colours("light"))


@every_page
def test_a_page_has_its_language_a_title_and_landmarks(html: str) -> None:
    tree = Tree(html)
    (root,), (title,), (main,), (first,) = (tree.all(tag) for tag in ("html", "title", "main", "h1"))
    assert root.attributes["lang"] in PAGES.languages.known
    assert root.attributes["dir"] == "ltr"
    assert title.words.strip() == first.words.strip() != ""
    assert main in first.within
    levels = [int(one.tag[1]) for one in tree.all("h1", "h2", "h3", "h4")]
    assert all(after <= before + 1 for before, after in pairwise(levels))
    names = [one.attributes["id"] for one in tree.elements if "id" in one.attributes]
    assert len(names) == len(set(names))


@every_page
def test_every_control_has_a_label(html: str) -> None:
    tree = Tree(html)
    for box in tree.all("input", "select", "textarea"):
        if box.attributes.get("type") != "hidden":
            labels = [one for one in box.within if one.tag == "label"]
            labels += [one for one in tree.all("label") if one.attributes.get("for") == box.attributes.get("id", "")]
            assert any(label.words.strip() for label in labels)
    known = {one.attributes["id"]: one for one in tree.elements if "id" in one.attributes}
    for button in tree.all("button"):
        assert button.words.strip()
        about = button.attributes.get("aria-describedby")
        assert about is None or known[about].words.strip()
    said = [(one.words, one.attributes.get("aria-describedby")) for one in tree.all("button")]
    assert len(said) == len(set(said))
    assert [one.within[-1] for one in tree.all("legend")] == tree.all("fieldset")


@every_page
def test_a_page_acts_by_posting_only_and_loads_and_runs_nothing(html: str) -> None:
    tree = Tree(html)
    assert {one.attributes.get("method") for one in tree.all("form")} <= {"post"}
    for one in tree.elements:
        assert one.tag not in {"script", "link", "img", "iframe", "object", "base"}
        assert not {"src", "action", "style"} & one.attributes.keys()
        assert str(one.attributes.get("href", "../preferences/")).startswith("../preferences/")
        assert not any(name.startswith("on") for name in one.attributes)
    assert "user-scalable" not in html
