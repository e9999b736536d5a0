"""The secrets of an embedded stack: made once, kept in its data folder, readable by their owner only."""

import json
import os
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from secrets import token_urlsafe
from tempfile import mkstemp

FILE = "secrets.json"
BYTES = 32


@dataclass(frozen=True, slots=True)
class Keys:
    """What signs the links in letters, and people's tokens."""

    secret_keys: str
    jwt_secret: str


def keys(data_dir: Path) -> Keys:
    """The keys of this folder, made at the first call. Two first calls at once get the same."""
    file = data_dir / FILE
    if not file.exists():
        _make(file)
    return Keys(**json.loads(file.read_text()))


def _make(file: Path) -> None:
    """Write them to a file that mkstemp makes for its owner only, then give it its name."""
    made = Keys(secret_keys=token_urlsafe(BYTES), jwt_secret=token_urlsafe(BYTES))
    descriptor, unfinished = mkstemp(dir=file.parent)
    with os.fdopen(descriptor, "w") as opened:
        json.dump(asdict(made), opened)
    # A link, unlike a rename, fails when another process was first.
    with suppress(FileExistsError):
        os.link(unfinished, file)
    Path(unfinished).unlink()
