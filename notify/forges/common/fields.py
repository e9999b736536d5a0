"""Reads typed, storable values from a forge's JSON; any other value raises ``Misfit``."""

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
    """The JSON does not have the expected shape; the text says where."""


class Fields:
    """One JSON object, and its path for messages."""

    __slots__ = ("_path", "_values")

    def __init__(self, values: object, path: str = "") -> None:
        if not isinstance(values, dict):
            raise Misfit(f"{path or 'body'}: expected an object")
        self._values, self._path = values, path

    def __contains__(self, name: str) -> bool:
        """Whether the field is present and not null."""
        return self._values.get(name) is not None

    def at(self, name: str) -> "Fields":
        return Fields(self._values.get(name), self._where(name))

    def maybe(self, name: str) -> "Fields | None":
        return self.at(name) if name in self else None

    def each(self, name: str) -> Sequence["Fields"]:
        """The objects in an array; none if it is absent or null."""
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
        """Text by people; empty if it is absent or null."""
        return self.text(name) if name in self else ""

    def line(self, name: str) -> str:
        """A non-empty line."""
        found = one_line(self.text(name))
        if not found:
            raise Misfit(f"{self._where(name)}: expected a text that is not empty")
        return found

    def url(self, name: str) -> str:
        """A URL that an email can link to; empty if it is not one."""
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
        """A boolean; False if it is absent."""
        return self._values.get(name) is True

    def instant(self, name: str) -> datetime:
        found = self.maybe_instant(name)
        if found is None:
            raise Misfit(f"{self._where(name)}: expected an instant")
        return found

    def maybe_instant(self, name: str) -> datetime | None:
        """An instant in UTC. Gitea uses the year 1 for never; GitHub's pushes state some instants in seconds."""
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
    """The text without NUL and lone surrogates, which PostgreSQL and UTF-8 cannot store."""
    return text.replace("\x00", "\ufffd").encode("utf-8", "replace").decode("utf-8")


def one_line(text: str) -> str:
    return UNSEEN.sub(" ", text).strip()[:LONGEST_LINE].rstrip()
