"""Whom a text mentions, and what only looks like a mention."""

from time import process_time
from unicodedata import normalize

import pytest

from notify.domain.mentions import MAX_MENTIONS, UsernameIndex, find_mentions
from notify.markdown import prose

JOSE = normalize("NFD", "josé")


def names(markdown: str) -> tuple[str, ...]:
    """The names that a comment mentions, each in its longest reading."""
    return tuple(readings[0] for readings in find_mentions(prose(markdown)))


def mentioned_people(markdown: str, *usernames: str) -> list[str]:
    """Which of these people are mentioned."""
    known = UsernameIndex(usernames)
    return [name for name in map(known.find, find_mentions(prose(markdown))) if name]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("请@bob看一下", ["bob"]),
        ("交给@bob处理", ["bob"]),
        ("@bobさん、お願いします", ["bob"]),
        ("@bob님 확인 부탁드립니다", ["bob"]),
        ("请@小明", ["小明"]),
        ("@太郎さん", ["太郎"]),
        ("@सुनीता देखो", ["सुनीता"]),
        (f"@{JOSE} look", ["josé"]),
        ("@Bob's and @BOB.", ["bob", "bob"]),
        ("@Sam @sam @SAM", ["Sam", "sam"]),
        ("@bob-, @bob: @bob) **@bob** ~~@bob~~ | @bob |", ["bob"]),
        ("<b>@bob</b>", ["bob"]),
    ],
    ids=ascii,
)
def test_a_name_is_found_whatever_surrounds_it(text: str, told: list[str]) -> None:
    people = ["bob", "jose", "josé", "सुनीता", "सुन", "小明", "太郎", "Sam", "sam", "org"]
    assert list(dict.fromkeys(mentioned_people(text, *people))) == list(dict.fromkeys(told))


@pytest.mark.parametrize(
    "text",
    [
        "<!-- cc @bob -->",
        "see https://x.example/?q=@bob and www.x.example/@bob",
        "<https://x.example/@bob> <mailto:a@bob>",
        "[words](https://x.example/@bob)",
        "![@bob](https://x.example/b.png)",
        "a@bob.com a@bob @bob/team @bob@social.example é@bob",
        "@bobby @bo @bob.com @bob_",
    ],
)
def test_text_that_only_looks_like_a_mention_tells_nobody(text: str) -> None:
    assert mentioned_people(text, "bob", "carol") == []


def test_a_name_in_another_case_is_a_mention_if_it_is_unambiguous() -> None:
    assert mentioned_people("@DANA", "Dana", "bob") == ["Dana"]
    assert mentioned_people("@DANA", "Dana", "dana") == []
    assert mentioned_people("@dana", "Dana", "dana") == ["dana"]
    assert mentioned_people(f"@{JOSE}", JOSE) == [JOSE]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("@dana", ["dana"]),
        ("Please look, @dana.", ["dana"]),
        ("(@dana.k) @bob: and @carol-anne_2!", ["dana.k", "bob", "carol-anne_2"]),
        ("@dana's and **@bob**, [@carol](https://example.com)", ["dana", "bob", "carol"]),
        ("@bob @dana @bob", ["bob", "dana"]),
        ("@Dana @dana", ["Dana", "dana"]),
        ("@\u65e5\u672c", ["\u65e5\u672c"]),
        ("> @dana said", ["dana"]),
        ("- one\n\n    @dana in the same item", ["dana"]),
        ("a line\n    @dana in the same paragraph", ["dana"]),
    ],
    ids=ascii,
)
def test_a_name_after_an_at_sign_is_a_mention(text: str, found: list[str]) -> None:
    assert names(text) == tuple(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "@",
        "@ dana",
        "dana@example.com",
        "first.last+tag@example.com",
        "@dana@social.example",
        "https://example.com/@dana/1",
        "npm i @types/node",
        r"\@dana",
        "@" + "a" * 300,
    ],
    ids=lambda text: text[:30],
)
def test_addresses_paths_and_packages_are_no_mentions(text: str) -> None:
    assert names(text) == ()


@pytest.mark.parametrize(
    "code",
    [
        "`@dana`",
        "``@dana ` @dana``",
        "`two\nlines @dana`",
        "```\n@dana\n```",
        "```python\n@dana\n\n@dana\n```",
        "~~~\n@dana\n```\n@dana\n~~~",
        "````\n```\n@dana\n````",
        "   ```\n@dana\n   ```",
        "> ```\n> @dana",
        "> ```\n> @dana\n> ```",
        "    @dana",
        "\t@dana",
        "words\n\n    @dana\n\n    @dana",
        "- item\n\n        @dana",
    ],
    ids=ascii,
)
def test_a_name_in_code_is_no_mention_and_one_after_it_is(code: str) -> None:
    assert names(f"{code}\n\n@bob") == ("bob",)


@pytest.mark.parametrize("text", ["`@dana", "`` @dana `", "`one\n\n@dana`", "```inline``` @dana"], ids=ascii)
def test_unclosed_backticks_hide_nothing(text: str) -> None:
    assert names(text) == ("dana",)


def test_an_unclosed_fence_hides_the_rest() -> None:
    assert names("```\n@dana\n\n@bob") == ()


def test_at_most_fifty_names_are_found() -> None:
    assert names(" ".join(f"@person{number}" for number in range(MAX_MENTIONS + 5))) == tuple(
        f"person{number}" for number in range(MAX_MENTIONS)
    )


@pytest.mark.parametrize(
    "pattern",
    ["`", "@", "@a", "``` ", "> ", "    @a\n", ">" * 60 + "```\n", "a.@b ", "```\n@\n", "`` ` ", "@a.", "- "],
    ids=ascii,
)
def test_finding_mentions_takes_linear_time(pattern: str) -> None:
    text = pattern * (500_000 // len(pattern))
    began = process_time()
    names(text + "@end")
    assert process_time() - began < 5
