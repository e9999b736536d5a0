"""Calls to the embedded forge's API, as the app, as its installation and as a person."""

from pathlib import Path
from time import time

import httpx
import jwt

from notify.embedded.forge.server import APP_ID, KEY_FILE, EmbeddedForge


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
