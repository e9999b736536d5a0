"""Files for their owner only, among them the secrets of an embedded stack."""

import json
from pathlib import Path
from secrets import token_urlsafe

KEYS_FILE = "secrets.json"
BYTES = 32


def write_private(file: Path, text: str) -> None:
    """Write it, whole or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.touch(mode=0o600)
    unfinished.write_text(text, encoding="utf-8")
    unfinished.rename(file)


def keys(data_dir: Path) -> dict[str, str]:
    """What signs links and people's tokens: made at the first call. Only for whoever holds the folder."""
    file = data_dir / KEYS_FILE
    if not file.exists():
        write_private(file, json.dumps({name: token_urlsafe(BYTES) for name in ("secret_keys", "jwt_secret")}))
    made: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    return made
