"""A queue's history, with what is known of each of its heads."""

from dataclasses import dataclass
from datetime import datetime

from notify.domain.head_ports import Page
from notify.heads.stage import Queues
from notify.store.database import Database
from notify.store.heads import listing


@dataclass(frozen=True, slots=True, kw_only=True)
class HistoryEntry:
    """
    One head of a queue.

    Args:
        request_id: None (like *state*): it was never taken in.
        degree: How broken the whole repository is, 0 green to 1; None: not recorded, which does not mean green.
        projects: The same by project.
    """

    uri: str
    sha: str
    title: str
    author: str
    committed_at: datetime
    request_id: int | None
    state: str | None
    degree: float | None
    projects: dict[str, float]


def history(database: Database, queues: Queues, name: str, *, cursor: str | None, limit: int) -> Page[HistoryEntry]:
    """
    Heads of the queue's ref, newest first.

    Raises:
        NotFound: The ref or the cursor's commit does not exist.
        SourceControlUnavailable: Source control does not answer.
    """
    page = queues.source(name).history(cursor, limit=limit)
    with database.begin() as connection:
        known = listing.known_heads(connection, name, [one.uri for one in page.items])
    nothing = listing.KnownHead(None, None, {})
    entries = []
    for one in page.items:
        found = known.get(one.uri, nothing)
        entries.append(
            HistoryEntry(
                uri=one.uri,
                sha=one.sha,
                title=one.title,
                author=one.author_name,
                committed_at=one.committed_at,
                request_id=found.request_id,
                state=found.state,
                degree=found.degrees.get(""),
                projects={project: degree for project, degree in found.degrees.items() if project},
            )
        )
    return Page(entries, page.next_cursor)
