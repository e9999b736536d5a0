"""
Signed links in emails, which allow their reader some actions without logging in.

*Decided*: all unsubscribe links of an email share one signature (keyed BLAKE2b, 128 bits); the last character says what
one click stops. As all of them grant the same rights, that character need not be signed. The link to the preferences
has its own signature.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from hmac import compare_digest

from notify.domain.errors import NotifyError

SIGNATURE_BYTES = 16
KEY_BYTES = 32


class ForgedLink(NotifyError):
    """The link is incomplete or was not signed by this service."""


class Scope(StrEnum):
    """What an unsubscribe link stops."""

    EVENT_TYPE = "event_type"
    CHANGE_LIST = "change_list"
    EVERYTHING = "everything"


SUFFIXES = {Scope.EVENT_TYPE: b"t", Scope.CHANGE_LIST: b"c", Scope.EVERYTHING: b"a"}
SCOPES = {suffix: scope for scope, suffix in SUFFIXES.items()}


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """
    The right to stop and resume emails to one person.

    Args:
        scope: What one click stops.
        code: The event type of the email; empty: unknown.
        topic: Its change list; empty: unknown.
    """

    username: str
    scope: Scope
    code: str = ""
    topic: str = ""

    @property
    def targets(self) -> dict[Scope, str]:
        """The code or link of each scope that may be stopped; the one-click scope first."""
        narrow = {Scope.EVENT_TYPE: self.code, Scope.CHANGE_LIST: self.topic}
        first = {self.scope: narrow.get(self.scope, "")}
        return first | {scope: target for scope, target in narrow.items() if target} | {Scope.EVERYTHING: ""}


class _Signer:
    """Signs with the first of several secrets, and accepts signatures of all."""

    def __init__(self, secrets: Sequence[str], *, purpose: bytes) -> None:
        keys = [blake2b(secret.encode(), digest_size=KEY_BYTES, person=purpose).digest() for secret in secrets]
        self._all = [blake2b(key=key, digest_size=SIGNATURE_BYTES) for key in keys]
        self._first = self._all[0]

    def sign(self, text: bytes) -> bytes:
        """The bytes, with their signature after the last full stop."""
        hashed = self._first.copy()
        hashed.update(text)
        return text + b"." + urlsafe_b64encode(hashed.digest())[:-2]

    def verify(self, signed: bytes) -> bytes:
        """
        The signed bytes, without their signature.

        Raises:
            ForgedLink: None of the secrets signed them.
        """
        text, _, signature = signed.rpartition(b".")
        for one in self._all:
            hashed = one.copy()
            hashed.update(text)
            if compare_digest(urlsafe_b64encode(hashed.digest())[:-2], signature):
                return text
        raise ForgedLink


class SignedLinks:
    """
    Creates and reads the links. They never expire: an email may be read years later.

    Args:
        secrets: The first signs; all are accepted, so put a new one first. Anybody who knows one can sign links.
        public_url: Where people reach the API, without a trailing slash.
    """

    def __init__(self, *, secrets: Sequence[str], public_url: str) -> None:
        self.public_url = public_url
        self._stopping = f"{public_url}/unsubscribe/".encode()
        self._unsubscribe = _Signer(secrets, purpose=b"unsubscribe")
        self._preferences = _Signer(secrets, purpose=b"preferences")

    def stop_event_type(self, username: str, code: str, *, beside: str = "") -> str:
        """
        URL of the page that switches one event type off and on; POST acts immediately (RFC 8058).

        Args:
            beside: Link of the email's change list, which the page offers to mute.
        """
        return self._stop(username, subject(code, beside), Scope.EVENT_TYPE)

    def mute_change_list(self, username: str, topic: str, *, beside: str = "") -> str:
        """
        URL of the page that mutes one change list, and unmutes it.

        Args:
            beside: Code of the email's event type, which the page offers to switch off.
        """
        return self._stop(username, subject(beside, topic), Scope.CHANGE_LIST)

    def stop_everything(self, username: str) -> str:
        """URL of the page that stops every email that is not required."""
        return self._stop(username, subject("", ""), Scope.EVERYTHING)

    def stopping(self, reader: bytes, about: bytes) -> bytes:
        """
        The common start of all unsubscribe URLs of an email; one of ``SUFFIXES`` completes each.

        Args:
            reader: The username, ``encoded``.
            about: The email's ``subject``.
        """
        return self._stopping + self._unsubscribe.sign(reader + b"." + about) + b"."

    def preferences(self, username: str) -> str:
        """URL of the person's preferences page."""
        return f"{self.public_url}/preferences/{self._preferences.sign(encoded(username)).decode('ascii')}"

    def read_unsubscribe(self, token: str) -> Unsubscribe:
        """
        The right that the token grants. White space is ignored, because long headers are folded.

        Raises:
            ForgedLink: The token is invalid.
        """
        try:
            signed, _, suffix = "".join(token.split()).encode("ascii").rpartition(b".")
            username, code, topic = map(_decoded, self._unsubscribe.verify(signed).split(b"."))
            scope = SCOPES[suffix]
        except (ValueError, KeyError):
            raise ForgedLink from None
        if scope is Scope.EVERYTHING:
            return Unsubscribe(username, scope)
        if not (code if scope is Scope.EVENT_TYPE else topic):
            raise ForgedLink
        return Unsubscribe(username, scope, code, topic)

    def read_preferences(self, token: str) -> str:
        """
        The username whose preferences the token gives access to.

        Raises:
            ForgedLink: The token is invalid.
        """
        try:
            return _decoded(self._preferences.verify(token.encode("ascii")))
        except ValueError:
            raise ForgedLink from None

    def _stop(self, username: str, about: bytes, scope: Scope) -> str:
        return (self.stopping(encoded(username), about) + SUFFIXES[scope]).decode()


def encoded(text: str) -> bytes:
    """The text, encoded for use in a token."""
    return urlsafe_b64encode(text.encode()).rstrip(b"=")


def subject(code: str, topic: str) -> bytes:
    """The event type and change list of an email, encoded for a token; empty: unknown."""
    return encoded(code) + b"." + encoded(topic)


def _decoded(part: bytes) -> str:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode()
