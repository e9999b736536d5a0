"""
What a forge's answer means: decided by status and headers and, where they are not enough, by its words.

Sources: GitHub, "Best practices for using the REST API" (rate limits), "Troubleshooting the REST API" (403, 404).
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from enum import Enum, auto
from http import HTTPStatus

from notify.domain.forge_answers import (
    AnswerMeaning,
    Applied,
    CredentialsExpired,
    Misconfigured,
    MissingCommit,
    Moved,
    RateLimited,
    Refused,
    Unavailable,
    Unchanged,
)
from notify.domain.http_times import http_date, is_number, retry_after
from notify.forges.common.fields import one_line, storable

# A forge whose clock is wrong must not stop us for days.
LONGEST_WAIT = timedelta(hours=2)
MOST_ERRORS = 5
SUSPENDED = "installation has been suspended"
NO_COMMIT = "no commit found for sha"
RATE_WORDS = ("rate limit", "abuse detection")
REDIRECTS = frozenset({HTTPStatus.MOVED_PERMANENTLY, HTTPStatus.TEMPORARY_REDIRECT, HTTPStatus.PERMANENT_REDIRECT})
RATE_STATUSES = frozenset({HTTPStatus.FORBIDDEN, HTTPStatus.TOO_MANY_REQUESTS})
ABSENT = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})
LATER = frozenset({HTTPStatus.REQUEST_TIMEOUT})


class Credential(Enum):
    """The kind of credential that a call was made with."""

    APP = auto()
    """The app's own JWT."""
    INSTALLATION = auto()
    """A token of an installation, which another can replace."""
    FIXED = auto()
    """A token from the configuration."""


def meaning(  # noqa: C901, PLR0911 - one line a row of the table
    status: int,
    headers: Mapping[str, str],
    body: bytes,
    *,
    credential: Credential,
    about_installation: bool = False,
    now: datetime,
) -> AnswerMeaning:
    """
    What an answer means for its call.

    Args:
        headers: Names are in lower case.
        about_installation: The call looks for the app's installation, or exchanges its token.
        now: Used only if the answer has no ``Date``.
    """
    words = said(body)
    if status == HTTPStatus.NOT_MODIFIED:
        return Unchanged()
    if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
        return Applied()
    if status in REDIRECTS and headers.get("location"):
        return Moved(location=headers["location"])
    if status in RATE_STATUSES and _is_rate_limit(status, headers, words):
        return RateLimited(wait=_wait(headers, now), words=words)
    if status == HTTPStatus.UNAUTHORIZED and credential is Credential.INSTALLATION:
        return CredentialsExpired(words=words)
    if status == HTTPStatus.FORBIDDEN and credential is not Credential.FIXED and SUSPENDED in words.lower():
        return Refused(reason="suspended", words=words)
    if status == HTTPStatus.UNAUTHORIZED or (status == HTTPStatus.FORBIDDEN and credential is Credential.APP):
        return Misconfigured(reason="app_refused" if credential is Credential.APP else "token_refused", words=words)
    if status == HTTPStatus.FORBIDDEN:
        return Refused(reason="forbidden", words=words)
    if status in ABSENT:
        return Refused(reason="not_installed" if about_installation else "gone", words=words)
    if status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return MissingCommit(words=words) if NO_COMMIT in words.lower() else Refused(reason="invalid", words=words)
    if status >= HTTPStatus.INTERNAL_SERVER_ERROR or status in LATER:
        return Unavailable(reason="server_error", words=words)
    return Refused(reason="unexpected", words=words)


def said(body: bytes) -> str:
    """The forge's ``message`` and its errors, in one line."""
    try:
        stated = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    if not isinstance(stated, dict):
        return ""
    errors = stated.get("errors")
    details = errors if isinstance(errors, list) else [] if errors is None else [errors]
    words = [stated.get("message"), *(_detail(one) for one in details[:MOST_ERRORS])]
    return one_line(storable("; ".join(word for word in words if isinstance(word, str) and word)))


def _detail(error: object) -> object:
    if not isinstance(error, dict):
        return error
    return error.get("message") or " ".join(str(error[name]) for name in ("field", "code") if name in error)


def _is_rate_limit(status: int, headers: Mapping[str, str], words: str) -> bool:
    return (
        status == HTTPStatus.TOO_MANY_REQUESTS
        or "retry-after" in headers
        or headers.get("x-ratelimit-remaining") == "0"
        or any(one in words.lower() for one in RATE_WORDS)
    )


def _wait(headers: Mapping[str, str], now: datetime) -> timedelta | None:
    """How long to wait, by the forge's own clock; None: the answer does not say."""
    reset = headers.get("x-ratelimit-reset", "")
    if "retry-after" in headers:
        wait = retry_after(headers, now=now)
    elif headers.get("x-ratelimit-remaining") == "0" and is_number(reset):
        here = http_date(headers.get("date")) or now
        wait = max(datetime.fromtimestamp(int(reset), UTC) - here, timedelta(0))
    else:
        wait = None
    return None if wait is None else min(wait, LONGEST_WAIT)
