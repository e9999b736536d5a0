"""Deliveries and answers of forges, made of the objects in ``payloads/``."""

import json
from copy import deepcopy
from functools import cache
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from notify.domain.forge_settings import ForgeKind, ForgeSettings, Secret

GITHUB: dict[str, Any] = json.loads((Path(__file__).parent / "payloads/github.json").read_text(encoding="utf-8"))
GITEA: dict[str, Any] = json.loads((Path(__file__).parent / "payloads/gitea.json").read_text(encoding="utf-8"))


@cache
def app_key() -> Secret:
    """A private key; to make one takes a while."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return Secret("env:PEM", key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode())


def changed(given: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """A copy; ``head__repo=None`` sets the value within."""
    copy = deepcopy(given)
    for path, value in changes.items():
        *outer, last = path.split("__")
        inside = copy
        for name in outer:
            inside = inside[name]
        inside[last] = value
    return copy


def settings(kind: ForgeKind = ForgeKind.GITHUB, *, api_url: str = "http://127.0.0.1:1", **more: Any) -> ForgeSettings:
    stated: dict[str, Any] = {
        "name": kind.value,
        "kind": kind,
        "api_url": api_url,
        "web_url": "https://forge.example",
        "webhook_secrets": (Secret("env:HOOK", "0123456789abcdef"),),
        "token": Secret("env:TOKEN", "a-fixed-token"),
    }
    return ForgeSettings(**stated | more)
