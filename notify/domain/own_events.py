"""Events that notify emits itself, about topics that are no change lists."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from notify.domain.events import STATUS_DEAD, SYNC_FAILING

LONGEST_WORDS = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class OwnEvent:
    """
    An event of notify's own. Storing a second one with the same key changes nothing.

    ``topic`` begins with the kind of thing it is about: ``forge:``, ``status:`` or ``queue:``.
    """

    key: str
    type: str
    topic: str
    payload: Mapping[str, Any] = field(default_factory=dict)


def sync_failing(
    forge: str, *, since: datetime, repositories: int, of: int, listing: bool, fault: str, words: str
) -> OwnEvent:
    """
    A forge has not been read completely for too long; one event an episode.

    Args:
        since: When it was read completely last.
        repositories: How many of its *of* repositories have not been read for too long.
        listing: Whether the list of its repositories has not either.
        fault: What is wrong, as a name: ``Unavailable``, ``RateLimited``, …
        words: What the forge itself says; empty: nothing is known.
    """
    source = {
        "forge": forge,
        "since": since.isoformat(),
        "repositories": repositories,
        "of": of,
        "listing": listing,
        "fault": fault,
        "words": _one_line(words),
    }
    key = f"source:{forge}:failing:{since.isoformat()}"
    return OwnEvent(key=key, type=SYNC_FAILING, topic=f"forge:{forge}", payload={"source": source})


def status_dead(
    target: int, version: int, *, forge: str, repository: str, sha: str, context: str, reason: str, words: str
) -> OwnEvent:
    """
    A status will not be shown on its commit; one event a target and version.

    All statuses of a repository are one topic, so that a forge that refuses them all makes few emails.

    Args:
        target: The row of ``commit_statuses``.
        version: The version of it that was wanted.
        reason: Why it is dead: ``forbidden``, ``gone``, ``not_installed``, ``suspended``, ``invalid``, ``poison``, …
        words: What the forge itself says; empty: nothing.
    """
    status = {
        "forge": forge,
        "repository": _one_line(repository),
        "sha": sha,
        "context": _one_line(context),
        "reason": reason,
        "words": _one_line(words),
    }
    return OwnEvent(
        key=f"status:{target}:{version}:dead",
        type=STATUS_DEAD,
        topic=f"status:{forge}/{_one_line(repository)}",
        payload={"status": status},
    )


def _one_line(text: str) -> str:
    return " ".join(text.replace("\x00", " ").split())[:LONGEST_WORDS]
