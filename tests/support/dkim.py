"""A verifier of DKIM signatures that shares nothing with what makes them: RFC 6376 §3 and ``cryptography``."""

import re
from base64 import b64decode, b64encode
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256

FIELD = re.compile(rb"([!-9;-~]+):((?:.*\r\n)(?:[ \t].*\r\n)*)")
WHITE = re.compile(rb"[ \t]+")


def tags(content: bytes) -> dict[str, str]:
    """The tags of the first signature, without white space."""
    (value,) = [value for name, value in _fields(content)[0] if name.lower() == b"dkim-signature"][:1]
    pairs = re.sub(r"\s", "", value.decode()).split(";")
    return dict(pair.split("=", 1) for pair in pairs if pair)


def holds(content: bytes, key: RSAPublicKey) -> bool:
    """Whether the first signature is that of this key, and the letter is as it was signed."""
    fields, body = _fields(content)
    said = tags(content)
    assert (said["v"], said["a"], said["c"]) == ("1", "rsa-sha256", "relaxed/relaxed")
    if b64encode(sha256(_relaxed_body(body)).digest()).decode() != said["bh"]:
        return False
    try:
        key.verify(b64decode(said["b"]), _signed(fields, said["h"].split(":")), PKCS1v15(), SHA256())
    except InvalidSignature:
        return False
    return True


def _fields(content: bytes) -> tuple[list[tuple[bytes, bytes]], bytes]:
    head, _, body = content.partition(b"\r\n\r\n")
    return FIELD.findall(head + b"\r\n"), body


def _signed(fields: list[tuple[bytes, bytes]], names: list[str]) -> bytes:
    """The fields that are named, the last of each name first, then the signature without itself (§3.7)."""
    left = [(name, value) for name, value in reversed(fields)]
    chosen = []
    for wanted in names:
        for one in left:
            if one[0].lower().decode() == wanted.lower():
                chosen.append(one)
                left.remove(one)
                break
    ((name, value),) = [one for one in fields if one[0].lower() == b"dkim-signature"][:1]
    itself = re.sub(rb"(\bb=)[^;]*", rb"\1", value.replace(b"\r\n", b""))
    return b"".join(_relaxed(*one) for one in chosen) + _relaxed(name, itself).removesuffix(b"\r\n")


def _relaxed(name: bytes, value: bytes) -> bytes:
    return name.lower().strip() + b":" + WHITE.sub(b" ", value.replace(b"\r\n", b"")).strip() + b"\r\n"


def _relaxed_body(body: bytes) -> bytes:
    lines = [WHITE.sub(b" ", line).rstrip(b" ") for line in body.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)
