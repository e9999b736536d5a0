"""Instants and waits in the headers of HTTP answers, which may contain anything."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from email.utils import parsedate_to_datetime

MOST_DIGITS = 10


def http_date(text: str | None) -> datetime | None:
    """The instant in a header; None: it has none. Source: RFC 9110 §5.6.7."""
    try:
        found = parsedate_to_datetime(text or "")
    except (ValueError, OverflowError):
        return None
    return found if found.tzinfo else None


def retry_after(headers: Mapping[str, str], *, now: datetime) -> timedelta | None:
    """
    How long an answer asks to wait, by the server's own clock if it says; None: it does not ask.

    Args:
        headers: Their names are in lower case, or compared without case.

    Source: RFC 9110 §10.2.3.
    """
    stated = headers.get("retry-after", "")
    if is_number(stated):
        return timedelta(seconds=int(stated))
    until = http_date(stated)
    return None if until is None else max(until - (http_date(headers.get("date")) or now), timedelta(0))


def is_number(text: str) -> bool:
    """Whether it is a whole number, and not too long to be a time in seconds."""
    return text.isascii() and text.isdigit() and len(text) <= MOST_DIGITS
