"""What happened: an event, the change list it happened on, and what was said."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

COMMENT_CREATED = "cl.comment.created"


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeList:
    """
    A change list as the directory knows it.

    ``link`` is the short name people use (``CL-4821``); every other None means *not known*.
    """

    link: str
    title: str | None = None
    url: str | None = None
    repository: str | None = None
    author: str | None = None
    reviewers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """
    One stored event, as the fan-out and the letters see it.

    ``payload`` is what the event type carries besides the common fields (for
    ``cl.comment.created`` the key ``comment``); ``occurred_at`` is aware UTC.
    """

    id: int
    key: str
    type: str
    cl_link: str
    actor: str
    occurred_at: datetime
    payload: Mapping[str, Any] = field(default_factory=dict)
