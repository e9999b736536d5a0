"""Whom a text mentions: ``@username`` in what people wrote as Markdown, outside of code and addresses."""

from collections.abc import Iterator
from re import compile as pattern

MOST = 50

# What stands before or after makes it a part of an address, a path, a package or another network's name.
MENTION = pattern(r"(?<![\w.+\-@/\\])@((?>\w(?:[\w.+-]{0,198}\w)?))(?!\w|[@/]\w)")
LIST_ITEM = pattern(r" {0,3}(?:[-*+]|\d{1,9}[.)])(?:\s|$)")
QUOTE = pattern(r" {0,3}> ?")
FENCE = pattern(r" *(?:(`{3,})[^`]*|(~{3,}).*)$")
CODE_INDENT = 4
CODE_INDENT_IN_A_LIST = 8
TICKS = pattern(r"`+")


def mentioned(markdown: str) -> tuple[str, ...]:
    """
    The names that are mentioned, each once, in their order; at most 50, whether or not anybody is called so.

    Takes time in proportion to the text, whatever it holds. Fences, indented blocks and spans of
    code are told apart as CommonMark does for texts that people write; where it takes a parser
    (code in a list in a list), a name may be found in code.
    """
    if "@" not in markdown:
        return ()
    found: dict[str, None] = {}
    for prose in _prose(markdown):
        for match in MENTION.finditer(prose):
            found.setdefault(match[1])
            if len(found) == MOST:
                return tuple(found)
    return tuple(found)


def _prose(markdown: str) -> Iterator[str]:
    """Paragraph after paragraph, without blocks and spans of code."""
    paragraph: list[str] = []
    for line in _outside_blocks(markdown):
        if line:
            paragraph.append(line)
        else:
            yield _outside_spans("\n".join(paragraph))
            paragraph = []
    yield _outside_spans("\n".join(paragraph))


def _outside_blocks(markdown: str) -> Iterator[str]:
    """The lines that are not code, without the marks of quoting; an empty one wherever a paragraph ends."""
    fence, depth, in_list, after_gap = "", 0, False, True
    for raw in markdown.splitlines():
        if fence:
            line, quotes = _unquoted(raw, at_most=depth)
            if quotes == depth:
                fence = "" if _closes(line, fence) else fence
                continue
        line, depth = _unquoted(raw)
        fence = _fence(line)
        if fence or not line:
            after_gap = True
            yield ""
        elif not after_gap or _indent(line) < (CODE_INDENT_IN_A_LIST if in_list else CODE_INDENT):
            in_list = bool(LIST_ITEM.match(line)) or (in_list and not (after_gap and _indent(line) == 0))
            after_gap = False
            yield line


def _unquoted(line: str, *, at_most: int = MOST) -> tuple[str, int]:
    """The line without its marks of quoting, and how many there were."""
    quotes, at = 0, 0
    while quotes < at_most and (mark := QUOTE.match(line, at)):
        quotes, at = quotes + 1, mark.end()
    return line[at:].rstrip(), quotes


def _fence(line: str) -> str:
    """The mark that opens a block of code; empty if the line opens none."""
    mark = FENCE.match(line)
    return (mark[1] or mark[2]) if mark else ""


def _closes(line: str, fence: str) -> bool:
    mark = line.strip()
    return mark.startswith(fence) and not mark.strip(fence[0])


def _outside_spans(paragraph: str) -> str:
    """The paragraph with a space in place of each span of code. A run of ticks ends at the next of its length."""
    runs = [(match.start(), match.end()) for match in TICKS.finditer(paragraph)]
    following = _next_of_length([end - start for start, end in runs])
    kept, at, number = [], 0, 0
    while number < len(runs):
        closing = following[number]
        if closing is None:
            number += 1
            continue
        kept.append(paragraph[at : runs[number][0]])
        at, number = runs[closing][1], closing + 1
    return " ".join([*kept, paragraph[at:]])


def _next_of_length(lengths: list[int]) -> list[int | None]:
    """For each run the number of the next one that is as long."""
    upcoming: dict[int, int] = {}
    following: list[int | None] = [None] * len(lengths)
    for number in range(len(lengths) - 1, -1, -1):
        following[number] = upcoming.get(lengths[number])
        upcoming[lengths[number]] = number
    return following


def _indent(line: str) -> int:
    return len(line.expandtabs(4)) - len(line.expandtabs(4).lstrip(" "))
