"""Hostile names, titles, links and paths cannot do anything in the reader's mail."""

from collections.abc import Mapping
from dataclasses import replace
from email.message import EmailMessage
from html.parser import HTMLParser
from re import findall, fullmatch
from typing import Any

import pytest

from notify.channels.email.writing.compose import Composed
from notify.channels.email.writing.facts import SHORT_SHA
from notify.channels.links import Scope
from notify.cli import sample
from notify.domain.events import COMMENT_CREATED, MERGED, ChangeList
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from tests.support.emails import ALICE, CHANGE_LIST, HOST, NOON, composer, email_facts, links
from tests.support.messages import parsed

COMPOSER = composer()
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)><a href='javascript:alert(1)'>x</a>"
STYLE = "</style></title><style>body{display:none}</style><meta http-equiv=refresh content=0;url=https://evil.example>"
LINKS = "[x](javascript:alert(1)) [y](data:text/html;base64,PHNjcmlwdD4=) ![z](https://evil.example/pixel.png)"
PLACES = "%(actor)s %(cl)s %s %% {{ 7 * 7 }} {% raw %} ${x} {reason}"
QUOTE = '" autofocus onfocus="alert(1)" x="'
ATTACKS = [SCRIPT, STYLE, LINKS, PLACES, QUOTE]
RIGHT_TO_LEFT = "\u202e"
TAGS = {
    *("html", "head", "meta", "title", "style", "body", "div", "p", "a", "strong", "em", "span", "br", "pre", "code"),
    *("ul", "ol", "li", "blockquote", "hr", "h1", "h2", "h3", "h4", "h5", "h6"),
}
KEPT = {"state", "line", "since"}
WEB_OR_MAIL = r"(https?://|mailto:)[^\s]*"


class Page(HTMLParser):
    """Every tag and attribute of an email, and its visible text."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.words += data


def replaced(value: Any, words: str) -> Any:
    """The payload with this text in place of every user text."""
    if isinstance(value, Mapping):
        return {
            name: inner if name in KEPT or isinstance(inner, int | float) else replaced(inner, words)
            for name, inner in value.items()
        }
    return [replaced(inner, words) for inner in value] if isinstance(value, list) else words


def attacked(event_type: str, words: str) -> EmailFacts:
    """An email in which this text replaces everything that users choose."""
    made = sample.email(event_type, host=HOST)
    event = replace(made.event, payload=replaced(made.event.payload, words), topic=words)
    cl = ChangeList(link=words, title=words, url=words, repository=words)
    eve = Person(username="eve", display_name=words)
    return replace(made, event=event, change_list=cl, actor=eve, recipient=replace(made.recipient, display_name=words))


def written(one: EmailFacts) -> Composed:
    return COMPOSER.compose(one, date=NOON)


def read(composed: Composed) -> EmailMessage:
    return parsed(composed.content)


@pytest.mark.parametrize("attack", ATTACKS, ids=["script", "style", "links", "places", "quote"])
@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_no_name_title_path_or_text_can_act_in_any_email(event_type: str, attack: str) -> None:
    composed = written(attacked(event_type, attack))
    page = Page(composed.html)
    assert {tag for tag, _ in page.tags} <= TAGS
    for _, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        assert not {"src", "srcset", "background", "http-equiv"} & attributes.keys()
        assert "url(" not in (attributes.get("style") or "")
        assert fullmatch(WEB_OR_MAIL, attributes.get("href") or "https://")
    assert [part.defects for part in read(composed).walk() if part.defects] == []


@pytest.mark.parametrize("attack", ATTACKS, ids=["script", "style", "links", "places", "quote"])
def test_no_name_title_path_or_text_can_act_in_an_email_about_several_events(attack: str) -> None:
    entries = tuple(attacked(event_type, attack) for event_type in sample.PAYLOADS)
    for one in (replace(entries[0], entries=entries), replace(entries[0], entries=entries * 11)):
        composed = written(one)
        page = Page(composed.html)
        assert {tag for tag, _ in page.tags} <= TAGS
        for _, attributes in page.tags:
            assert not any(name.startswith("on") for name in attributes)
            assert not {"src", "srcset", "background", "http-equiv"} & attributes.keys()
            assert fullmatch(WEB_OR_MAIL, attributes.get("href") or "https://")
        assert [part.defects for part in read(composed).walk() if part.defects] == []
        assert composed.text.count("\n-- \n") == 1


@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_text_that_looks_like_a_template_placeholder_is_text(event_type: str) -> None:
    composed = written(attacked(event_type, PLACES))
    headline = composed.text.split("\n\n", 1)[0].replace("\n", " ")
    for prefix in ("Forge ", "The status ", f"{PLACES[:SHORT_SHA]} of "):
        headline = headline.removeprefix(prefix)
    assert headline.startswith(f"{PLACES} ")
    assert PLACES in Page(composed.html).words
    assert "49" not in composed.subject


@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_a_right_to_left_override_in_a_name_reorders_nothing_beside_it(event_type: str) -> None:
    evil = f"Dana{RIGHT_TO_LEFT}moc.live"
    composed = written(attacked(event_type, evil))
    message = read(composed)
    for shown in (composed.subject, str(message["From"]), str(message["Subject"]), composed.text.split("\n\n", 1)[0]):
        assert RIGHT_TO_LEFT not in shown
    for tag, attributes in Page(composed.html).tags:
        if attributes.get("class") in {"words", "title"}:
            assert tag == "p" or attributes["dir"] == "auto"


def test_right_to_left_text_is_laid_out_so_and_the_rest_of_the_email_is_not() -> None:
    page = Page(written(email_facts(comment={"body": "שלום עולם"})).html)
    (markdown,) = [attributes for _, attributes in page.tags if attributes.get("class") == "markdown"]
    (html,) = [attributes for tag, attributes in page.tags if tag == "html"]
    assert (markdown["dir"], html["dir"]) == ("auto", "ltr")


def test_a_comment_of_invisible_characters_still_makes_an_email() -> None:
    composed = written(email_facts(comment={"body": "\u200b\u2060\ufeff\u200d", "path": "\u200b", "code": "\u200b"}))
    assert "commented on" in composed.text
    assert "<U+200B>" in composed.text
    assert read(composed).defects == []


@pytest.mark.parametrize(
    "words", ["word " * 200_000, "x" * 1_000_000, "> " * 500_000, "\u202e" * 300_000, "](" * 500_000]
)
def test_a_comment_of_a_megabyte_is_cut(words: str) -> None:
    composed = written(email_facts(comment={"body": words, "code": words, "path": words[:1_000].strip() or "x"}))
    assert len(composed.html.encode()) < 90_000
    assert len(composed.text) < 70_000
    assert "[…]" in composed.text


@pytest.mark.parametrize("title", ["long " * 2_000, "x" * 10_000, "ü" * 10_000, "😀" * 10_000])
def test_a_title_of_ten_thousand_characters_makes_a_readable_subject(title: str) -> None:
    first, second = (
        written(email_facts(number, change_list=ChangeList(link="CL-1", title=title))) for number in (1, 2)
    )
    message = read(first)
    assert len(first.subject) < 300
    assert first.subject.endswith("(CL-1)")
    assert str(message["Subject"]) == first.subject == second.subject
    assert max(map(len, first.content.split(b"\r\n"))) <= 998


@pytest.mark.parametrize(
    "link", ["a b", "a/b/c", "%0aBcc: e@e.example", "<CL>", "Änderung-7", "a@b", "?x=1&y=2#z", "..", '"', "😀" * 200]
)
def test_a_change_list_of_any_name_has_emails_links_and_a_thread(link: str) -> None:
    cl = ChangeList(link=link)
    one = email_facts(change_list=cl)
    one = replace(one, event=replace(one.event, topic=link))
    composed = written(one)
    message = read(composed)
    assert [len(findall(r"<[!-~]+@[!-~]+>", str(message[name]))) for name in ("Message-ID", "References")] == [1, 1]
    assert str(message["X-Notify-CL"]) == link
    assert message["Bcc"] is None
    stop = "".join(str(message["List-Unsubscribe"]).strip("<>").split())  # RFC 2369 §2: white space is no part of it
    assert fullmatch(r"https://notify\.example/unsubscribe/[\w.-]+", stop)
    mute = next(url for url in findall(r"https://\S+", composed.text) if "/unsubscribe/" in url)
    assert links().read_unsubscribe(mute.rpartition("/")[2]).targets[Scope.CHANGE_LIST] == link


@pytest.mark.parametrize("several", [False, True], ids=["alone", "among others"])
@pytest.mark.parametrize(
    ("name", "link"), [("😀" * 200, "CL-1"), ("alice", "😀" * 200), ("😀" * 200, "😀" * 200), ("漢" * 200, "a" * 200)]
)
def test_a_name_of_any_length_has_an_unsubscribe_link_whose_lines_fit_every_relay(
    name: str, link: str, *, several: bool
) -> None:
    one = email_facts(recipient=replace(ALICE, username=name), change_list=ChangeList(link=link))
    other = replace(one, event=replace(one.event, type=MERGED, payload={}))
    composed = written(replace(one, entries=(one, other)) if several else one)
    message = read(composed)
    assert max(map(len, composed.content.split(b"\r\n"))) <= 998
    assert [*message.defects, *message["List-Unsubscribe"].defects] == []
    url = str(message["List-Unsubscribe"]).strip("<>")
    right = links().read_unsubscribe(url.rpartition("/")[2])
    assert (right.username, right.targets[right.scope]) == (name, link if several else COMMENT_CREATED)
    assert fullmatch(r"https://notify\.example/unsubscribe/[\w.-]+", "".join(url.split()))


def test_a_hundred_people_with_the_longest_names_leave_headers_that_a_relay_accepts() -> None:
    crowd = [Person(username=f"{number:03}{'😀' * 197}") for number in range(100)]
    entries = tuple(email_facts(number, actor=person) for number, person in enumerate(crowd))
    composed = written(replace(entries[0], entries=entries))
    assert composed.content.index(b"\r\n\r\n") < 50_000
    assert str(read(composed)["X-Notify-Actor"]).split(", ") == [person.username for person in crowd[:20]]


def test_a_cut_title_or_snippet_ends_with_an_ellipsis_between_two_words() -> None:
    one = email_facts(change_list=replace(CHANGE_LIST, title="word " * 100), comment={"body": "word " * 100})
    composed = written(one)
    assert "word word… (CL-4821)" in composed.subject
    assert 'word word…"' in composed.text.replace("\n", " ")
    assert "word word…</div>" in composed.html
