"""What a forge's answer means for its call."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Any

from notify.domain.errors import NotifyError


@dataclass(frozen=True, slots=True)
class Applied:
    """The forge did what was asked."""


@dataclass(frozen=True, slots=True)
class Unchanged:
    """Nothing has changed since the caller's ETag."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialsExpired:
    """The token has expired: get another and repeat the call once at once, then later."""

    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Misconfigured:
    """Key, app id, token or clock are wrong: the forge's breaker opens and an operator must look."""

    reason: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimited:
    """
    The forge has limited our rate; this is not counted as a failure.

    ``wait`` None: the answer states no time, so wait a minute, doubled each time in a row.
    """

    wait: timedelta | None
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Unavailable:
    """Try later. Whether the forge did what was asked is unknown."""

    reason: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moved:
    """The URL has changed; repeat the call there with the same method."""

    location: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Refused for good: ``forbidden``, ``not_installed``, ``suspended``, ``gone``, ``invalid``, or ``unexpected``."""

    reason: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MissingCommit:
    """The forge does not have this commit."""

    words: str = ""


AnswerMeaning = (
    Applied
    | Unchanged
    | CredentialsExpired
    | Misconfigured
    | RateLimited
    | Unavailable
    | Moved
    | Refused
    | MissingCommit
)


class ForgeFault(NotifyError):
    """A call to the forge failed."""

    def __init__(
        self, *, forge: str, request: str, status: int | None, meaning: AnswerMeaning, installation: int | None = None
    ) -> None:
        """
        Args:
            request: Method and path, without query and credentials.
            status: None: there was no answer.
            installation: For which the call was made; rate limits are its own. None: the app itself, or no app.
        """
        super().__init__(forge=forge, request=request, status=status, meaning=meaning)
        self.forge, self.request, self.status, self.meaning = forge, request, status, meaning
        self.installation = installation

    def __reduce__(self) -> tuple[Any, ...]:
        """Celery pickles what a task raises; keyword arguments need this to survive it."""
        again = partial(
            type(self),
            forge=self.forge,
            request=self.request,
            status=self.status,
            meaning=self.meaning,
            installation=self.installation,
        )
        return again, ()
