"""
Signatures of webhook calls, by Standard Webhooks.

Decided: an endpoint's secret is derived from a key of ``NOTIFY_SECRET_KEYS`` and a random salt. The database holds the
    salt, so that it can sign for nobody who does not have the key as well.
Rejected: secrets in a file beside the forges' (no endpoint can be added while notify runs), or encrypted in the
    database (more code, and the key is the same).
"""

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from hmac import digest

from notify.domain.errors import NotifyError

PREFIX = "whsec_"
KEY_ID_LENGTH = 8
_CONTEXT = b"notify webhook secret\0"


class KeyUnknown(NotifyError):
    """The key that an endpoint's secret was derived from is no longer in NOTIFY_SECRET_KEYS."""


@dataclass(frozen=True, slots=True)
class StoredSecret:
    """What the database holds of a secret: the salt, and which key it was derived from."""

    key_id: str
    salt: str

    @classmethod
    def parse(cls, stored: str) -> "StoredSecret":
        key_id, _, salt = stored.partition(".")
        return cls(key_id, salt)

    def __str__(self) -> str:
        return f"{self.key_id}.{self.salt}"


def new_secret(key: str, *, salt: str) -> StoredSecret:
    """A secret derived from this key; *salt* is random."""
    return StoredSecret(key_id(key), salt)


def key_id(key: str) -> str:
    """Names a key without telling it."""
    return sha256(_CONTEXT + key.encode()).hexdigest()[:KEY_ID_LENGTH]


def is_derivable(stored: StoredSecret, keys: Sequence[str]) -> bool:
    """Whether one of *keys* is the one that it was derived from."""
    return any(key_id(key) == stored.key_id for key in keys)


def derive(stored: StoredSecret, keys: Sequence[str]) -> bytes:
    """
    The secret itself.

    Raises:
        KeyUnknown: None of *keys* is the one that it was derived from.
    """
    for key in keys:
        if key_id(key) == stored.key_id:
            return digest(key.encode(), _CONTEXT + stored.salt.encode(), "sha256")
    raise KeyUnknown(key=stored.key_id)


def shown(secret: bytes) -> str:
    """The secret as receivers write it down: ``whsec_…``."""
    return PREFIX + b64encode(secret).decode()


def sign(secrets: Sequence[bytes], *, message_id: str, timestamp: int, body: bytes) -> str:
    """
    The value of ``webhook-signature``: a signature for each secret, separated by spaces.

    Source: Standard Webhooks, "Signature scheme", symmetric.
    """
    signed = f"{message_id}.{timestamp}.".encode() + body
    return " ".join("v1," + b64encode(digest(one, signed, "sha256")).decode() for one in secrets)
