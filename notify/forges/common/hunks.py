"""Finds the lines that a comment is about in the piece of a diff that the forge shows with it."""

from re import compile as pattern

HEADER = pattern(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")
MOST_LINES = 20
LONGEST_CODE = 10_000
LARGEST_LINE = 2**31 - 1


def code_of(hunk: str, *, lines: int = 1) -> str | None:
    """
    The commented lines without the diff's signs; None if the hunk has none.

    Args:
        hunk: Ends with the commented line.
        lines: How many lines, counted back from there.
    """
    shown = [line for line in hunk.splitlines() if line[:1] in {" ", "+", "-"}]
    if not shown:
        return None
    sign = "+" if shown[-1][0] == "-" else "-"
    side = [line[1:] for line in shown if line[0] != sign]
    return "\n".join(side[-max(1, min(lines, MOST_LINES)) :])[:LONGEST_CODE]


def line_of(hunk: str) -> int | None:
    """The last line's number in the new file, or in the old one if it was removed."""
    first, *rest = hunk.splitlines() or [""]
    header = HEADER.match(first)
    shown = [line[0] for line in rest if line[:1] in {" ", "+", "-"}]
    if header is None or not shown:
        return None
    start, other = (int(header[1]), "+") if shown[-1] == "-" else (int(header[2]), "-")
    number = start + sum(sign != other for sign in shown) - 1
    return number if 1 <= number <= LARGEST_LINE else None
