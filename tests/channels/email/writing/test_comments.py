"""User text is shown as it was meant, and cannot do anything to the reader."""

from re import findall, fullmatch
from re import search as find
from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from psutil import Process

from notify.channels.email.writing.comments import (
    as_html,
    as_quote,
    cut,
    fold,
    one_line,
    shortened,
    show_invisible,
    tidy,
)
from notify.channels.email.writing.facts import Limits, text_facts
from notify.markdown import as_html as markdown_as_html
from notify.markdown import without_comments

TABLE = (
    '<table>\n<thead>\n<tr>\n<th>a</th>\n<th align="right">b</th>\n</tr>\n</thead>\n'
    '<tbody>\n<tr>\n<td>1</td>\n<td align="right">2</td>\n</tr>\n</tbody>\n</table>\n'
)

ATTACKS = [
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "<a href='javascript:alert(1)'>x</a>",
    "[x](javascript:alert(1))",
    "[x](JaVaScRiPt:alert(1))",
    "[x](data:text/html;base64,PHNjcmlwdD4=)",
    "[x](vbscript:x)",
    "![x](javascript:alert(1))",
    "<svg onload=alert(1)>",
    "<style>body{display:none}</style>",
    "<iframe src=https://evil.example></iframe>",
    '[x](https://a.example "onmouseover=alert(1)")',
    '<https://a.example/"onclick=alert(1)>',
    "`<script>`",
    "```<img src=x onerror=alert(1)>\n<script>\n```",
    "<!-- --><form action=https://evil.example>",
]
DANGEROUS = r"<(?!/?(a|blockquote|br|code|em|h[1-6]|hr|li|ol|p|pre|strong|ul)\b)|<[^>]*\s(on\w+|style|src|class|id)\s*="


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_comment_can_act_in_the_readers_mail(attack: str) -> None:
    html = as_html(attack)
    assert not find(DANGEROUS, html)
    assert all(fullmatch(r"(https?|mailto):.*", url) for url in findall(r'href="([^"]*)"', html))


@given(
    st.lists(st.sampled_from([*ATTACKS, "\n", "> ", "* ", "[", "](", ")", "`", "<", ">", "&", '"', " "])).map("".join)
)
def test_no_combination_of_tricks_can_act_either(attack: str) -> None:
    assert not find(DANGEROUS, as_html(attack))


@pytest.mark.parametrize(
    ("markdown", "html"),
    [
        ("**a** *b* `c`", "<p><strong>a</strong> <em>b</em> <code>c</code></p>\n"),
        ("[a](https://a.example)", '<p><a href="https://a.example" rel="noopener nofollow">a</a></p>\n'),
        ("[a](mailto:a@a.example)", '<p><a href="mailto:a@a.example" rel="noopener nofollow">a</a></p>\n'),
        ("[a](/relative)", '<p><a rel="noopener nofollow">a</a></p>\n'),
        (
            "![a *b*](https://a.example/b.png)",
            '<p><a href="https://a.example/b.png" rel="noopener nofollow">a b</a></p>\n',
        ),
        (
            "![](https://a.example/b.png)",
            '<p><a href="https://a.example/b.png" rel="noopener nofollow">image</a></p>\n',
        ),
        (
            "[![a](https://a.example/b.png)](https://c.example)",
            '<p><a href="https://c.example" rel="noopener nofollow">a</a></p>\n',
        ),
        ("| a | b |\n|---|--:|\n| 1 | 2 |", TABLE),
        ("- [ ] a\n- [x] b", '<ul>\n<li class="task">☐ a</li>\n<li class="task">☑ b</li>\n</ul>\n'),
        ("- [x] a\n\n- b", '<ul>\n<li class="task"><p>☑ a</p>\n</li>\n<li>\n<p>b</p>\n</li>\n</ul>\n'),
        ("~~a~~", "<p><del>a</del></p>\n"),
        ("a\nb", "<p>a<br>\nb</p>\n"),
        (
            "see https://a.example/b.",
            '<p>see <a href="https://a.example/b" rel="noopener nofollow">https://a.example/b</a>.</p>\n',
        ),
        ("3. a\n4. b", '<ol start="3">\n<li>a</li>\n<li>b</li>\n</ol>\n'),
        ("```py\nif a < b:\n```", "<pre><code>if a &lt; b:\n</code></pre>\n"),
    ],
)
def test_markdown_is_shown_as_it_was_meant(markdown: str, html: str) -> None:
    assert as_html(markdown) == html


@pytest.mark.parametrize(
    ("markdown", "quoted"),
    [
        ("a", "> a"),
        ("a\n\nb", "> a\n>\n> b"),
        ("\n\na\n\n", "> a"),
        ("", ">"),
        ("word " * 20, "> " + "word " * 14 + "word\n> word word word word word"),
        ("- " + "word " * 16, "> - " + "word " * 14 + "word\n>   word"),
        ("> " + "word " * 16, "> > " + "word " * 14 + "word\n> > word"),
        ("-- \nYou get this", "> --\n> You get this"),
        ("see https://a.example/" + "b" * 80, "> see\n> https://a.example/" + "b" * 80),
        ("```\n" + "code " * 20 + "\n```", "> ```\n> " + ("code " * 20).rstrip() + "\n> ```"),
        ("    " + "code " * 20, ">     " + ("code " * 20).rstrip()),
        ("| " + "cell | " * 20, "> | " + ("cell | " * 20).rstrip()),
    ],
)
def test_prose_is_wrapped_and_code_is_left_whole(markdown: str, quoted: str) -> None:
    assert as_quote(markdown) == quoted


@given(st.text(max_size=400))
def test_every_line_of_a_quote_is_quoted(text: str) -> None:
    assert all(fullmatch(r">( .*)?", line) for line in as_quote(tidy(text)).split("\n"))


@given(st.lists(st.text("abcé😀.:/", min_size=1, max_size=100), min_size=1, max_size=30))
def test_wrapping_neither_loses_nor_breaks_a_word(words: list[str]) -> None:
    assert as_quote(" ".join(words)).replace("> ", "").split() == words


@given(st.text(st.characters(), max_size=300))
def test_tidied_text_has_no_control_characters_and_no_hidden_line_ends(text: str) -> None:
    assert len(tidy(text).splitlines()) <= tidy(text).count("\n") + 1
    assert "\x1b" not in tidy(text).encode().decode()
    assert "\n" not in one_line(text)


@given(st.text(max_size=300), st.integers(1, 300))
def test_a_cut_text_is_a_prefix(text: str, most: int) -> None:
    kept = cut(text, most)
    assert len(kept) <= most
    assert text.startswith(kept)
    assert kept or not text or text[0] in " \n"


JAPANESE = "見直しをお願いします。" * 60
FAMILY, FLAG, HANGUL, ACCENT = "👨‍👩‍👧‍👦", "🇩🇪", "\u1112\u1161\u11ab", "e\u0301\u0302"
THAI, LAO, HALF_WIDTH = "\u0e19\u0e49\u0e33", "\u0e99\u0eb3", "\uff8a\uff9e"
SHAKEN_HEAD, CONJUNCT = "\U0001f642\u200d\u2194\ufe0f", "\u0915\u094d\u0937\u093f"
CHARACTERS = [FAMILY, FLAG, HANGUL, ACCENT, "नि", "👍🏽", "❤️", "한", THAI, LAO, HALF_WIDTH, SHAKEN_HEAD, CONJUNCT]


def test_text_without_spaces_is_cut_at_the_limit() -> None:
    assert cut(f"@bob {JAPANESE}", 140) == f"@bob {JAPANESE}"[:140]
    assert cut("word " * 60, 140) == ("word " * 60)[:139]


@pytest.mark.parametrize("character", CHARACTERS, ids=ascii)
def test_no_text_is_cut_within_a_character(character: str) -> None:
    kept = [cut(character * 100, most) for most in range(2 * len(character), 100)]
    assert {len(one) % len(character) for one in kept} == {0}
    assert all(len(one) > most - len(character) for most, one in enumerate(kept, start=2 * len(character)))


@pytest.mark.parametrize("character", CHARACTERS, ids=ascii)
def test_no_name_is_shortened_within_a_character(character: str) -> None:
    kept = [shortened(character * 100, most).removesuffix("…") for most in range(2 * len(character), 100)]
    assert {len(one) % len(character) for one in kept} == {0}


def test_a_large_text_shown_only_in_part_is_read_up_to_a_whole_character() -> None:
    not_shown = "\x01" * 79
    assert text_facts(not_shown + FLAG * 100, limits=Limits(20))["quoted"] in {"", f"> {FLAG}"}


@pytest.mark.parametrize(
    "mark",
    [
        *("![", "[", "[](", "*a ", "`a", "1. a\n", "a\n\n", "# a\n", "> a\n>> b\n", "_*", "<!--", "<a", "|"),
        *("| a |\n|-|\n", "> ", "- ", "~", "www.", "http://", "a@", "a.@b.c", "[a]: b\n", "&", "\\", "``` "),
        *("a**b", "[a][", "- [ ] a\n", "<https://a> "),
    ],
    ids=ascii,
)
def test_rendering_takes_linear_time(mark: str) -> None:
    words = mark * (400_000 // len(mark))
    began = process_time()
    markdown_as_html(without_comments(words))
    assert process_time() - began < 5


@pytest.mark.parametrize("nested", ["> ", "- "])
@pytest.mark.parametrize("depth", [21, 60, 500])
def test_nesting_is_limited_to_what_can_be_read(nested: str, depth: int) -> None:
    assert "the innermost words" in as_html(nested * depth + "the innermost words")


@pytest.mark.parametrize(
    "comment",
    [
        "<!-- cc @carol -->",
        "words <!-- cc @carol --> words",
        "> <!-- cc\n> @carol -->\n",
        "<!--\n\n@carol\n\n-->\n\nwords",
    ],
)
def test_an_html_comment_is_never_shown(comment: str) -> None:
    shown = text_facts(f"Fine.\n\n{comment}", limits=Limits(20_000))
    assert "carol" not in "".join(str(form) for form in shown.values())
    assert "Fine." in shown["quoted"]


def test_an_html_comment_within_code_is_code() -> None:
    assert without_comments("`<!-- a -->` <!-- b --> `<!-- c -->`") == "`<!-- a -->`  `<!-- c -->`"
    assert without_comments("```\n<!-- a -->\n```") == "```\n<!-- a -->\n```"


def test_html_tags_are_shown_as_text() -> None:
    assert as_html("`a` List<String> <b>x</b> <std::string>") == (
        "<p><code>a</code> List&lt;String&gt; &lt;b&gt;x&lt;/b&gt; &lt;std::string&gt;</p>\n"
    )


def test_a_long_comment_of_text_and_code_is_still_rendered_as_markdown() -> None:
    words = ("The *cap* comes `first`, see [the note](https://a.example).\n\n" + "word " * 60 + "\n\n") * 50
    assert as_html(words).count("<em>cap</em>") == 50


@pytest.mark.parametrize("steering", ["\u202e", "\u202d", "\u202b", "\u2067", "\u2066", "\u200b", "\u2060", "\ufeff"])
def test_characters_that_hide_or_reorder_text_are_removed_or_made_visible(steering: str) -> None:
    assert one_line(f"inv{steering}oice.exe") == "invoice.exe"
    assert show_invisible(f"if admin:{steering} return") == f"if admin:<U+{ord(steering):04X}> return"


def test_invisible_characters_that_scripts_and_emoji_need_are_kept() -> None:
    for text in ("نمی\u200cخواهم", "👩\u200d👧", "a\u200eb"):
        assert one_line(text) == show_invisible(text) == text


@given(st.lists(st.text("abcé😀.:/", min_size=1, max_size=100), min_size=1, max_size=30))
@example(["see", "https://a.example/" + "b" * 90])
def test_a_wrapped_sentence_fits_a_terminal_and_loses_nothing(words: list[str]) -> None:
    folded = fold(" ".join(words))
    assert folded.split() == words
    assert all(len(line) <= 78 or " " not in line for line in folded.split("\n"))


def test_rendering_a_comment_leaks_no_memory() -> None:
    comment = "Some **words** about `code`\n\n- one\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\n" * 8
    as_html(comment)
    process = Process()
    before = process.memory_info().rss
    for _ in range(1000):
        as_html(comment)
    assert process.memory_info().rss - before < 5_000_000
