"""Every email in every language is complete for every reader: parsers find no fault, and the text needs no HTML."""

from email.message import EmailMessage
from html.parser import HTMLParser
from re import escape, findall, search

import pytest

from notify.channels.email.writing.compose import Composed
from notify.cli import sample
from notify.domain.jobs import EmailFacts
from tests.support import sample_bundles
from tests.support.emails import HOST, NOON, composer
from tests.support.messages import parsed, text_of

COMPOSER = composer()
SEVERAL = {"bundle": sample_bundles.bundle, "digest": sample_bundles.digest}


class VisibleText(HTMLParser):
    """The text and link targets of an HTML part; link labels are not counted."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.links: list[str] = []
        self.words: set[str] = set()
        self._silent: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.links += [given["href"] or ""] if "href" in given else []
        if tag in {"style", "title", "a"} or given.get("class") == "preheader":
            self._silent.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if self._silent[-1:] == [tag]:
            self._silent.pop()

    def handle_data(self, data: str) -> None:
        if not self._silent:
            self.words |= set(findall(r"\w+", data))


def sent(name: str, locale: str) -> tuple[Composed, EmailMessage]:
    made: EmailFacts = (
        SEVERAL[name](host=HOST, at=NOON, locale=locale)
        if name in SEVERAL
        else sample.email(name, host=HOST, locale=locale)
    )
    composed = COMPOSER.compose(made, date=NOON)
    return composed, parsed(composed.content)


every_email = pytest.mark.parametrize(
    ("name", "locale"), [(name, locale) for name in (*sample.PAYLOADS, *SEVERAL) for locale in COMPOSER.languages]
)


@every_email
def test_an_email_parses_without_a_defect_and_its_lines_fit_every_relay(name: str, locale: str) -> None:
    composed, message = sent(name, locale)
    assert [defect for part in message.walk() for defect in part.defects] == []
    assert [field.defects for field in message.values() if getattr(field, "defects", ())] == []
    assert [part.get_content_type() for part in message.walk()] == ["multipart/alternative", "text/plain", "text/html"]
    assert max(map(len, composed.content.split(b"\r\n"))) <= 998


@every_email
def test_the_text_says_everything_that_the_html_says_and_has_the_same_links(name: str, locale: str) -> None:
    _, message = sent(name, locale)
    seen, words = VisibleText(text_of(message, "html")), text_of(message)
    assert len(seen.words) > 5
    assert seen.words <= set(findall(r"\w+", words))
    assert [link for link in seen.links if not search(rf"{escape(link)}(?![\w#/])", words)] == []
