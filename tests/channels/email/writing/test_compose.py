"""The email as people read it, and its headers as programs do."""

from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from email.message import EmailMessage
from html import unescape
from pathlib import Path
from re import findall
from re import search as find
from subprocess import run
from sys import executable

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from notify.channels.email.writing.common_headers import list_id
from notify.channels.email.writing.compose import EVENTS_KEPT, Composed
from notify.channels.email.writing.facts import LONGEST_COMMENT
from notify.channels.email.writing.headers import UnusableAddress
from notify.channels.email.writing.render import TemplateFailure
from notify.channels.links import Scope, Unsubscribe
from notify.domain.audience import Reason
from notify.domain.errors import InvalidSettings, UnsafeHeader
from notify.domain.events import COMMENT_CREATED, ChangeList
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.threads import root_id, thread_index
from tests.support.emails import ALICE, CHANGE_LIST, HOST, NOON, composer, email_facts, links
from tests.support.messages import parsed, text_of

ROOT = Path(__file__).parents[4]
COMPOSER = composer()
BOB = Person(username="bob", display_name="Bob")
ANY_TEXT = st.text(st.characters(blacklist_categories=["Cs"]), max_size=300)
ANY_NAME = st.text(st.characters(blacklist_categories=["Cc", "Cs"]), min_size=1, max_size=80)
MOST_BYTES = 90_000


def written(one: EmailFacts) -> Composed:
    return COMPOSER.compose(one, date=NOON)


def read(composed: Composed) -> EmailMessage:
    return parsed(composed.content)


def test_the_text_reads_as_designed() -> None:
    one = email_facts(recipient=BOB, reason=Reason.REVIEWER)
    mute, fewer = links().mute_change_list("bob", "CL-4821", beside=COMMENT_CREATED), links().preferences("bob")
    assert written(one).text == (
        'Dana Reyes commented on CL-4821, "Cap the upload retry":\n'
        "\n"
        "    src/upload/retry.py, line 42\n"
        "    |  delay = base * 2 ** n\n"
        "\n"
        "> The jitter has to come after the cap, otherwise the upper half of the range\n"
        "> is lost.\n"
        "\n"
        "https://review.example/CL-4821#c8731\n"
        "\n"
        "-- \n"
        "You get this because you review CL-4821.\n"
        f"Mute CL-4821: {mute}\n"
        f"Notification settings: {fewer}\n"
    )


def test_unknown_facts_are_left_out() -> None:
    bare = email_facts(
        change_list=ChangeList(link="CL-4821"),
        comment={"path": None, "line": None, "code": None, "url": None, "body": "Yes."},
    )
    composed = written(bare)
    assert composed.subject == "CL-4821"
    assert composed.text.startswith("Dana Reyes commented on CL-4821:\n\n> Yes.\n\n-- \nYou get this because you wrote")
    assert "None" not in composed.text + composed.html
    assert 'class="button"' not in composed.html


@pytest.mark.parametrize(
    ("known", "subject"),
    [
        ({"title": "Cap it", "repository": "mono"}, "[mono] Cap it (CL-1)"),
        ({"title": "Cap it"}, "Cap it (CL-1)"),
        ({"repository": "mono"}, "[mono] CL-1"),
        ({}, "CL-1"),
    ],
)
def test_the_subject_has_the_known_facts(known: dict[str, str], subject: str) -> None:
    one = email_facts(change_list=ChangeList(link="CL-1", **known))  # type: ignore[arg-type]
    assert read(written(one))["Subject"] == subject


def test_the_text_and_the_html_say_the_same() -> None:
    composed = written(email_facts(recipient=BOB, reason=Reason.REVIEWER))
    said = unescape(" ".join(findall(r">([^<]+)<", composed.html.partition("<body")[2])))
    for words in (
        "Dana Reyes",
        "commented on",
        "CL-4821",
        "Cap the upload retry",
        "src/upload/retry.py, line 42",
        "delay = base * 2 ** n",
        "The jitter has to come after the cap",
        "You get this because you review CL-4821.",
        "Mute CL-4821",
        "Notification settings",
    ):
        assert words in said
    for url in findall(r"https://\S+", composed.text):
        assert f'href="{url}"' in composed.html


def test_every_header_of_the_design_is_there() -> None:
    one = email_facts()
    message = read(written(one))
    root = f"<{root_id('CL-4821', host=HOST)}>"
    stop = links().stop_event_type("alice", COMMENT_CREATED, beside="CL-4821")
    assert {name: str(value) for name, value in message.items()} == {
        "From": "Dana Reyes via Review <notify@example.com>",
        "To": "Alice Moore <alice@example.com>",
        "Subject": "[monorepo] Cap the upload retry (CL-4821)",
        "Date": "Mon, 02 Mar 2026 12:00:00 +0000",
        "Message-ID": f"<{one.message_id}>",
        "In-Reply-To": root,
        "References": root,
        "Thread-Topic": "[monorepo] Cap the upload retry (CL-4821)",
        "Thread-Index": thread_index("CL-4821"),
        "List-Id": f"<monorepo.notify.{HOST}>",
        "List-Unsubscribe": f"<{stop}>",
        "List-Unsubscribe-Post": "List-Unsubscribe=One-Click",
        "Auto-Submitted": "auto-generated",
        "X-Auto-Response-Suppress": "All",
        "Precedence": "list",
        "X-Notify-Reason": "author",
        "X-Notify-Event": "cl.comment.created",
        "X-Notify-CL": "CL-4821",
        "X-Notify-Actor": "dana",
        "MIME-Version": "1.0",
        "Content-Type": 'multipart/alternative; boundary="=_notify"',
    }
    assert links().read_unsubscribe(stop.rpartition("/")[2]) == Unsubscribe(
        "alice", Scope.EVENT_TYPE, COMMENT_CREATED, "CL-4821"
    )


def test_emails_about_one_change_list_are_one_thread() -> None:
    first, second = read(written(email_facts(1))), read(written(email_facts(2, recipient=BOB, reason=Reason.REVIEWER)))
    for header in ("References", "In-Reply-To", "Subject", "Thread-Topic", "Thread-Index", "List-Id"):
        assert first[header] == second[header]
    assert first["Message-ID"] != second["Message-ID"]


def test_a_repeated_email_is_the_same_email() -> None:
    assert composer().compose(email_facts(), date=NOON) == composer().compose(email_facts(), date=NOON)
    later = composer().compose(email_facts(), date=datetime(2026, 3, 3, tzinfo=UTC))
    assert read(later)["Message-ID"] == read(written(email_facts()))["Message-ID"]
    assert read(later)["Date"] != read(written(email_facts()))["Date"]


def test_each_reader_of_one_event_gets_their_own_reason_and_links() -> None:
    shared = composer()
    alice = shared.compose(email_facts(), date=NOON)
    bob = shared.compose(email_facts(recipient=BOB, to="bob@example.com", reason=Reason.REVIEWER), date=NOON)
    assert alice == composer().compose(email_facts(), date=NOON)
    assert "you wrote CL-4821" in alice.text
    assert "you wrote CL-4821" in alice.html
    assert "you review CL-4821" in bob.text
    assert "you review CL-4821" in bob.html
    for of_alice in (
        links().preferences("alice"),
        links().mute_change_list("alice", "CL-4821", beside=COMMENT_CREATED),
    ):
        assert of_alice not in bob.content.replace(b"=\r\n", b"").decode()


def test_a_change_in_the_directory_reaches_the_next_email() -> None:
    shared = composer()
    shared.compose(email_facts(), date=NOON)
    renamed = email_facts(change_list=replace(CHANGE_LIST, title="Another title"))
    assert "Another title" in shared.compose(renamed, date=NOON).subject


def test_the_composers_cache_is_bounded() -> None:
    shared = composer()
    for number in range(EVENTS_KEPT + 10):
        shared.compose(email_facts(number, comment={"body": "short"}), date=NOON)
    assert len(shared._kept) == EVENTS_KEPT  # noqa: SLF001 - memory has no other face


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(words=ANY_TEXT, name=ANY_NAME, title=ANY_NAME)
@example(
    words="x\r\nBcc: eve@example.com\r\n\r\n.\r\n", name='"Eve" <eve@example.com>', title="=?utf-8?q?=0D=0ABcc:_e?="
)
@example(words="\r\n--=_notify--\r\n", name="שלום \u202e", title="😀" * 40)
@example(words="-- \nYou get this because", name="a@b", title=", ; < > [ ] ( )")
def test_user_text_stays_in_its_place(words: str, name: str, title: str) -> None:
    one = email_facts(
        comment={"body": words, "code": words, "path": words},
        actor=Person(username="eve", display_name=name),
        recipient=replace(ALICE, display_name=name),
        change_list=replace(CHANGE_LIST, title=title),
    )
    composed = written(one)
    message = read(composed)
    assert len(message.items()) == len(read(written(email_facts())).items())
    assert [one.addr_spec for one in message["To"].addresses] == ["alice@example.com"]
    assert [one.addr_spec for one in message["From"].addresses] == ["notify@example.com"]
    assert message["Bcc"] is None
    assert text_of(message, "plain") == composed.text
    assert text_of(message, "html") == composed.html
    assert composed.text.count("\n-- \n") == 1


@pytest.mark.parametrize("evil", ["\r", "\n", "\0", "\x1b", "\x85", "\ud800"])
@pytest.mark.parametrize(
    "poisoned",
    [
        lambda text: email_facts(actor=Person(username="eve", display_name=text)),
        lambda text: email_facts(actor=Person(username=text, display_name="Eve")),
        lambda text: email_facts(recipient=Person(username="eve", display_name=text)),
        lambda text: email_facts(change_list=replace(CHANGE_LIST, title=text)),
        lambda text: email_facts(change_list=replace(CHANGE_LIST, repository=text)),
        lambda text: replace(email_facts(), change_list=replace(CHANGE_LIST, link=text)),
        lambda text: email_facts(to=f"{text}@example.com"),
    ],
    ids=["actor", "username", "recipient", "title", "repository", "link", "address"],
)
def test_a_value_that_could_end_its_header_is_never_sent(poisoned: Callable[[str], EmailFacts], evil: str) -> None:
    with pytest.raises(UnsafeHeader):
        written(poisoned(f"a{evil}Bcc: eve@example.com"))


def test_a_recipient_without_an_address_is_refused() -> None:
    with pytest.raises(UnusableAddress):
        written(email_facts(to="nobody"))


@pytest.mark.parametrize("mail_from", ["nobody", "a b@example.com", ""])
def test_a_service_without_an_address_does_not_start(mail_from: str) -> None:
    with pytest.raises(InvalidSettings):
        composer(mail_from=mail_from)


@pytest.mark.parametrize(
    ("repository", "expected"),
    [
        ("monorepo", "monorepo.notify.review.example"),
        ("Team/Upload Service", "team-upload-service.notify.review.example"),
        ("評論", "notify.review.example"),
        (None, "notify.review.example"),
        ("a" * 200, "a" * 63 + ".notify.review.example"),
    ],
)
def test_emails_can_be_filed_by_repository(repository: str | None, expected: str) -> None:
    assert list_id(repository, host=HOST) == expected


@pytest.mark.parametrize(
    "words",
    ["word " * 40_000, "x" * 200_000, "`a`" * 40_000, "&" * 200_000, "*a*\n\n" * 40_000, "😀" * 60_000, "> " * 50_000],
    ids=["prose", "one line", "code", "escapes", "paragraphs", "emoji", "nesting"],
)
def test_a_long_comment_is_cut_with_a_link_to_the_rest(words: str) -> None:
    composed = written(email_facts(comment={"body": words}))
    assert len(composed.html.encode()) < MOST_BYTES
    assert len(composed.text) < 3 * LONGEST_COMMENT
    for said in (composed.text, composed.html):
        assert "[…]" in said
        assert "https://review.example/CL-4821#c8731" in said


def test_a_comment_that_fits_is_whole() -> None:
    words = ("word " * (LONGEST_COMMENT // 5)).strip()
    composed = written(email_facts(comment={"body": words}))
    assert "[…]" not in composed.text + composed.html
    assert composed.text.count("word") == LONGEST_COMMENT // 5


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", 'https://x" onclick="alert(1)', "//x", "ftp://x", "https://a\nb"]
)
def test_a_link_is_http_or_absent(url: str) -> None:
    composed = written(email_facts(comment={"url": url}, change_list=replace(CHANGE_LIST, url=url)))
    assert url not in composed.text + composed.html
    assert 'class="button"' not in composed.html


def test_opening_the_email_loads_nothing() -> None:
    composed = written(
        email_facts(
            comment={
                "body": "![x](https://spy.example/pixel.png) <img src=https://spy.example/b.png>\n\n<style>@import url(https://spy.example/c.css)</style>"
            }
        )
    )
    assert not find(
        r"<(img|link|script|iframe|object|video|audio|form|input)\b|<[^>]*(\ssrc=|url\()",
        composed.html,
    )


def test_the_html_works_on_small_screens_in_dark_mode_and_with_screen_readers() -> None:
    html = written(email_facts()).html
    assert '<html lang="en" dir="ltr">' in html
    assert '<meta name="viewport" content="width=device-width, initial-scale=1">' in html
    assert "@media (prefers-color-scheme: dark)" in html
    assert '<meta name="color-scheme" content="light dark">' in html
    assert 'class="preheader"' in html


def test_a_deployment_can_replace_one_template_and_keep_the_others(tmp_path: Path) -> None:
    own = tmp_path / "email" / "cl.comment.created" / "subject.txt"
    own.parent.mkdir(parents=True)
    own.write_text("Look: {{ cl.link }}")
    changed = composer(templates_dir=tmp_path).compose(email_facts(), date=NOON)
    assert changed.subject == "Look: CL-4821"
    assert changed.text == written(email_facts()).text


@pytest.mark.parametrize(
    ("template", "words"),
    [
        ("{{ nonsense }}", "{file}:1, error: UndefinedError: 'nonsense' is undefined"),
        ("\n{{ 1 // 0 }}", "{file}:2, error: ZeroDivisionError"),
        ("{% if %}", "{file}:1, error: TemplateSyntaxError: Expected an expression, got 'end of statement block'"),
        ("{% include 'missing.txt' %}", "{file}:1, error: TemplateNotFound: missing.txt"),
    ],
)
def test_a_broken_template_is_named_with_its_line_and_the_error(tmp_path: Path, template: str, words: str) -> None:
    own = tmp_path / "email" / "cl.comment.created" / "body.txt"
    own.parent.mkdir(parents=True)
    own.write_text(template)
    with pytest.raises(TemplateFailure) as failure:
        composer(templates_dir=tmp_path).compose(email_facts(), date=NOON)
    assert f"(template: {words.format(file=own)})" in str(failure.value)


def test_a_template_that_ignores_the_reader_still_renders(tmp_path: Path) -> None:
    own = tmp_path / "email" / "cl.comment.created" / "body.txt"
    own.parent.mkdir(parents=True)
    own.write_text("Everybody gets this.")
    assert composer(templates_dir=tmp_path).compose(email_facts(), date=NOON).text == "Everybody gets this."


def test_a_process_forked_after_compiling_the_templates_compiles_none() -> None:
    program = """
import sys
from notify.cli import sample
from tests.support.emails import HOST, NOON, composer

composer().compile_templates()
compiled = []
sys.addaudithook(lambda event, args: compiled.append(args[1]) if event == "compile" else None)
later = composer()
for language in later.languages:
    for event_type in sample.PAYLOADS:
        later.compose(sample.email(event_type, host=HOST, locale=language), date=NOON)
print(sorted({name for name in compiled if str(name).endswith((".html", ".txt"))}))
"""
    ran = run([executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60)
    assert ran.stdout == "[]\n"
