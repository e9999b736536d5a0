"""One event among several in an email: its author, its text and its link, but not the change list again."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from re import findall

import pytest

from notify.channels.email.writing.facts import Limits
from notify.channels.email.writing.render import Renderer
from notify.cli import sample
from notify.domain.events import is_about_change_list
from tests.support.emails import ALICE, HOST, NOON, composer, email_facts

RENDERER = Renderer()


@pytest.mark.parametrize("locale", ["en", "de"])
@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_an_entry_says_what_its_own_email_would_say_but_for_the_change_list(event_type: str, locale: str) -> None:
    facts = sample.email(event_type, host=HOST, locale=locale)
    alone = composer().compose(facts, date=NOON)
    entry = RENDERER.entry(facts, locale=locale, limits=Limits(20_000))

    at, _, rest = entry.text.partition("\n")
    headline, _, words = rest.partition("\n\n")
    assert at in entry.html
    assert words.strip()
    assert words.strip() in alone.text
    assert headline.startswith("Dana Reyes ") or not is_about_change_list(event_type)
    assert headline.endswith(":")
    assert sample.LINK not in headline + entry.html.partition('class="time"')[0]
    for url in findall(r"https://\S+", words):
        assert url.rstrip(").") in entry.html


@pytest.mark.parametrize("event_type", sample.PAYLOADS)
def test_entries_can_follow_one_another_and_contain_no_frame(event_type: str) -> None:
    entry = RENDERER.entry(sample.email(event_type, host=HOST), locale="en", limits=Limits(20_000))
    assert entry.text.endswith("\n\n")
    assert "\n-- \n" not in entry.text
    assert entry.html.startswith('<div class="entry">')
    assert entry.html.count("<div") == entry.html.count("</div>")
    assert "<body" not in entry.html
    assert "Notification settings" not in entry.text + entry.html


@pytest.mark.parametrize(
    ("locale", "timezone", "times"),
    [
        ("en", None, ["March 29, 2026 00:30 UTC", "March 29, 2026 01:30 UTC"]),
        ("de", "Europe/Berlin", ["29. März 2026 01:30 CET", "29. März 2026 03:30 CEST"]),
        ("de-CH", "America/New_York", ["28. März 2026 20:30 EDT", "28. März 2026 21:30 EDT"]),
        ("xx", "Nowhere/Land", ["March 29, 2026 00:30 UTC", "March 29, 2026 01:30 UTC"]),
    ],
)
def test_each_entry_has_its_time_in_the_readers_time_zone_and_language(
    locale: str, timezone: str | None, times: list[str]
) -> None:
    reader = replace(ALICE, locale=locale, timezone=timezone)
    first, second = (email_facts(number, recipient=reader) for number in (1, 2))
    night = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    first = replace(first, event=replace(first.event, occurred_at=night))
    second = replace(second, event=replace(second.event, occurred_at=night + timedelta(hours=1)))
    composed = composer().compose(replace(first, entries=(first, second)), date=NOON)
    for part in (composed.text, composed.html):
        assert [part.index(time) for time in times] == sorted(part.index(time) for time in times)


def test_two_readers_of_one_event_share_the_rendered_text_whatever_their_time_zones() -> None:
    shared = composer()
    berlin, tokyo = (replace(ALICE, timezone=zone) for zone in ("Europe/Berlin", "Asia/Tokyo"))
    texts = {shared.compose(email_facts(recipient=reader), date=NOON).content for reader in (berlin, tokyo)}
    assert len(texts) == 1
