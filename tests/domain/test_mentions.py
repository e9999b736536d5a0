"""Whom a text mentions, and what only looks like it."""

from time import process_time

import pytest

from notify.domain.mentions import MOST, mentioned


@pytest.mark.parametrize(
    ("text", "names"),
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
def test_a_name_after_an_at_sign_is_a_mention(text: str, names: list[str]) -> None:
    assert mentioned(text) == tuple(names)


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
    assert mentioned(text) == ()


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
def test_what_stands_in_code_is_no_mention_and_what_follows_is(code: str) -> None:
    assert mentioned(f"{code}\n\n@bob") == ("bob",)


@pytest.mark.parametrize("text", ["`@dana", "`` @dana `", "`one\n\n@dana`", "```inline``` @dana"], ids=ascii)
def test_ticks_that_close_nothing_hide_nothing(text: str) -> None:
    assert mentioned(text) == ("dana",)


def test_a_fence_that_nobody_closes_hides_the_rest() -> None:
    assert mentioned("```\n@dana\n\n@bob") == ()


def test_fifty_names_are_enough() -> None:
    assert mentioned(" ".join(f"@person{number}" for number in range(MOST + 5))) == tuple(
        f"person{number}" for number in range(MOST)
    )


@pytest.mark.parametrize(
    "pattern",
    ["`", "@", "@a", "``` ", "> ", "    @a\n", ">" * 60 + "```\n", "a.@b ", "```\n@\n", "`` ` ", "@a.", "- "],
    ids=ascii,
)
def test_no_text_is_read_in_more_than_linear_time(pattern: str) -> None:
    text = pattern * (500_000 // len(pattern))
    began = process_time()
    mentioned(text + "@end")
    assert process_time() - began < 5
