"""
DKIM: the sender's domain vouches for each letter (RFC 6376).

Decided: dkimpy, at some 7 ms of processor time a letter with a key of 2,048 bits. Who sends much lets the
relay sign, as most do.
"""

from pathlib import Path

from dkim import DKIM, DKIMException

from notify.domain.errors import InvalidSettings

# RFC 8058 §4: what unsubscribes must be covered. From stands twice, so that nobody adds a second one.
SIGNED = (
    b"from", b"from", b"to", b"subject", b"date", b"message-id", b"in-reply-to", b"references", b"list-id",
    b"list-unsubscribe", b"list-unsubscribe-post", b"auto-submitted", b"mime-version", b"content-type",
)  # fmt: skip
TRIAL = b"From: a@example.com\r\n\r\n\r\n"
RELAXED = (b"relaxed", b"relaxed")


class Signer:
    """
    Signs letters with one key.

    Args:
        domain: Who vouches; receivers look for the key at ``selector._domainkey.domain``.
        key: An RSA key as PEM, PKCS #1 or #8.

    Raises:
        InvalidSettings: The key cannot sign.
    """

    def __init__(self, *, domain: str, selector: str, key: bytes) -> None:
        self._domain = domain.encode("idna")
        self._selector = selector.encode("ascii")
        self._key = key
        try:
            self._signature(TRIAL, headers=(b"from",))
        except (DKIMException, ValueError) as error:
            refused = f"the file of NOTIFY_DKIM_KEY_FILE holds no RSA key in PEM: {type(error).__name__}"
            raise InvalidSettings(refused) from None

    def __call__(self, content: bytes) -> bytes:
        """The letter with its signature before it."""
        return self._signature(content, headers=SIGNED) + content

    def _signature(self, content: bytes, *, headers: tuple[bytes, ...]) -> bytes:
        made: bytes = DKIM(content).sign(
            self._selector, self._domain, self._key, canonicalize=RELAXED, include_headers=headers
        )
        return made


def signer(*, domain: str, selector: str, key_file: Path) -> Signer:
    """
    The signer whose key is in this file.

    Raises:
        InvalidSettings: It cannot be read, or holds no key.
    """
    try:
        key = key_file.read_bytes()
    except OSError as error:
        raise InvalidSettings(f"NOTIFY_DKIM_KEY_FILE is {str(key_file)!r}: {error.strerror}") from None
    return Signer(domain=domain, selector=selector, key=key)
