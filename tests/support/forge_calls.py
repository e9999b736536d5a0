"""An embedded forge with a key that one process makes once, and calls to its API as app, installation and person."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime
from functools import cache
from pathlib import Path
from time import time

import httpx
import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify.embedded.forge.server import APP_ID, KEY_FILE, EmbeddedForge, forging


@contextmanager
def running_forge(
    folder: Path,
    *,
    webhook_url: str | None = None,
    now: Callable[[], datetime] | None = None,
    builds: Path | None = None,
) -> Iterator[EmbeddedForge]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / KEY_FILE).write_bytes(_key())
    with forging(folder, webhook_url=webhook_url, now=now, builds=builds) as forge:
        yield forge


@cache
def _key() -> bytes:
    key = generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def client(forge: EmbeddedForge | str, token: str) -> httpx.Client:
    """
    Args:
        forge: Or its URL.
    """
    url = forge if isinstance(forge, str) else forge.url
    return httpx.Client(base_url=f"{url}/api/v3", headers={"Authorization": f"Bearer {token}"})


def app_token(folder: Path, *, app_id: int = APP_ID) -> str:
    claims = {"iat": int(time()) - 60, "exp": int(time()) + 540, "iss": str(app_id)}
    return jwt.encode(claims, (folder / KEY_FILE).read_text(), algorithm="RS256")


def installation_token(forge: EmbeddedForge, folder: Path) -> str:
    """
    A token of the one installation.

    Args:
        folder: The forge's.
    """
    with client(forge, app_token(folder)) as app:
        (installation,) = app.get("/app/installations").raise_for_status().json()
        token: str = app.post(f"/app/installations/{installation['id']}/access_tokens").json()["token"]
        return token
