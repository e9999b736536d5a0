"""Signed links in letters: what one may do without logging in, and for whom."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from itsdangerous import BadData, Serializer, Signer, URLSafeSerializer
from itsdangerous.encoding import base64_encode

from notify.domain.errors import NotifyError

MOST_BYTES = 400


class ForgedLink(NotifyError):
    """The link was not signed by this service, or part of it is missing."""


class Scope(StrEnum):
    """What an unsubscribe link stops."""

    EVENT_TYPE = "event_type"
    CHANGE_LIST = "change_list"
    EVERYTHING = "everything"


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """
    The right to stop and resume letters to one person.

    ``scope`` and ``target``, a code or a link, are what one click stops. ``beside`` is the target
    of the other narrow scope, which the letter was about too; None where it is not known.
    """

    username: str
    scope: Scope
    target: str
    beside: str | None = None

    @property
    def targets(self) -> dict[Scope, str]:
        """Everything that the right reaches, what one click stops before the rest."""
        other = _BESIDE.get(self.scope) if self.beside else None
        narrow = {} if other is None else {other: self.beside or ""}
        return {self.scope: self.target, **narrow, Scope.EVERYTHING: ""}


_BESIDE = {Scope.EVENT_TYPE: Scope.CHANGE_LIST, Scope.CHANGE_LIST: Scope.EVENT_TYPE}


class _Tokens(URLSafeSerializer):
    """Tokens without the library's try to compress them, at a quarter of its cost: a link's few words only grow."""

    def __init__(self, secrets: Sequence[str], *, salt: str) -> None:
        # The library signs with the last of its keys, and tries it first.
        super().__init__(list(reversed(secrets)), salt=salt)
        self._sealer = super().make_signer()

    def make_signer(self, salt: str | bytes | None = None) -> Signer:
        return self._sealer if salt is None else super().make_signer(salt)

    def dump_payload(self, obj: Any) -> bytes:  # noqa: ANN401 - the library's signature
        return base64_encode(Serializer.dump_payload(self, obj))


class SignedLinks:
    """
    Makes and reads the links. They do not expire: a letter may be read years later.

    Args:
        secrets: The first signs, and each opens what it signed: the next key goes before those that letters still
            carry. Whoever knows one can sign links.
        public_url: Where people reach the API, without a trailing slash.
    """

    def __init__(self, *, secrets: Sequence[str], public_url: str) -> None:
        self.public_url = public_url
        self._unsubscribe = _Tokens(secrets, salt="notify.unsubscribe")
        self._preferences = _Tokens(secrets, salt="notify.preferences")

    def stop_event_type(self, username: str, code: str, *, beside: str | None = None) -> str:
        """
        URL of the page that switches one kind of event off and on; POST acts at once (RFC 8058).

        Args:
            beside: Link of the change list that the letter is about, which the page offers to mute.
        """
        return self._stop(username, Scope.EVENT_TYPE, code, beside)

    def mute_change_list(self, username: str, cl_link: str, *, beside: str | None = None) -> str:
        """
        URL of the page that mutes one change list, and unmutes it.

        Args:
            beside: Code of the letter's kind of event, which the page offers to switch off.
        """
        return self._stop(username, Scope.CHANGE_LIST, cl_link, beside)

    def stop_everything(self, username: str) -> str:
        """URL of the page that stops every letter that is not required."""
        return self._stop(username, Scope.EVERYTHING, "", None)

    def preferences(self, username: str) -> str:
        """URL of the person's preferences page."""
        return f"{self.public_url}/preferences/{_text(self._preferences.dumps([username]))}"

    def read_unsubscribe(self, token: str) -> Unsubscribe:
        """
        What the token allows. White space in it counts for nothing: a header breaks a long link into lines.

        Raises:
            ForgedLink: The token is not ours.
        """
        try:
            username, scope, target, *beside = self._unsubscribe.loads("".join(token.split()))
            return Unsubscribe(str(username), Scope(scope), str(target), *map(str, beside))
        except (BadData, ValueError, TypeError):
            raise ForgedLink from None

    def read_preferences(self, token: str) -> str:
        """
        The username whose preferences the token opens.

        Raises:
            ForgedLink: The token is not ours.
        """
        try:
            (username,) = self._preferences.loads(token)
            return str(username)
        except (BadData, ValueError, TypeError):
            raise ForgedLink from None

    def _stop(self, username: str, scope: Scope, target: str, beside: str | None) -> str:
        """What makes the link too long for a header is left out: the page then offers one scope less."""
        short = len(f"{username}{target}{beside}".encode()) <= MOST_BYTES
        right = [username, scope.value, target, *([beside] if beside and short else [])]
        return f"{self.public_url}/unsubscribe/{_text(self._unsubscribe.dumps(right))}"


def _text(token: str | bytes) -> str:
    return token if isinstance(token, str) else token.decode("ascii")
