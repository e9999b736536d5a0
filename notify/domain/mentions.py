"""Whom words mention: the names behind an ``@``, and which of the people who are known each of them means."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from unicodedata import category, normalize

MOST = 50
LONGEST = 200
MOST_READINGS = 8

INSIDE = ".+-\u200c\u200d"
BEFORE_NO_NAME = "_.+-@/\\"
AFTER_NO_NAME = "@/"
WITHOUT_SPACES: Sequence[tuple[str, int, int]] = (
    ("thai", 0x0E00, 0x0E7F),
    ("lao", 0x0E80, 0x0EFF),
    ("burmese", 0x1000, 0x109F),
    ("hangul", 0x1100, 0x11FF),
    ("khmer", 0x1780, 0x17FF),
    ("han", 0x2E80, 0x303F),
    ("hiragana", 0x3040, 0x309F),
    ("katakana", 0x30A0, 0x30FF),
    ("hangul", 0x3130, 0x318F),
    ("han", 0x3400, 0x9FFF),
    ("hangul", 0xA960, 0xD7FF),
    ("han", 0xF900, 0xFAFF),
    ("katakana", 0xFF66, 0xFF9F),
    ("han", 0x20000, 0x3FFFF),
)

Readings = tuple[str, ...]


def mentioned(prose: Iterable[str]) -> tuple[Readings, ...]:
    """
    What is mentioned, each once, in its order; at most 50, whether or not anybody is called so.

    A mention has several readings, the longest first, where a script that puts no spaces between
    words follows the name: ``@bob看一下`` may mean ``bob看一下``, and else ``bob``. All are in NFC.

    Args:
        prose: Runs of text without code, as the parser of Markdown gives them.
    """
    found: dict[Readings, None] = {}
    for run in prose:
        for readings in _in_run(normalize("NFC", run)):
            found.setdefault(readings)
            if len(found) == MOST:
                return tuple(found)
    return tuple(found)


class Names:
    """
    People by their names, as they are called in mentions.

    Args:
        usernames: Everyone who may be meant.
    """

    def __init__(self, usernames: Iterable[str]) -> None:
        exact: Mapping[str, list[str]] = defaultdict(list)
        folded: Mapping[str, list[str]] = defaultdict(list)
        for username in sorted(usernames):
            name = normalize("NFC", username)
            exact[name].append(username)
            folded[name.casefold()].append(username)
        self._exact, self._folded = dict(exact), dict(folded)

    def meant(self, readings: Readings) -> str | None:
        """
        Who is meant: whose name it is to the letter, else who alone has it in another case; None if nobody.

        The first reading that anybody has decides, also where it leaves open which of two people is meant.
        """
        for reading in readings:
            if reading in self._exact:
                return self._exact[reading][0]
            alike = self._folded.get(reading.casefold())
            if alike:
                return alike[0] if len(alike) == 1 else None
        return None


def _in_run(run: str) -> Iterator[Readings]:
    at = run.find("@")
    while at >= 0:
        end = _end(run, at + 1)
        name = run[at + 1 : end].rstrip(INSIDE)
        if name and len(name) <= LONGEST and _may_begin(run, at) and _may_end(run, end):
            yield _readings(name)
        at = run.find("@", end)


def _end(run: str, at: int) -> int:
    if at < len(run) and not _is_word(run[at]):
        return at
    while at < len(run) and (_is_word(run[at]) or run[at] in INSIDE or category(run[at])[0] == "M"):
        at += 1
    return at


def _may_begin(run: str, at: int) -> bool:
    """Whether the ``@`` is not a part of an address, a path, a package or another network's name."""
    before = run[at - 1] if at else " "
    return before not in BEFORE_NO_NAME and (not _is_word(before) or bool(_script(before)))


def _may_end(run: str, end: int) -> bool:
    return not (run[end : end + 1] and run[end] in AFTER_NO_NAME and _is_word(run[end + 1 : end + 2]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _readings(name: str) -> Readings:
    """The whole, and what stands before each place where a script without spaces begins."""
    begins = [at for at in range(1, len(name)) if (script := _script(name[at])) and script != _script(name[at - 1])]
    shorter = [name[:at].rstrip(INSIDE) for at in begins[: MOST_READINGS - 1]]
    return tuple(dict.fromkeys([name, *reversed(shorter)]))


def _script(character: str) -> str:
    """The script without spaces that a character belongs to; empty for all others."""
    code = ord(character)
    return next((script for script, first, last in WITHOUT_SPACES if first <= code <= last), "")
