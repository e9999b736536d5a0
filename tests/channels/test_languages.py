"""Everybody reads their own language: nothing is untranslated, and a deployment can override it."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from re import findall

import pytest
from babel.messages.catalog import Message

from notify.channels.email.writing.compose import WHY
from notify.channels.email.writing.render import TemplateFailure
from notify.channels.languages import Languages, moment
from notify.domain.audience import Reason
from notify.domain.errors import InvalidSettings
from notify.domain.preferences import Person
from notify.resources import folder
from tests.support.emails import ALICE, NOON, composer, email_facts
from tests.support.translations import CATALOGUES, read, spoken

each_catalogue = pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: str(path.parents[1].name))


def texts(message: Sequence[str] | None) -> tuple[str, ...]:
    return (message,) if isinstance(message, str) else tuple(message or ())


def placeholders(text: str) -> set[str]:
    return set(findall(r"%\(\w+\)s|%.", text))


def of_alice(locale: str | None) -> Person:
    return Person(username="alice", display_name="Alice Moore", locale=locale)


def catalogue(folder: Path, language: str, *pairs: tuple[str, str]) -> Path:
    """A deployment's folder of templates, with a catalogue of these messages."""
    path = folder / "locale" / language / "LC_MESSAGES" / "notify.po"
    path.parent.mkdir(parents=True, exist_ok=True)
    header = 'msgid ""\nmsgstr "Content-Type: text/plain; charset=utf-8\\n"\n'
    path.write_text(header + "".join(f'\nmsgid "{one}"\nmsgstr "{other}"\n' for one, other in pairs), encoding="utf-8")
    return folder


@each_catalogue
def test_every_message_is_translated(path: Path) -> None:
    found = {one.id: one for one in read(path) if one.id and not one.context}
    assert set(found) == spoken()
    assert [one.id for one in found.values() if one.fuzzy or not all(texts(one.string))] == []


@each_catalogue
def test_a_translation_has_the_placeholders_of_its_message_and_no_markup(path: Path) -> None:
    for one in read(path):
        assert isinstance(one, Message)
        wanted = set[str]().union(*map(placeholders, texts(one.id)))
        assert all(placeholders(text) == wanted for text in texts(one.string)), one.id
        assert not any("<" in text for text in texts(one.string) if one.id), one.id


def test_every_reason_has_a_translatable_sentence() -> None:
    assert set(WHY) == set(Reason)
    assert set(WHY.values()) <= spoken()


@pytest.mark.parametrize("locale", ["de", "de-AT", "DE", "de_CH"])
def test_an_email_uses_the_readers_language(locale: str) -> None:
    composed = composer().compose(email_facts(recipient=of_alice(locale)), date=NOON)
    for part in (composed.text, composed.html):
        assert "Sie erhalten dies, weil Sie CL-4821 geschrieben haben." in part
        assert "src/upload/retry.py, Zeile 42" in part
        assert "The jitter has to come after the cap" in part
    assert composed.text.startswith("Dana Reyes hat CL-4821 („Cap the upload retry“) kommentiert:\n")
    assert '<html lang="de" dir="ltr">' in composed.html


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ("zh-Hant-HK", "zh-hant"),
        ("zh_Hant_HK", "zh-hant"),
        ("zh-HK", "zh-hant"),
        ("zh-TW", "zh-hant"),
        ("zh-CN", "zh"),
        ("zh-Hans-SG", "zh"),
        ("zh", "zh"),
        ("pt_BR", "pt-br"),
        ("pt_BR.UTF-8", "pt-br"),
        ("pt-PT", "en"),
        ("de_DE.UTF-8@euro", "de"),
        ("C.UTF-8", "en"),
        ("", "en"),
    ],
)
def test_the_nearest_catalogue_is_used(tmp_path: Path, wanted: str, found: str) -> None:
    for language in ("zh", "zh_Hant", "pt_BR"):
        catalogue(tmp_path, language, ("Notification settings", language))
    assert Languages([tmp_path, folder("templates")]).best(wanted) == found


@pytest.mark.parametrize("locale", [None, "en", "en-GB", "xx", "tlh-Latn"])
def test_a_reader_of_another_language_gets_english(locale: str | None) -> None:
    assert composer().compose(email_facts(recipient=of_alice(locale)), date=NOON).text == (
        composer().compose(email_facts(), date=NOON).text
    )


def test_the_subject_is_the_same_in_every_language_so_that_the_thread_holds() -> None:
    assert composer().compose(email_facts(recipient=of_alice("de")), date=NOON).subject == (
        composer().compose(email_facts(), date=NOON).subject
    )


def test_readers_of_different_languages_get_their_own_email() -> None:
    shared = composer()
    for locale, words in (("en", "commented"), ("de", "kommentiert"), ("en", "commented"), ("de-DE", "kommentiert")):
        assert words in shared.compose(email_facts(recipient=of_alice(locale)), date=NOON).text


def test_a_deployments_translation_replaces_ours_and_the_others_stay(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "de", ("Notification settings", "Weniger Post"))
    text = composer(templates_dir=own).compose(email_facts(recipient=of_alice("de")), date=NOON).text
    assert "Weniger Post: https://" in text
    assert "CL-4821 stummschalten: https://" in text


def test_a_deployment_can_add_a_language_whose_missing_messages_are_english(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "ar", ("Notification settings", "رسائل أقل"))
    composed = composer(templates_dir=own).compose(email_facts(recipient=of_alice("ar-EG")), date=NOON)
    assert '<html lang="ar" dir="rtl">' in composed.html
    assert "رسائل أقل: https://" in composed.text
    assert "Mute CL-4821: https://" in composed.text


@pytest.mark.parametrize(
    ("language", "words"), [("de", "nonsense"), ("nonsense", ""), ("de", "\xff\xfe".encode("latin-1"))]
)
def test_an_invalid_catalogue_is_named(tmp_path: Path, language: str, words: str | bytes) -> None:
    path = catalogue(tmp_path, language) / "locale" / language / "LC_MESSAGES" / "notify.po"
    path.write_bytes(words if isinstance(words, bytes) else words.encode())
    with pytest.raises(InvalidSettings, match=f"locale/{language}"):
        composer(templates_dir=tmp_path)


def test_a_translation_with_an_unknown_placeholder_breaks_no_other_email(tmp_path: Path) -> None:
    own = catalogue(tmp_path, "de", ("Notification settings", "Weniger"), ("you wrote %(cl)s", "%(nonsense)s"))
    assert composer(templates_dir=own).compose(email_facts(recipient=ALICE), date=NOON).text
    with pytest.raises(TemplateFailure):
        composer(templates_dir=own).compose(email_facts(recipient=of_alice("de")), date=NOON)


def test_english_needs_no_catalogue() -> None:
    assert Languages([]).known == ("en",)


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        (None, "en"),
        ("", "en"),
        ("de", "de"),
        ("de-AT,de;q=0.9,en;q=0.8", "de"),
        ("fr, de;q=0.5, en;q=0.7", "en"),
        ("fr, *;q=0.5", "en"),
        ("de;q=0, en;q=0.1", "en"),
        ("DE ; q=1.0", "de"),
        (";;;,,q=9,de;q=nonsense", "en"),
        ("de;q=9" * 10_000, "en"),
    ],
)
def test_a_browser_gets_the_first_of_its_languages_that_is_available(accepted: str | None, language: str) -> None:
    assert Languages([folder("templates")]).asked_for(accepted) == language


@pytest.mark.parametrize(
    ("language", "timezone", "written"),
    [
        ("en", None, "March 29, 2026 00:30 UTC"),
        ("en", "Europe/Berlin", "March 29, 2026 01:30 CET"),
        ("de", "Europe/Berlin", "29. März 2026 01:30 CET"),
        ("en", "Nowhere/Land", "March 29, 2026 00:30 UTC"),
        ("en", "../../etc/passwd", "March 29, 2026 00:30 UTC"),
    ],
)
def test_a_date_is_written_in_the_readers_language_and_time_zone(
    language: str, timezone: str | None, written: str
) -> None:
    at = datetime(2026, 3, 29, 0, 30, tzinfo=UTC)
    assert moment(at, language=language, timezone=timezone) == written


def test_times_follow_daylight_saving() -> None:
    before, after = datetime(2026, 3, 29, 0, 30, tzinfo=UTC), datetime(2026, 3, 29, 1, 30, tzinfo=UTC)
    assert moment(before, language="de", timezone="Europe/Berlin").endswith("01:30 CET")
    assert moment(after, language="de", timezone="Europe/Berlin").endswith("03:30 CEST")
