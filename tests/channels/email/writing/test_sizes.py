"""An email stays small however much text it has, however long the names are, and names every event."""

from collections.abc import Sequence
from dataclasses import replace
from html import escape
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notify.channels.email.smtp.limits import ORDINARY_BYTES
from notify.channels.email.writing.comments import as_quote
from notify.channels.email.writing.facts import LEAST
from notify.cli import sample
from notify.domain import events
from notify.domain.audience import Reason
from notify.domain.events import ChangeList
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from tests.support import sample_bundles
from tests.support.emails import CHANGE_LIST, HOST, NOON, composer, email_facts
from tests.support.messages import parsed, text_of

COMPOSER = composer()
MOST_BYTES = 90_000
MOST_ENTRIES = 100
TWO_SIGNATURES_BYTES = 2_000
NAMES = st.text(st.sampled_from("a&\"'é漢😀\u202e"), min_size=1, max_size=200).map(lambda name: f"n{name}")
ODD = ["word ", "x", "<", "&", '"', "*a* ", "`a` ", "> ", "- ", "\n", "a\n\n", "😀", "](", "[a](https://x.example/) "]
WORDS = st.builds(
    lambda unit, most: (unit * (most // len(unit) + 1))[:most],
    st.sampled_from(ODD),
    st.sampled_from([1, 80, 2_000, 50_000]),
)
DEEP = "> " * 5_000 + "w " * 5_000


@st.composite
def comments(draw: st.DrawFn) -> dict[str, Any]:
    """A comment, each part of any accepted size."""
    path, length = draw(WORDS)[:1_000].replace("\n", " ").strip(), draw(st.sampled_from([0, 60, 150, 1_900]))
    return {
        "body": draw(WORDS),
        "code": draw(st.none() | WORDS.map(lambda words: words[:10_000])),
        "path": path or None,
        "url": f"https://review.example/{draw(st.sampled_from(['a', '&']))}{'b' * length}",
    }


def bundled(entries: Sequence[EmailFacts]) -> EmailFacts:
    return replace(entries[0], entries=tuple(entries))


def parts(one: EmailFacts) -> list[str]:
    """Text and HTML, as the standard library parses them without a defect."""
    message = parsed(COMPOSER.compose(one, date=NOON).content)
    assert [part.defects for part in message.walk() if part.defects] == []
    return [text_of(message), text_of(message, "html")]


@settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    kinds=st.lists(comments(), min_size=1, max_size=3),
    count=st.sampled_from([1, 2, 7, 40, MOST_ENTRIES]),
    name=NAMES,
    link=NAMES,
)
@example(kinds=[{"body": DEEP}], count=1, name="Dana", link="CL-1")
@example(kinds=[{"body": DEEP}], count=9, name="Dana", link="CL-1")
@example(kinds=[{"body": "w", "path": "w"}], count=1, name="n" + "a" * 30, link="n" + "a" * 30)
@example(
    kinds=[{"path": '"' * 1_000, "url": f"https://x.example/{'&' * 1_900}"}], count=100, name='"' * 200, link="&" * 200
)
def test_no_part_of_an_email_is_too_large_and_every_event_is_named_with_its_link(
    kinds: list[dict[str, Any]], count: int, name: str, link: str
) -> None:
    page = ChangeList(link=link, title=link * 5, url="https://review.example/cl")
    given = [{**kinds[number % len(kinds)]} for number in range(count)]
    for number, one in enumerate(given):
        one["url"] = f"{one.get('url') or 'https://review.example/'}#{number}."
    entries = [
        email_facts(number, comment=one, actor=Person(username="eve", display_name=name), change_list=page)
        for number, one in enumerate(given)
    ]
    text, html = parts(entries[0] if count == 1 else bundled(entries))
    for part, spelled in ((text, str), (html, escape)):
        assert len(part.encode()) < MOST_BYTES
        assert " ".join(part.split()).count(" commented") >= count  # a line may end between any two words
        short = [spelled(one["url"]) for one in given if len(escape(one["url"])) <= LEAST.address]
        assert [part.index(url) for url in short] == sorted(part.index(url) for url in short)
        elsewhere = [one for one in given if spelled(one["url"]) not in part]
        assert part.count("https://review.example/cl") >= len(elsewhere)
        assert not elsewhere or count > 1


@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_a_hundred_events_of_a_type_with_the_largest_content_are_an_email_that_names_each(event_type: str) -> None:
    made = sample.email(event_type, host=HOST)
    full: dict[str, dict[str, Any]] = {
        "comment": {"body": "word " * 90_000, "code": "x\n" * 5_000, "path": "p" * 1_000},
        "review": {
            "id": "1",
            "state": "approved",
            "body": "word " * 90_000,
            "comments": [{"id": "2", "body": "*b* " * 9_000, "url": "https://review.example/r", "path": "p" * 1_000}]
            * 100,
        },
        "request": {"reviewers": ["😀" * 200] * 100},
        "change": {"summary": "word " * 90_000, "revision": "r" * 1_000},
        "source": {**sample.SOURCE, "words": "word " * 200},
        "queue": {
            **sample.QUEUE,
            "projects": [{"name": "p" * 1_000, "degree": 0.5}] * 50,
            "suspects": [{**one, "title": "word " * 200} for one in sample.SUSPECTS] * 50,
        },
        "status": {**sample.STATUS, "words": "word " * 200, "context": "c" * 1_000, "repository": "r" * 200},
    }
    payload = {name: full[name] for name in made.event.payload}
    urls = [f"https://review.example/{number:03}" for number in range(MOST_ENTRIES)]
    entries = []
    for number, url in enumerate(urls):
        part = {name: value if name == "request" else {**value, "url": url} for name, value in payload.items()}
        cl = replace(made.change_list, url=url)
        entries.append(replace(made, change_list=cl, event=replace(made.event, id=number, payload=part)))
    alone, several = parts(entries[0]), parts(bundled(entries))
    for words in (*alone, *several):
        assert len(words.encode()) < MOST_BYTES
    for words in several:
        assert [words.index(url) for url in urls] == sorted(words.index(url) for url in urls)


def test_no_sample_email_is_larger_than_the_ordinary_size() -> None:
    for locale in COMPOSER.languages:
        samples = [sample.email(event_type, host=HOST, locale=locale) for event_type in sample.PAYLOADS]
        samples += [made(host=HOST, at=NOON, locale=locale) for made in (sample_bundles.bundle, sample_bundles.digest)]
        for made in samples:
            size = len(COMPOSER.compose(made, date=NOON).content)
            assert size + TWO_SIGNATURES_BYTES <= ORDINARY_BYTES, made.event.type


def test_what_is_left_out_is_mentioned_and_what_fits_is_complete() -> None:
    few = [email_facts(number, comment={"body": f"Word {number}."}) for number in range(20)]
    for part in parts(bundled(few)):
        assert "[…]" not in part
        assert all(f"Word {number}." in part for number in range(20))
    many = [email_facts(number, comment={"path": "p" * 1_000, "body": "word " * 500}) for number in range(MOST_ENTRIES)]
    text, html = parts(bundled(many))
    assert text.count("[…]") == html.count("[…]") == 1
    assert "word" not in text
    assert '<div class="markdown"' not in html


def test_a_review_requested_of_a_hundred_people_names_the_first_ones() -> None:
    asked = email_facts(event_type=events.REVIEW_REQUESTED, reason=Reason.REQUESTED, change_list=CHANGE_LIST)
    event = replace(asked.event, payload={"request": {"reviewers": [f"person-{number}" for number in range(100)]}})
    for part in parts(replace(asked, event=event)):
        assert "person-19, …" in part.replace("\n", " ")
        assert "person-20" not in part


def test_a_quote_within_a_hundred_quotes_is_wrapped_without_repeating_its_marks() -> None:
    assert len(as_quote(DEEP)) < 2 * len(DEEP)
