"""
GitHub's Markdown, read by one parser: as HTML to be shown, and as the prose in which people are mentioned.

*Decided*: cmark-gfm, which takes time in proportion to the text whatever it holds. *Rejected*: markdown-it-py,
which is a hundred times slower and drops what is nested deeper than 20; pyromark, which has no bare autolinks; comrak,
which a comment of nothing but brackets or quotation marks kills, and the process with it.

*Decided*: what cmarkgfm allocates for a text is freed here, by functions of the library that it does not bind. It frees
neither the tree nor the HTML (its issue #53), which was 27 kB a comment.

*Decided*: nobody's HTML is HTML here. Comments vanish; all other tags are words like ``List<String>``. For that a
control character, which no comment may hold, follows every ``<`` while the parser reads, and is taken out again.
"""

from collections.abc import Iterator
from ctypes import CDLL, c_void_p
from functools import cache
from html import unescape
from re import Match
from re import compile as pattern

from cmarkgfm import _cmark, cmark
from cmarkgfm.cmark import Options

GUARD = "\x1a"
GUARD_IN_A_URL = "%1A"
EXTENSIONS = ("table", "strikethrough", "autolink", "tasklist")
OPENING = "<!--"
CLOSING = "-->"

AUTOLINK = r"(?:https?://|mailto:)[^\s<>]*>|[^\s<>@]{1,64}@[^\s<>@]{1,255}>"
LESS_THAN = pattern(rf"<(?!{AUTOLINK})")
COMMENT = pattern(r"<!--(?!-?>)")
COMMENT_OR_LESS_THAN = pattern(rf"<!--(?!-?>)|<(?!{AUTOLINK})")
RAW_COMMENT = pattern(rf"<!--{GUARD}(\d+){GUARD}")
TOKEN = pattern(r"<(/?)([a-z][a-z0-9]*)([^>]*)>|([^<]+)")
HREF = pattern(r'href="([^"]*)"')
CODE = frozenset({"code", "pre"})


def as_html(markdown: str) -> str:
    """The text as HTML, without a tag of the author's; not sanitised: its links lead anywhere."""
    guarded = LESS_THAN.sub(f"<{GUARD}", markdown.replace(GUARD, ""))
    return _parsed(guarded, Options.CMARK_OPT_HARDBREAKS).replace(GUARD, "").replace(GUARD_IN_A_URL, "")


def without_comments(markdown: str) -> str:
    """
    The text without its HTML comments, which are notes of the author's to nobody; those in code stay.

    Each is numbered before the parser reads, which then shows which of them it took for comments.
    """
    if OPENING not in markdown:
        return markdown
    markdown = markdown.replace(GUARD, "")
    html = _parsed(_numbered(markdown), Options.CMARK_OPT_UNSAFE)
    comments = {int(number) for number in RAW_COMMENT.findall(html)}
    return "".join(_without(markdown, comments))


def prose(markdown: str) -> Iterator[str]:
    """What the text says outside of code, of comments and of bare links, run by run; escaped ``@`` are no ``@``."""
    if "@" not in markdown:
        return
    html = as_html(without_comments(markdown).replace(r"\@", "\\"))
    code, href, inside = 0, "", list[str]()
    for closing, tag, attributes, text in TOKEN.findall(html):
        if tag in CODE:
            code += -1 if closing else 1
        elif tag == "a" and not closing:
            found = HREF.search(attributes)
            href = unescape(found[1]) if found else ""
        elif tag == "a":
            yield from () if _is_bare(href, "".join(inside)) else inside
            href, inside = "", []
        elif text and not code:
            if href:
                inside.append(unescape(text))
            else:
                yield unescape(text)


def _is_bare(href: str, text: str) -> bool:
    """Whether a link shows its own address."""
    return href in {text, f"http://{text}", f"mailto:{text}"}


def _numbered(markdown: str) -> str:
    numbers = iter(range(len(markdown)))

    def guarded(found: Match[str]) -> str:
        comment = COMMENT.match(markdown, found.start())
        return f"<{GUARD}" if comment is None else f"<!--{GUARD}{next(numbers)}{GUARD}"

    return COMMENT_OR_LESS_THAN.sub(guarded, markdown)


def _without(markdown: str, comments: set[int]) -> Iterator[str]:
    """The text without the comments of these numbers."""
    at = 0
    for number, found in enumerate(COMMENT.finditer(markdown)):
        if number in comments and found.start() >= at:
            yield markdown[at : found.start()]
            end = markdown.find(CLOSING, found.end())
            at = len(markdown) if end < 0 else end + len(CLOSING)
    yield markdown[at:]


def _parsed(guarded: str, options: int) -> str:
    cmark.core_extensions_ensure_registered()
    parser = cmark.parser_new(options)
    try:
        for extension in EXTENSIONS:
            cmark.parser_attach_syntax_extension(parser, cmark.find_syntax_extension(extension))
        cmark.parser_feed(parser, guarded)
        root = cmark.parser_finish(parser)
        html = _cmark.lib.cmark_render_html(root, options, cmark.parser_get_syntax_extensions(parser))
        try:
            text: str = _cmark.ffi.string(html).decode()
        finally:
            _call("free", html)
            _call("cmark_node_free", root)
        return text
    finally:
        cmark.parser_free(parser)


def _call(function: str, pointer: object) -> None:
    """A function of the library that has no binding."""
    getattr(_library(), function)(c_void_p(int(_cmark.ffi.cast("intptr_t", pointer))))


@cache
def _library() -> CDLL:
    return CDLL(_cmark.__file__)
