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
        self._numbers = count()
        self._keep(kept)

    def add(self, content: bytes, *, sender: str, recipients: Sequence[str]) -> str:
        """
        Keep a letter and return its id. It is on disk, complete, when this returns.

        The envelope goes before it: the sender as RFC 5321 §4.4 says, the recipients as RFC 9228 says.
        """
        identifier = f"{datetime.now(UTC):{STAMP}}-{next(self._numbers):09}"
        envelope = [f"Return-Path: <{sender}>", f"Delivered-To: {', '.join(recipients)}"]
        unfinished = self.folder / f"{identifier}.unfinished"
        unfinished.write_bytes(b"".join(_line(one) for one in envelope) + content)
        unfinished.rename(self.folder / f"{identifier}{SUFFIX}")
        self._keep(self.kept)
        return identifier

    def newest_first(self) -> Iterator[Caught]:
        return map(_caught, self._files())

    def find(self, identifier: str) -> Caught | None:
        return next((_caught(file) for file in self._files() if file.stem == identifier), None)

    def clear(self) -> None:
        self._keep(0)

    def _keep(self, newest: int) -> None:
        for file in self._files()[newest:]:
            file.unlink()

    def _files(self) -> Sequence[Path]:
        """The newest first."""
        return sorted(self.folder.glob(f"*{SUFFIX}"), reverse=True)


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
