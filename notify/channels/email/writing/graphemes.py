"""Where what a reader takes for one character ends, so that no text is cut within one."""

from unicodedata import category, combining

LONGEST = 64
MARKS = frozenset({"Mn", "Mc", "Me"})
ZERO_WIDTH_JOINERS = "\u200c\u200d"
VIRAMA = 9
OTHER_EXTENDERS = "\u0e33\u0eb3\uff9e\uff9f"
SKIN_TONES = range(0x1F3FB, 0x1F400)
TAGS = range(0xE0020, 0xE0080)
REGIONAL_INDICATORS = range(0x1F1E6, 0x1F200)
HANGUL_LEADING = (*range(0x1100, 0x1160), *range(0xA960, 0xA97D))
HANGUL_FOLLOWING = (*range(0x1160, 0x1200), *range(0xD7B0, 0xD7FC))
HANGUL_SYLLABLES = range(0xAC00, 0xD7A4)


def truncate(text: str, limit: int) -> str:
    """
    At limit so many code points from the beginning, ended where a character ends.

    What claims to be longer than 64 code points is cut all the same.

    Source: UAX #29, extended grapheme clusters, without prepended marks. Whatever follows a joiner, and a
    consonant after a virama in any script, stays with it: a cut comes a little sooner, and needs no tables.
    """
    for end in range(min(limit, len(text)), max(0, limit - LONGEST), -1):
        if end == len(text) or not _joined(text, end):
            return text[:end]
    return text[:limit]


def _joined(text: str, at: int) -> bool:
    """Whether the code points before and at this index are one character."""
    before, after = text[at - 1], text[at]
    code = ord(after)
    return (
        category(after) in MARKS
        or after in ZERO_WIDTH_JOINERS
        or before == ZERO_WIDTH_JOINERS[1]
        or (combining(before) == VIRAMA and category(after) == "Lo")
        or after in OTHER_EXTENDERS
        or code in SKIN_TONES
        or code in TAGS
        or code in HANGUL_FOLLOWING
        or (ord(before) in HANGUL_LEADING and (code in HANGUL_LEADING or code in HANGUL_SYLLABLES))
        or (code in REGIONAL_INDICATORS and _indicators_before(text, at) % 2 == 1)
    )


def _indicators_before(text: str, at: int) -> int:
    """How many regional indicators in a row end before this index; two are a flag."""
    start = at
    while start and ord(text[start - 1]) in REGIONAL_INDICATORS:
        start -= 1
    return at - start
