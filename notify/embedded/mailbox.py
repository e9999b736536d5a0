"""The folder that caught letters lie in: one ``.eml`` file for each, oldest first by name, the newest kept."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import count
from pathlib import Path

from notify.embedded.letter import Letter, read

KEPT = 1000
SUFFIX = ".eml"
STAMP = "%Y%m%dT%H%M%S.%fZ"


@dataclass(frozen=True, slots=True)
class Caught:
    """
    A letter and the circumstances of its coming.

    Attributes:
        id: Names the letter in addresses; greater for later ones.
        path: The file of it, envelope first.
    """

    id: str
    path: Path
    received_at: datetime
    size: int
    letter: Letter


class Mailbox:
    """The letters in *folder*, which is this object's alone as long as it lives. Not thread-safe."""

    def __init__(self, folder: Path, *, kept: int = KEPT) -> None:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.folder = folder
        self.kept = kept
        self._ids = dict.fromkeys(sorted(path.stem for path in folder.glob(f"*{SUFFIX}")))
        self._numbers = count()
        self._keep(self.kept)

    def add(self, content: bytes, *, sender: str, recipients: Sequence[str]) -> str:
        """
        Keep a letter and return its id. It is on disk, complete, when this returns.

        The envelope goes before it: the sender as RFC 5321 §4.4 says, the recipients as RFC 9228 says.
        """
        identifier = f"{datetime.now(UTC):{STAMP}}-{next(self._numbers):09}"
        envelope = [f"Return-Path: <{sender}>", f"Delivered-To: {', '.join(recipients)}"]
        unfinished = self.folder / f"{identifier}.unfinished"
        unfinished.write_bytes(b"".join(_line(one) for one in envelope) + content)
        unfinished.rename(self._path(identifier))
        self._ids[identifier] = None
        self._keep(self.kept)
        return identifier

    def newest_first(self) -> Iterator[Caught]:
        for identifier in reversed(self._ids):
            if caught := self.find(identifier):
                yield caught

    def find(self, identifier: str) -> Caught | None:
        """The letter with this id; None if there is none."""
        if identifier not in self._ids:
            return None
        try:
            return _caught(self._path(identifier))
        except FileNotFoundError:
            return None

    def clear(self) -> None:
        self._keep(0)

    def __len__(self) -> int:
        return len(self._ids)

    def _keep(self, newest: int) -> None:
        while len(self._ids) > newest:
            oldest = next(iter(self._ids))
            del self._ids[oldest]
            self._path(oldest).unlink(missing_ok=True)

    def _path(self, identifier: str) -> Path:
        return self.folder / f"{identifier}{SUFFIX}"


@lru_cache(maxsize=KEPT)
def _caught(path: Path) -> Caught:
    """Read once, since a letter never changes."""
    content = path.read_bytes()
    stamp, _, _ = path.stem.partition("-")
    return Caught(
        id=path.stem,
        path=path,
        received_at=datetime.strptime(stamp, STAMP).replace(tzinfo=UTC),
        size=len(content),
        letter=read(content),
    )


def _line(text: str) -> bytes:
    """A header line without what could end it early."""
    return "".join(one if one.isprintable() else "?" for one in text).encode("utf-8", "replace") + b"\r\n"
