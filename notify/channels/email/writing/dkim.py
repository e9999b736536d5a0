"""
DKIM: the sender's domain vouches for each email (RFC 6376), with RSA keys, Ed25519 keys (RFC 8463) or one of each.

*Decided*: what is signed is what a reader sees, what threads, and what unsubscribes (RFC 8058 §4), but not Message-ID
and Date: Amazon SES replaces both and asks that they be left out. A name that is twice in ``SIGNED``, or that no
email has, cannot get another field that a mailbox would show.
*Rejected*: dkimpy, at 7 ms an email for RSA with 2,048 bits, because it parses the key and the email anew each time. It
is the oracle of the tests.
"""

from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from re import compile as pattern
from textwrap import wrap
from time import time

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey, RSAPublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_private_key,
)

from notify.domain.errors import InvalidSettings

SIGNED = (
    b"from", b"from", b"to", b"to", b"subject", b"subject", b"reply-to", b"cc", b"in-reply-to", b"in-reply-to",
    b"references", b"references", b"list-id", b"list-id", b"list-unsubscribe", b"list-unsubscribe",
    b"list-unsubscribe-post", b"list-unsubscribe-post", b"auto-submitted", b"mime-version", b"content-type",
    b"content-type",
)  # fmt: skip
# RFC 8301 §3.2: signers use at least 1,024 bits, and should use 2,048.
FEWEST_BITS = 1024
ENOUGH_BITS = 2048
EXPECTED = f"expected an RSA key of at least {FEWEST_BITS} bits or an Ed25519 key, as PEM without a password"
BASE64_LINE = 72
NAMES_LINE = 80

SPACES = pattern(rb"[ \t]+")
FOLD = pattern(rb"\r\n(?=[ \t])")


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A private key; its public half is published at ``selector._domainkey`` of the domain that signs."""

    selector: str
    private: RSAPrivateKey | Ed25519PrivateKey

    @property
    def kind(self) -> str:
        """Tag k= of the published record."""
        return "rsa" if isinstance(self.private, RSAPrivateKey) else "ed25519"

    @property
    def bits(self) -> int | None:
        """How long an RSA key is; None: all Ed25519 keys are equally long."""
        return self.private.key_size if isinstance(self.private, RSAPrivateKey) else None

    @property
    def record(self) -> str:
        """
        The DNS record to publish.

        Source: RFC 6376 §3.6.1 with erratum 3017 (RSA), RFC 8463 §4.2 (Ed25519).
        """
        return f"v=DKIM1; k={self.kind}; p={b64encode(self._public).decode('ascii')}"

    def is_half_of(self, published: str) -> bool:
        """Whether *published*, tag p= of a record, is the other half."""
        try:
            other = b64decode("".join(published.split()), validate=True)
            return other == self._public if self.bits is None else _rsa_numbers(other) == _rsa_numbers(self._public)
        except (ValueError, TypeError, UnsupportedAlgorithm):
            return False

    def sign(self, signed: bytes) -> bytes:
        if isinstance(self.private, RSAPrivateKey):
            return self.private.sign(signed, PKCS1v15(), SHA256())
        return self.private.sign(sha256(signed).digest())  # RFC 8463 §3: of the hash, not of the text

    @property
    def _public(self) -> bytes:
        if isinstance(self.private, RSAPrivateKey):
            return self.private.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return self.private.public_key().public_bytes_raw()


class Signer:
    """
    Signs emails, with each key once.

    Args:
        domain: Who vouches, in ASCII; receivers look for the keys at ``selector._domainkey.domain``.
        keys: At least one.
        now: Seconds since 1970, for tag t=.
    """

    def __init__(self, *, domain: str, keys: Sequence[Key], now: Callable[[], float] = time) -> None:
        self.domain = domain
        self.keys = tuple(keys)
        self._now = now
        self._fields = [
            (key, field, _relaxed_fields(field)[0][1].removesuffix(b"\r\n"))
            for key, field in ((key, _field(domain, key)) for key in self.keys)
        ]

    def __call__(self, content: bytes) -> bytes:
        """The email with its signatures before it."""
        head, _, body = content.partition(b"\r\n\r\n")
        headers, values = _signed(head), (int(self._now()), b64encode(sha256(relaxed_body(body)).digest()))
        made = []
        for key, field, relaxed in self._fields:
            signature = b64encode(key.sign(headers + relaxed % values))
            lines = (signature[at : at + BASE64_LINE] for at in range(0, len(signature), BASE64_LINE))
            made.append(field % values + b"\r\n ".join(lines) + b"\r\n")
        return b"".join((*made, content))


def signer(*, domain: str, selectors: str, key_files: str) -> Signer:
    """
    The signer whose keys are in these files.

    Args:
        selectors: With space between them.
        key_files: The file of each selector, in the same order, with space between them.

    Raises:
        InvalidSettings: A file cannot be read, or holds no key that can sign.
    """
    files = zip(selectors.split(), key_files.split(), strict=True)
    return Signer(domain=domain, keys=[_key(selector, Path(file)) for selector, file in files])


def relaxed_body(body: bytes) -> bytes:
    """The body without what may change on the way: white space at line ends, empty lines at the end (§3.4.4)."""
    if b"\t" in body:
        body = body.replace(b"\t", b" ")
    while b"  " in body:
        body = body.replace(b"  ", b" ")
    body = body.replace(b" \r\n", b"\r\n").removesuffix(b" ")
    while body.endswith(b"\r\n"):
        body = body.removesuffix(b"\r\n")
    return body + b"\r\n" if body else body


def _key(selector: str, file: Path) -> Key:
    named = f"NOTIFY_DKIM_KEY_FILE names {str(file)!r}"
    try:
        private = load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise InvalidSettings(f"{named}: {error.strerror}") from None
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InvalidSettings(
            f"{named}, which holds no key that can be read ({type(error).__name__}); {EXPECTED}"
        ) from None
    if not isinstance(private, RSAPrivateKey | Ed25519PrivateKey):
        raise InvalidSettings(f"{named}, which holds a key of another kind; {EXPECTED}")
    key = Key(selector=selector, private=private)
    if (key.bits or FEWEST_BITS) < FEWEST_BITS:
        raise InvalidSettings(f"{named}, whose key has {key.bits} bits; {EXPECTED}")
    return key


def _field(domain: str, key: Key) -> bytes:
    """The signature's own field up to the signature, with gaps for the instant and the hash of the body."""
    names = wrap(": ".join(name.decode("ascii") for name in SIGNED), NAMES_LINE)
    listed = "\r\n  ".join(line.replace(" ", "") for line in names)
    return (
        f"DKIM-Signature: v=1; a={key.kind}-sha256; c=relaxed/relaxed;\r\n"
        f" d={domain};\r\n s={key.selector}; t=%d;\r\n h={listed};\r\n bh=%b;\r\n b="
    ).encode("ascii")


def _signed(head: bytes) -> bytes:
    """The fields of ``SIGNED``, of several with one name the last one first (§5.4.2); none where there is none left."""
    found: dict[bytes, list[bytes]] = {}
    for name, field in _relaxed_fields(head):
        found.setdefault(name, []).append(field)
    return b"".join(found[name].pop() for name in SIGNED if found.get(name))


def _relaxed_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Each field by its name, unfolded, with one space where there was white space (§3.4.2)."""
    fields = []
    for line in FOLD.sub(b"", head).split(b"\r\n"):
        name, _, value = line.partition(b":")
        name = name.strip().lower()
        fields.append((name, name + b":" + SPACES.sub(b" ", value).strip(b" ") + b"\r\n"))
    return fields


def _rsa_numbers(public: bytes) -> object:
    key = load_der_public_key(public)
    return key.public_numbers() if isinstance(key, RSAPublicKey) else None
