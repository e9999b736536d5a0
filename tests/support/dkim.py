"""
Two independent verifiers of DKIM signatures: one written from RFC 6376 §3, and dkimpy.

dkimpy leaves Ed25519 to PyNaCl. Without it, OpenSSL verifies the signature; canonical form, hashes and
records remain dkimpy's.
"""

import re
from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from hashlib import sha256
from types import SimpleNamespace

import dkim
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

FIELD = re.compile(rb"([!-9;-~]+):((?:.*\r\n)(?:[ \t].*\r\n)*)")
WHITE = re.compile(rb"[ \t]+")
SIGNATURE = b"dkim-signature"


def tags(content: bytes, *, number: int = 0) -> dict[str, str]:
    """The tags of a signature, without white space."""
    value = _signatures(content)[number][1]
    pairs = re.sub(r"\s", "", value.decode()).split(";")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def holds(content: bytes, key: RSAPublicKey | Ed25519PublicKey, *, number: int = 0) -> bool:
    """Whether this signature was made with this key and the email is unchanged."""
    fields, body = _fields(content)
    said, kind = tags(content, number=number), "rsa" if isinstance(key, RSAPublicKey) else "ed25519"
    assert (said["v"], said["a"], said["c"]) == ("1", f"{kind}-sha256", "relaxed/relaxed")
    if b64encode(sha256(_relaxed_body(body)).digest()).decode() != said["bh"]:
        return False
    signature, signed = b64decode(said["b"]), _signed(fields, said["h"].split(":"), _signatures(content)[number])
    try:
        if isinstance(key, RSAPublicKey):
            key.verify(signature, signed, PKCS1v15(), SHA256())
        else:
            key.verify(signature, sha256(signed).digest())
    except InvalidSignature:
        return False
    return True


def second_opinions(content: bytes, records: Mapping[str, str]) -> Sequence[bool]:
    """
    Whether dkimpy accepts each signature.

    Args:
        records: What is published in DNS, by name.
    """

    def published(name: bytes, **_: object) -> bytes | None:
        record = records.get(name.decode().removesuffix("."))
        return None if record is None else record.encode()

    found = []
    for number in range(len(_signatures(content))):
        try:
            found.append(bool(dkim.DKIM(content).verify(number, dnsfunc=published)))
        except dkim.DKIMException:
            found.append(False)
    return found


def _fields(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    head, _, body = content.partition(b"\r\n\r\n")
    return FIELD.findall(head + b"\r\n"), body


def _signatures(content: bytes) -> list[tuple[bytes, bytes]]:
    return [one for one in _fields(content)[0] if one[0].lower() == SIGNATURE]


def _signed(fields: list[tuple[bytes, bytes]], names: list[str], itself: tuple[bytes, bytes]) -> bytes:
    """The named fields, the last of each name first, then the signature without its own value (§3.7)."""
    left = [(name, value) for name, value in reversed(fields)]
    chosen = []
    for wanted in names:
        for one in left:
            if one[0].lower().decode() == wanted.lower():
                chosen.append(one)
                left.remove(one)
                break
    name, value = itself
    without = re.sub(rb"(\bb=)[^;]*", rb"\1", value.replace(b"\r\n", b""))
    return b"".join(_relaxed(*one) for one in chosen) + _relaxed(name, without).removesuffix(b"\r\n")


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name.lower().strip() + b":" + WHITE.sub(b" ", value.replace(b"\r\n", b"")).strip() + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    lines = [WHITE.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


class _VerifyKey:
    """What dkimpy uses of ``nacl.signing.VerifyKey``, by OpenSSL."""

    def __init__(self, key: bytes, encoder: object) -> None:  # noqa: ARG002 - dkimpy always names Base64
        self._key = Ed25519PublicKey.from_public_bytes(b64decode(key))

    def verify(self, said: bytes, signature: bytes) -> None:
        self._key.verify(signature, said)


if not hasattr(dkim, "nacl"):
    dkim.nacl = SimpleNamespace(
        signing=SimpleNamespace(VerifyKey=_VerifyKey),
        encoding=SimpleNamespace(Base64Encoder=None),
        exceptions=SimpleNamespace(ValueError=ValueError, BadSignatureError=InvalidSignature),
    )
