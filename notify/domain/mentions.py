"""Finds the names behind ``@`` in text, and the known people they refer to."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from unicodedata import category, normalize

MAX_MENTIONS = 50
MAX_NAME_LENGTH = 200
MAX_READINGS = 8

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


def find_mentions(prose: Iterable[str]) -> tuple[Readings, ...]:
    """
    The mentions, each once, in order; at most 50, whether or not such people exist.

    A mention has several readings, the longest first, if a script without spaces between words follows the name:
    ``@bob看一下`` may mean ``bob看一下``, or else ``bob``. All are in NFC.

    Args:
        prose: Runs of text without code, as the Markdown parser returns them.
    """
    found: dict[Readings, None] = {}
    for run in prose:
        for readings in _in_run(normalize("NFC", run)):
            found.setdefault(readings)
            if len(found) == MAX_MENTIONS:
                return tuple(found)
    return tuple(found)


class UsernameIndex:
    """
    Finds people by the names used in mentions.

    Args:
        usernames: Everyone who can be found.
    """

    def __init__(self, usernames: Iterable[str]) -> None:
        exact: Mapping[str, list[str]] = defaultdict(list)
        folded: Mapping[str, list[str]] = defaultdict(list)
        for username in sorted(usernames):
            name = normalize("NFC", username)
            exact[name].append(username)
            folded[name.casefold()].append(username)
        self._exact, self._folded = dict(exact), dict(folded)

    def find(self, readings: Readings) -> str | None:
        """
        The person with exactly this name, else the only one whose name differs in case; None: nobody.

        The first reading that matches anybody decides, even if it matches two people.
        """
        for reading in readings:
            if reading in self._exact:
                return self._exact[reading][0]
            similar = self._folded.get(reading.casefold())
            if similar:
                return similar[0] if len(similar) == 1 else None
        return None


def _in_run(run: str) -> Iterator[Readings]:
    at = run.find("@")
    while at >= 0:
        end = _end(run, at + 1)
        name = run[at + 1 : end].rstrip(INSIDE)
        if name and len(name) <= MAX_NAME_LENGTH and _may_begin(run, at) and _may_end(run, end):
            yield _readings(name)
        at = run.find("@", end)


def _end(run: str, at: int) -> int:
    if at < len(run) and not _is_word(run[at]):
        return at
    while at < len(run) and (_is_word(run[at]) or run[at] in INSIDE or category(run[at])[0] == "M"):
        at += 1
    return at


def _may_begin(run: str, at: int) -> bool:
    """Whether the ``@`` is not inside an address, a path, a package name or another network's user name."""
    before = run[at - 1] if at else " "
    return before not in BEFORE_NO_NAME and (not _is_word(before) or bool(_script(before)))


def _may_end(run: str, end: int) -> bool:
    return not (run[end : end + 1] and run[end] in AFTER_NO_NAME and _is_word(run[end + 1 : end + 2]))


def _is_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def _readings(name: str) -> Readings:
    """The whole name, and its prefixes that end where a script without spaces begins."""
    begins = [at for at in range(1, len(name)) if (script := _script(name[at])) and script != _script(name[at - 1])]
    shorter = [name[:at].rstrip(INSIDE) for at in begins[: MAX_READINGS - 1]]
    return tuple(dict.fromkeys([name, *reversed(shorter)]))


def _script(character: str) -> str:
    """The character's script, if that has no spaces between words; else empty."""
    code = ord(character)
    return next((script for script, first, last in WITHOUT_SPACES if first <= code <= last), "")
