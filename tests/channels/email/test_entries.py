"""One event among several in a letter: the same words as alone, each with its author and its link."""

from re import findall

import pytest

from notify.channels.email.render import Renderer
from notify.cli import sample
from tests.support.letters import HOST, NOON, composer

RENDERER = Renderer()


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_an_entry_says_what_the_letter_alone_says(event_type: str, locale: str) -> None:
    letter = sample.letter(event_type, host=HOST, locale=locale)
    alone = composer().compose(letter, date=NOON)
    entry = RENDERER.entry(letter, locale=locale)

    headline, _, words = entry.text.partition("\n\n")
    assert words.strip()
    assert words.strip() in alone.text
    assert headline == alone.text.partition("\n\n")[0].replace(', "Cap the upload retry"', "").replace(
        ", „Cap the upload retry“", ""
    )
    for url in findall(r"https://\S+", words):
        assert url.rstrip(").") in entry.html


@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_entries_can_follow_one_another_and_hold_nothing_of_a_letters_frame(event_type: str) -> None:
    entry = RENDERER.entry(sample.letter(event_type, host=HOST), locale="en")
    assert entry.text.endswith("\n\n")
    assert "\n-- \n" not in entry.text
    assert entry.html.startswith('<div class="entry">')
    assert entry.html.count("<div") == entry.html.count("</div>")
    assert "<body" not in entry.html
    assert "Fewer letters" not in entry.text + entry.html
