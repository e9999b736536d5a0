"""
Keys of events from forges, made so that webhook, replay and sweep give the same key for the same event.

*base* is ``<forge>:<repository id>``; names may change, the id stays.
"""

from datetime import datetime


def base(forge: str, repository_id: int) -> str:
    return f"{forge}:{repository_id}"


def comment(base: str, id_: int) -> str:
    return f"{base}:comment:{id_}"


def review_comment(base: str, id_: int) -> str:
    """Of a comment on a line. GitHub numbers those separately from comments on the change."""
    return f"{base}:review_comment:{id_}"


def review(base: str, id_: int) -> str:
    return f"{base}:review:{id_}"


def created(base: str, number: int) -> str:
    """The same for a change that is opened and for a draft that is ready: people hear of it once."""
    return f"{base}:created:{number}"


def updated(base: str, number: int, sha: str) -> str:
    return f"{base}:updated:{number}:{sha}"


def retargeted(base: str, number: int, before: str, now: str, sha: str) -> str:
    """Of a new base branch."""
    return f"{base}:retargeted:{number}:{before}:{now}:{sha}"


def merged(base: str, number: int) -> str:
    return f"{base}:merged:{number}"


def closed(base: str, number: int, closed_at: datetime) -> str:
    return f"{base}:closed:{number}:{closed_at.isoformat()}"


def reopened(base: str, number: int, updated_at: datetime) -> str:
    return f"{base}:reopened:{number}:{updated_at.isoformat()}"


def requested(base: str, number: int, asked: str, updated_at: datetime) -> str:
    """
    Args:
        asked: A login, or ``team/<slug>``; no login holds a slash.
    """
    return f"{base}:requested:{number}:{asked.lower()}:{updated_at.isoformat()}"
