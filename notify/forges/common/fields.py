"""Reads values out of JSON that a forge made: each is what it should be and can be stored, or it is a misfit."""

from collections.abc import Sequence
from datetime import UTC, datetime
from re import compile as pattern

from notify.domain.grammar import is_web_address

LARGEST_ID = 2**63 - 1
LONGEST_LINE = 1_000
LONGEST_TEXT = 500_000
UNSEEN = pattern(r"[\s\x00-\x1f\x7f-\x9f\u2028\u2029]+")
EPOCH = datetime.fromtimestamp(0, UTC)


class Misfit(Exception):
    """The JSON has not the shape that it should have; its text says where."""


class Fields:
    """One JSON object and where it stands."""

    __slots__ = ("_path", "_values")

    def __init__(self, values: object, path: str = "") -> None:
        if not isinstance(values, dict):
            raise Misfit(f"{path or 'body'}: expected an object")
        self._values, self._path = values, path

    def __contains__(self, name: str) -> bool:
        """Whether it is there and not null."""
        return self._values.get(name) is not None

    def at(self, name: str) -> "Fields":
        return Fields(self._values.get(name), self._where(name))

    def maybe(self, name: str) -> "Fields | None":
        return self.at(name) if name in self else None

    def each(self, name: str) -> Sequence["Fields"]:
        """The objects of an array; none where it is absent or null."""
        found = self._values.get(name)
        if found is not None and not isinstance(found, list):
            raise Misfit(f"{self._where(name)}: expected an array")
        return [Fields(one, f"{self._where(name)}.{at}") for at, one in enumerate(found or ())]

    def text(self, name: str) -> str:
        found = self._values.get(name)
        if not isinstance(found, str):
            raise Misfit(f"{self._where(name)}: expected a text")
        return storable(found)[:LONGEST_TEXT]

    def words(self, name: str) -> str:
        """What people wrote; empty where it is absent or null."""
        return self.text(name) if name in self else ""

    def line(self, name: str) -> str:
        """One line that is not empty."""
        found = one_line(self.text(name))
        if not found:
            raise Misfit(f"{self._where(name)}: expected a text that is not empty")
        return found

    def url(self, name: str) -> str:
        """An address that an email can link to; empty where it is none."""
        found = self._values.get(name)
        return found if isinstance(found, str) and is_web_address(found) else ""

    def number(self, name: str) -> int:
        found = self._values.get(name)
        if not isinstance(found, int) or isinstance(found, bool) or not 0 <= found <= LARGEST_ID:
            raise Misfit(f"{self._where(name)}: expected a number")
        return found

    def maybe_number(self, name: str) -> int | None:
        return self.number(name) if name in self else None

    def flag(self, name: str) -> bool:
        """False where it is absent."""
        return self._values.get(name) is True

    def instant(self, name: str) -> datetime:
        found = self.maybe_instant(name)
        if found is None:
            raise Misfit(f"{self._where(name)}: expected an instant")
        return found

    def maybe_instant(self, name: str) -> datetime | None:
        """In UTC. Gitea states the year 1 for never; GitHub's pushes state some instants as seconds."""
        found = self._values.get(name)
        if found is None:
            return None
        try:
            if isinstance(found, int):
                return datetime.fromtimestamp(found, UTC)
            at = datetime.fromisoformat(found).astimezone(UTC)
        except (TypeError, ValueError, OverflowError, OSError):
            raise Misfit(f"{self._where(name)}: expected an instant") from None
        return at if at > EPOCH else None

    def _where(self, name: str) -> str:
        return f"{self._path}.{name}" if self._path else name


def storable(text: str) -> str:
    """Without what PostgreSQL and UTF-8 have no room for: NUL and lone surrogates."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    return UNSEEN.sub(" ", text).strip()[:LONGEST_LINE].rstrip()
