"""Signed links in letters: what one may do without logging in, and for whom."""

from dataclasses import dataclass
from enum import StrEnum

from itsdangerous import BadData, URLSafeSerializer

from notify.domain.errors import NotifyError


class ForgedLink(NotifyError):
    """The link was not signed by this service, or part of it is missing."""


class Scope(StrEnum):
    """What an unsubscribe link stops."""

    EVENT_TYPE = "event_type"
    CHANGE_LIST = "change_list"


@dataclass(frozen=True, slots=True)
class Unsubscribe:
    """The right to stop and resume one kind of letter for one person; ``target`` is a code or a link."""

    username: str
    scope: Scope
    target: str


class SignedLinks:
    """
    Makes and reads the links. They do not expire: a letter may be read years later.

    Args:
        secret: Whoever knows it can sign links.
        public_url: Where people reach the API, without a trailing slash.
    """

    def __init__(self, *, secret: str, public_url: str) -> None:
        self.public_url = public_url
        self._unsubscribe = URLSafeSerializer(secret, salt="notify.unsubscribe")
        self._preferences = URLSafeSerializer(secret, salt="notify.preferences")

    def stop_event_type(self, username: str, code: str) -> str:
        """URL of the page that switches one kind of event off and on; POST acts at once (RFC 8058)."""
        return self._stop(username, Scope.EVENT_TYPE, code)

    def mute_change_list(self, username: str, cl_link: str) -> str:
        """URL of the page that mutes one change list, and unmutes it."""
        return self._stop(username, Scope.CHANGE_LIST, cl_link)

    def preferences(self, username: str) -> str:
        """URL of the person's preferences page."""
        return f"{self.public_url}/preferences/{_text(self._preferences.dumps([username]))}"

    def read_unsubscribe(self, token: str) -> Unsubscribe:
        """
        Raises:
            ForgedLink: The token is not ours.
        """
        try:
            username, scope, target = self._unsubscribe.loads(token)
            return Unsubscribe(str(username), Scope(scope), str(target))
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

    def _stop(self, username: str, scope: Scope, target: str) -> str:
        token = _text(self._unsubscribe.dumps([username, scope.value, target]))
        return f"{self.public_url}/unsubscribe/{token}"


def _text(token: str | bytes) -> str:
    return token if isinstance(token, str) else token.decode("ascii")
