"""
Parses GitHub's Markdown: into HTML for display, and into prose for finding mentions.

*Decided*: cmark-gfm, whose time is linear in the text, whatever it contains. *Rejected*: markdown-it-py, which is a
hundred times slower and drops what is nested deeper than 20; pyromark, which has no bare autolinks; comrak, which
crashes the process on a comment of nothing but brackets or quotation marks.

*Decided*: the tree and the HTML are freed here, by library functions that cmarkgfm does not bind. It leaks both (its
issue #53), which was 27 kB per comment.

*Decided*: the author's HTML is not interpreted. Comments are removed; all other tags are text like ``List<String>``. To
do so, a control character, which comments cannot contain, is put after every ``<`` before parsing, and then removed.
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
    """The text as HTML, without the author's own tags; not sanitised: links may lead anywhere."""
    guarded = LESS_THAN.sub(f"<{GUARD}", markdown.replace(GUARD, ""))
    return _parsed(guarded, Options.CMARK_OPT_HARDBREAKS).replace(GUARD, "").replace(GUARD_IN_A_URL, "")


def without_comments(markdown: str) -> str:
    """
    The text without HTML comments, except those in code.

    Each is numbered before parsing; the result shows which ones the parser treated as comments.
    """
    if OPENING not in markdown:
        return markdown
    markdown = markdown.replace(GUARD, "")
    html = _parsed(_numbered(markdown), Options.CMARK_OPT_UNSAFE)
    comments = {int(number) for number in RAW_COMMENT.findall(html)}
    return "".join(_without(markdown, comments))


def prose(markdown: str) -> Iterator[str]:
    """The runs of text outside code, comments and bare links, without escaped ``@``."""
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
    """Whether a link's text is its own URL."""
    return href in {text, f"http://{text}", f"mailto:{text}"}


def _numbered(markdown: str) -> str:
    numbers = iter(range(len(markdown)))

    def guarded(found: Match[str]) -> str:
        comment = COMMENT.match(markdown, found.start())
        return f"<{GUARD}" if comment is None else f"<!--{GUARD}{next(numbers)}{GUARD}"

    return COMMENT_OR_LESS_THAN.sub(guarded, markdown)


def _without(markdown: str, comments: set[int]) -> Iterator[str]:
    """The text without the comments with these numbers."""
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
    """Call a library function that cmarkgfm does not bind."""
    getattr(_library(), function)(c_void_p(int(_cmark.ffi.cast("intptr_t", pointer))))


@cache
def _library() -> CDLL:
    return CDLL(_cmark.__file__)
