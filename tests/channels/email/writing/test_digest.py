"""Digests: sections by change list, in a thread of their own, and never larger than a mail client shows."""

from collections.abc import Sequence
from dataclasses import replace

import pytest

from notify.channels.email.writing.compose import Composed
from notify.channels.email.writing.digest import MOST_LEFT, digest_contents, shrinking_sizes
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.schedule import DeferredBy
from tests.support.emails import ALICE, CHANGE_LIST, NOON, composer, email_facts, links
from tests.support.messages import parsed

LARGEST = 90_000
GERMAN = Person(username="alice", email="alice@example.com", locale="de")


def about(number: int, link: str, *, words: str = "", recipient: Person = ALICE) -> EmailFacts:
    """A comment on a change list."""
    cl = replace(CHANGE_LIST, link=link, title=f"Title of {link}", url=f"https://review.example/{link}")
    comment = {"body": words or f"Word {number}.", "url": f"https://review.example/{link}#{number}"}
    return email_facts(number, comment=comment, change_list=cl, recipient=recipient)


def digest(entries: Sequence[EmailFacts], kind: DeferredBy = DeferredBy.DAILY) -> Composed:
    first = entries[0]
    return composer().compose(
        replace(first, entries=tuple(entries) if len(entries) > 1 else (), deferred_by=kind), date=NOON
    )


def test_each_change_list_has_a_section_with_its_entries_in_order_in_text_and_html() -> None:
    composed = digest([about(1, "CL-1"), about(2, "CL-2"), about(3, "CL-1")])
    for part in (composed.text, composed.html.partition("headline")[2]):
        places = [part.index(words) for words in ("Title of CL-1", "Word 1.", "Word 3.", "Title of CL-2", "Word 2.")]
        assert places == sorted(places)
        assert [part.count(f"CL-{link}#{number}") for link, number in ((1, 1), (2, 2), (1, 3))] == [1, 1, 1]
        assert part.count("Dana Reyes") == 3


@pytest.mark.parametrize("kind", DeferredBy)
def test_digests_of_one_kind_are_one_thread_separate_from_change_lists(kind: DeferredBy) -> None:
    first = parsed(digest([about(1, "CL-1"), about(2, "CL-2")], kind).content)
    second = parsed(digest([about(3, "CL-3"), about(4, "CL-4")], kind).content)
    of_cl = parsed(composer().compose(about(1, "CL-1"), date=NOON).content)
    for name in ("Subject", "References", "In-Reply-To", "Thread-Index", "List-Id"):
        assert first[name] == second[name]
        assert first[name] != of_cl[name] or name == "List-Id"
    assert first["Message-ID"] != second["Message-ID"]
    assert first["X-Notify-Digest"] == kind.value
    assert first["X-Notify-CL"] is None
    assert first.defects == []


def test_each_kind_of_digest_has_its_name() -> None:
    subjects = {digest([about(1, "CL-1"), about(2, "CL-2")], kind).subject for kind in DeferredBy}
    assert len(subjects) == len(DeferredBy)


def test_one_click_stops_everything_that_is_not_required() -> None:
    way_out = parsed(digest([about(1, "CL-1"), about(2, "CL-2")]).content)["List-Unsubscribe"]
    right = links().read_unsubscribe(way_out.strip("<>").rpartition("/")[2])
    assert (right.username, right.scope.value) == ("alice", "everything")


@pytest.mark.parametrize("kind", [DeferredBy.QUIET_HOURS, DeferredBy.PAUSE])
def test_an_email_deferred_by_quiet_hours_about_one_change_list_is_in_its_thread(kind: DeferredBy) -> None:
    emails = [about(1, "CL-1"), about(2, "CL-1")]
    deferred, alone = parsed(digest(emails, kind).content), parsed(composer().compose(emails[0], date=NOON).content)
    assert deferred["References"] == alone["References"]
    assert deferred["Subject"] == alone["Subject"]


def test_a_digest_of_one_event_is_still_a_digest() -> None:
    assert parsed(digest([about(1, "CL-1")]).content)["X-Notify-Digest"] == "daily"


@pytest.mark.parametrize(
    ("count", "change_lists", "words"),
    [
        pytest.param(1_000, 1_000, "word " * 100, id="many change lists"),
        pytest.param(1_000, 1, "word " * 100, id="one change list"),
        pytest.param(120, 7, "*a* " * 5_000, id="long comments"),
        pytest.param(1, 1, "<&> " * 100_000, id="one of them endless"),
    ],
)
def test_a_digest_of_any_size_is_an_email_that_says_what_it_leaves_out(
    count: int, change_lists: int, words: str
) -> None:
    composed = digest(
        [about(number, f"CL-{number % change_lists}", words=f"Word {number}. {words}") for number in range(count)]
    )
    assert len(composed.html.encode()) < LARGEST
    assert len(composed.text.encode()) < LARGEST
    assert f"Word {count - 1}." in composed.text
    if count == 1_000:
        assert "Word 0." not in composed.text
        left = int(composed.text.partition(" older updates")[0].rpartition(" ")[2])
        assert left + composed.text.count("> Word ") == count
        assert composed.html.count(f"{left} older updates") == 1


def test_the_oldest_entries_of_each_change_list_are_left_out_with_a_link() -> None:
    entries = [about(number, f"CL-{number % 60}") for number in range(300)]
    (*_, smallest) = shrinking_sizes(len(entries))
    told = digest_contents(entries, smallest.updates)
    assert [one.event.id for section in told.sections for one in section] == [299]
    assert (told.more, told.more_topics, len(told.left)) == (299, 60 - MOST_LEFT, MOST_LEFT)
    assert told.left[0][0].event.id == 298
    assert {count for _, count in told.left} == {5}


def test_the_digest_uses_the_readers_language() -> None:
    composed = digest([about(1, "CL-1", recipient=GERMAN), about(2, "CL-2", recipient=GERMAN)])
    assert composed.subject == "Tägliche Code-Review-Zusammenfassung"
    assert "2 Neuigkeiten zu 2 Changelists." in composed.text
    assert 'lang="de"' in composed.html
