"""What the email of each event type says, in text and in HTML."""

from dataclasses import replace
from typing import Any

import pytest

from notify.cli import sample
from notify.domain import events
from notify.domain.audience import Reason
from notify.domain.jobs import EmailFacts
from notify.intake.triggers import OWN_TRIGGERS, TRIGGERS
from tests.support.emails import COMMENT, HOST, NOON, composer, email_facts
from tests.support.messages import parsed, text_of

COMPOSER = composer()
MOST_BYTES = 90_000
HEADLINES = {
    events.COMMENT_CREATED: "commented on",
    events.COMMENT_MENTIONED: "mentioned you on",
    events.REVIEW_REQUESTED: "asks you to review",
    events.REVIEW_SUBMITTED: "requested changes to",
    events.CREATED: "created",
    events.UPDATED: "updated",
    events.MERGED: "merged",
    events.CLOSED: "closed",
    events.REOPENED: "reopened",
}


def about(event_type: str, **payload: Any) -> EmailFacts:
    """An email about an event of this type with this payload."""
    one = email_facts(event_type=event_type, reason=Reason.REVIEWER)
    return replace(one, event=replace(one.event, payload=payload))


def parts(one: EmailFacts) -> tuple[str, str]:
    """The email's text and HTML, as the standard library parses them without a defect."""
    message = parsed(COMPOSER.compose(one, date=NOON).content)
    assert not message.defects
    return text_of(message), text_of(message, "html")


def test_every_event_type_has_a_sample() -> None:
    assert sample.PAYLOADS.keys() == {*TRIGGERS, *OWN_TRIGGERS, events.COMMENT_MENTIONED}
    assert sample.PAYLOADS.keys() - OWN_TRIGGERS.keys() == HEADLINES.keys()


@pytest.mark.parametrize("event_type", HEADLINES)
def test_each_type_says_who_did_what_on_what_and_has_a_link(event_type: str) -> None:
    one = sample.email(event_type, host=HOST)
    text, html = parts(one)
    assert text.startswith(f'Dana Reyes {HEADLINES[event_type]} CL-4821, "Cap the upload retry"')
    assert f"</strong> {HEADLINES[event_type]} <strong" in html
    link = "https://review.example/CL-4821"
    for part in (text, html):
        assert link in part
        assert "You get this because" in part


@pytest.mark.parametrize("event_type", sorted({*HEADLINES} - {events.COMMENT_CREATED, events.REVIEW_REQUESTED}))
def test_the_text_of_an_event_is_in_both_parts(event_type: str) -> None:
    text, html = parts(sample.email(event_type, host=HOST))
    words = {"review": "one", "change": "after", "comment": "jitter"}[next(iter(sample.PAYLOADS[event_type]))]
    assert words in text
    assert f">{words}</" in html


@pytest.mark.parametrize(
    ("event_type", "payload"),
    [
        *((event_type, {}) for event_type in (events.CREATED, events.MERGED)),
        (events.REVIEW_SUBMITTED, {"review": {"id": "1", "state": "approved"}}),
        (events.REVIEW_REQUESTED, {"request": {"reviewers": ["bob"]}}),
    ],
)
def test_an_email_without_text_is_a_whole_sentence_and_links_to_the_change_list(
    event_type: str, payload: dict[str, Any]
) -> None:
    text, html = parts(about(event_type, **payload))
    assert text.splitlines()[0].endswith('"Cap the upload retry".')
    assert "https://review.example/CL-4821\n" in text.replace("\r\n", "\n")
    assert 'href="https://review.example/CL-4821"' in html


@pytest.mark.parametrize(
    ("state", "verb"),
    [("approved", "approved"), ("changes_requested", "requested changes to"), ("commented", "reviewed")],
)
def test_a_review_says_its_verdict(state: str, verb: str) -> None:
    text, _ = parts(about(events.REVIEW_SUBMITTED, review={"id": "1", "state": state, "body": "Yes."}))
    assert text.startswith(f"Dana Reyes {verb} CL-4821")


def review(*bodies: str, **also: Any) -> dict[str, Any]:
    comments = [{**COMMENT, "id": str(number), "body": body} for number, body in enumerate(bodies)]
    return {"id": "1", "state": "commented", "comments": comments, **also}


def test_the_comments_of_a_review_are_in_order_each_with_its_location_and_link() -> None:
    given = review("First thing.", "Second thing.", body="Two things.")
    given["comments"][1] |= {"path": "other.py", "line": 7, "url": "https://review.example/second"}
    for part in parts(about(events.REVIEW_SUBMITTED, review=given)):
        places = ["retry.py, line 42", "First thing.", "other.py, line 7", "Second thing.", "review.example/second"]
        at = [part.index(words) for words in places]
        assert at == sorted(at)


@pytest.mark.parametrize("body", [None, "z" * 30_000], ids=["no words", "many words"])
@pytest.mark.parametrize("length", [1, 200, 20_000], ids=["short", "ordinary", "long"])
def test_a_review_of_a_hundred_comments_says_how_many_it_leaves_out(length: int, body: str | None) -> None:
    given = review(*("<b>*x* " + "y" * length for _ in range(100)), body=body)
    text, html = parts(about(events.REVIEW_SUBMITTED, review=given))
    shown = html.count("retry.py, line 42")
    assert len(html.encode()) < MOST_BYTES
    assert 1 <= shown == text.count("retry.py, line 42") <= 100
    for part in (text, html):
        assert (f"{100 - shown} more comments are" in part) == (shown < 100)


def test_a_review_whose_markup_grows_too_large_is_cut() -> None:
    text, html = parts(about(events.REVIEW_SUBMITTED, review=review(*["`a` " * 60] * 100)))
    assert len(html.encode()) < MOST_BYTES
    assert "more comments are" in text


def test_a_mention_in_a_review_shows_the_review() -> None:
    given = review("@alice, what do you say?", body="All in all.")
    for part in parts(about(events.COMMENT_MENTIONED, review=given)):
        assert "All in all." in part
        assert "@alice, what do you say?" in part


def test_the_text_of_a_review_or_a_change_is_as_harmless_as_a_comment() -> None:
    hostile = '<script>alert(1)</script> ![x](https://evil.example/x.png) [y](javascript:alert(1)) "\x1b'
    for one in (
        about(events.REVIEW_SUBMITTED, review=review(hostile, body=hostile, url="javascript:alert(1)")),
        about(events.MERGED, change={"summary": hostile, "revision": f"r {hostile}\n2", "url": "data:x"}),
    ):
        _, html = parts(one)
        for bad in ("<script", "<img", 'href="javascript', 'href="data'):
            assert bad not in html


def test_emails_of_two_types_about_one_event_keep_their_own_text() -> None:
    """A reviewer and a mentioned person get emails about the same event from one composer."""
    shared = composer()
    first, other = email_facts(), email_facts(event_type=events.COMMENT_MENTIONED, reason=Reason.MENTIONED)
    texts = [shared.compose(one, date=NOON).text for one in (first, other, first)]
    assert texts[0] == texts[2]
    assert texts[0].startswith("Dana Reyes commented on")
    assert texts[1].startswith("Dana Reyes mentioned you on")
    assert "because you were mentioned on CL-4821" in texts[1]


SIZED = {"revision": "Revision 3", "files": 4, "added": 120, "removed": 31}


@pytest.mark.parametrize("event_type", [events.REVIEW_REQUESTED, events.CREATED, events.UPDATED])
def test_an_email_shows_the_description_and_the_size_of_the_change(event_type: str) -> None:
    payload = {"request": {"reviewers": ["alice"]}, "change": {**SIZED, "summary": "Caps the wait."}}
    for part in parts(about(event_type, **payload)):
        shown = ("Revision 3", "4 files, +120 -31", "Caps the wait.")
        at = [part.rindex(words) for words in shown]
        assert at == sorted(at)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ({"files": 1}, "    1 file\n"),
        ({"added": 0, "removed": 2}, "    +0 -2\n"),
        ({"files": 0, "removed": 1}, "    0 files, -1\n"),
    ],
)
def test_an_email_shows_as_much_of_the_size_as_the_event_has(size: dict[str, int], shown: str) -> None:
    text, _ = parts(about(events.UPDATED, change=size))
    assert shown in text.replace("\r\n", "\n")


@pytest.mark.parametrize("event_type", HEADLINES)
def test_the_preheader_has_who_did_what_and_the_first_words(event_type: str) -> None:
    preheader = preheader_of(sample.email(event_type, host=HOST))
    verb = HEADLINES[event_type].split()[0]
    assert preheader.startswith(f"Dana Reyes {verb}")
    assert sample.LINK not in preheader
    assert preheader.partition(": ")[2]


def test_the_preheader_of_a_bundle_has_who_did_what_in_each_event() -> None:
    merged, commented = about(events.MERGED), sample.email(events.COMMENT_CREATED, host=HOST)
    preheader = preheader_of(replace(merged, entries=(merged, commented)))
    assert preheader.startswith("Dana Reyes merged the change list · Dana Reyes commented: The jitter")


def preheader_of(one: EmailFacts) -> str:
    _, html = parts(one)
    return html.partition('class="preheader"')[2].partition(">")[2].partition("</div>")[0]
