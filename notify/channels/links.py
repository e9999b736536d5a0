"""
Signed links in emails: what one may do without logging in, and for whom.

*Decided*: an email has one seal (BLAKE2b with a key, 128 bits) for all that its reader may stop; the last character of
each link says what that link stops at one click. Every link of an email allows the same, so that character needs no
seal. The preferences have a seal of their own.
"""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from hashlib import blake2b
from hmac import compare_digest

from notify.domain.errors import NotifyError

SEAL_BYTES = 16
KEY_BYTES = 32


class ForgedLink(NotifyError):
    """The link was not signed by this service, or part of it is missing."""


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
        code: The event type of the email; empty where it is not known.
        topic: Its change list; empty where it is not known.
    """

    username: str
    scope: Scope
    code: str = ""
    topic: str = ""

    @property
    def targets(self) -> dict[Scope, str]:
        """The code or link behind each scope that the right allows to stop, what one click stops first."""
        narrow = {Scope.EVENT_TYPE: self.code, Scope.CHANGE_LIST: self.topic}
        first = {self.scope: narrow.get(self.scope, "")}
        return first | {scope: target for scope, target in narrow.items() if target} | {Scope.EVERYTHING: ""}


class _Seal:
    """Seals with the first of some secrets, and recognises the seals of all."""

    def __init__(self, secrets: Sequence[str], *, purpose: bytes) -> None:
        keys = [blake2b(secret.encode(), digest_size=KEY_BYTES, person=purpose).digest() for secret in secrets]
        self._all = [blake2b(key=key, digest_size=SEAL_BYTES) for key in keys]
        self._first = self._all[0]

    def sealed(self, said: bytes) -> bytes:
        """The bytes, with their seal behind the last full stop."""
        hashed = self._first.copy()
        hashed.update(said)
        return said + b"." + urlsafe_b64encode(hashed.digest())[:-2]

    def opened(self, sealed: bytes) -> bytes:
        """
        The bytes that were sealed.

        Raises:
            ForgedLink: None of the secrets has sealed them.
        """
        said, _, seal = sealed.rpartition(b".")
        for one in self._all:
            hashed = one.copy()
            hashed.update(said)
            if compare_digest(urlsafe_b64encode(hashed.digest())[:-2], seal):
                return said
        raise ForgedLink


class SignedLinks:
    """
    Makes and reads the links. They do not expire: an email may be read years later.

    Args:
        secrets: The first signs, and each opens what it signed: the next key goes before those that emails still
            carry. Who knows one can sign links.
        public_url: Where people reach the API, without a trailing slash.
    """

    def __init__(self, *, secrets: Sequence[str], public_url: str) -> None:
        self.public_url = public_url
        self._stopping = f"{public_url}/unsubscribe/".encode()
        self._unsubscribe = _Seal(secrets, purpose=b"unsubscribe")
        self._preferences = _Seal(secrets, purpose=b"preferences")

    def stop_event_type(self, username: str, code: str, *, beside: str = "") -> str:
        """
        URL of the page that switches one event type off and on; POST acts at once (RFC 8058).

        Args:
            beside: Link of the change list that the email is about, which the page offers to mute.
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
        The URLs of all pages that stop emails, each without its last character, which is one of ``SUFFIXES``.

        Args:
            reader: The username, ``encoded``.
            about: The ``subject`` of the email.
        """
        return self._stopping + self._unsubscribe.sealed(reader + b"." + about) + b"."

    def preferences(self, username: str) -> str:
        """URL of the person's preferences page."""
        return f"{self.public_url}/preferences/{self._preferences.sealed(encoded(username)).decode('ascii')}"

    def read_unsubscribe(self, token: str) -> Unsubscribe:
        """
        What the token allows. White space in it counts for nothing: a header breaks a long link into lines.

        Raises:
            ForgedLink: The token is not ours.
        """
        try:
            sealed, _, suffix = "".join(token.split()).encode("ascii").rpartition(b".")
            username, code, topic = map(_decoded, self._unsubscribe.opened(sealed).split(b"."))
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
        The username whose preferences the token opens.

        Raises:
            ForgedLink: The token is not ours.
        """
        try:
            return _decoded(self._preferences.opened(token.encode("ascii")))
        except ValueError:
            raise ForgedLink from None

    def _stop(self, username: str, about: bytes, scope: Scope) -> str:
        return (self.stopping(encoded(username), about) + SUFFIXES[scope]).decode()


def encoded(text: str) -> bytes:
    """A name as one part of a token."""
    return urlsafe_b64encode(text.encode()).rstrip(b"=")


def subject(code: str, topic: str) -> bytes:
    """What an email is about, as two parts of a token: its event type and its change list; empty where not known."""
    return encoded(code) + b"." + encoded(topic)


def _decoded(part: bytes) -> str:
    return urlsafe_b64decode(part + b"=" * (-len(part) % 4)).decode()
