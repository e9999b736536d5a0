"""Checks that a delivery comes from the forge: its signature over the raw body, with each secret of the forge."""

from collections.abc import Mapping, Sequence
from enum import Enum, auto
from hashlib import sha256
from hmac import compare_digest, digest
from re import compile as pattern
from types import MappingProxyType

from notify.domain.forge_settings import ForgeKind, Secret

# Hexadecimal in either case: RFC 4648 §8 reads both alike, and proxies do not rewrite it.
HEX = pattern(r"[0-9a-fA-F]{64}")
GITHUB_HEADER, GITHUB_PREFIX = "x-hub-signature-256", "sha256="
GITEA_HEADER = "x-gitea-signature"
# Each header and the prefix of its digest; the first header present counts.
# Sources: GitHub, "Validating webhook deliveries"; Gitea, services/webhook/deliver.go.
WHERE: Mapping[ForgeKind, Sequence[tuple[str, str]]] = MappingProxyType(
    {
        ForgeKind.GITHUB: ((GITHUB_HEADER, GITHUB_PREFIX),),
        ForgeKind.GITEA: ((GITEA_HEADER, ""), (GITHUB_HEADER, GITHUB_PREFIX)),
    }
)


class Signature(Enum):
    """The result of checking a signature; only valid deliveries are stored."""

    VALID = auto()
    WRONG = auto()
    MALFORMED = auto()
    MISSING = auto()


def verify(kind: ForgeKind, headers: Mapping[str, str], body: bytes, secrets: Sequence[Secret]) -> Signature:
    """
    Check the signature of a delivery.

    SHA-1 does not count. Without a secret, or with an empty one, nothing is valid.

    Args:
        headers: Names are in lower case.
        body: Exactly as it was received.
    """
    stated = [(headers[name], prefix) for name, prefix in WHERE[kind] if name in headers]
    if not stated:
        return Signature.MISSING
    value, prefix = stated[0]
    given = value.removeprefix(prefix)
    if not (value.startswith(prefix) and HEX.fullmatch(given)):
        return Signature.MALFORMED
    claimed = bytes.fromhex(given)
    expected = [digest(secret.value.encode(), body, sha256) for secret in secrets if secret.value]
    # Every secret is tried even after a match, so that the time reveals nothing.
    fits = [compare_digest(claimed, one) for one in expected]
    return Signature.VALID if any(fits) else Signature.WRONG
