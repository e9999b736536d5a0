"""Events about a queue's heads: broken, recovered, validated, stuck."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from notify.domain.forge_settings import QueueSettings
from notify.domain.heads import WHOLE, Build, Fact, Head, Request
from notify.domain.own_events import OwnEvent

SHOWN_SUSPECTS = 100
SHOWN_PROJECTS = 50
TOPIC = "queue:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Suspect:
    """
    One commit that may have broken a head.

    Args:
        username: Whose it is; None: nobody we know.
        name: As the commit states it.
        link: The change list that it merged; None (like *url*): not known.
    """

    sha: str
    title: str
    name: str
    username: str | None = None
    link: str | None = None
    url: str | None = None


def topic_of(queue: str) -> str:
    """What emails about a queue are about."""
    return f"{TOPIC}{queue}"


def queue_of(topic: str) -> str | None:
    """The queue that it names; None: it is another topic."""
    return topic.removeprefix(TOPIC) if topic.startswith(TOPIC) else None


def key_of(queue: str, number: int) -> str:
    """The key of the event about this request."""
    return f"{TOPIC}{queue}:{number}"


def queue_event(
    event_type: str,
    queue: QueueSettings,
    request: Request,
    *,
    build: Build | None = None,
    facts: Sequence[Fact] = (),
    suspects: Sequence[Suspect] = (),
) -> OwnEvent:
    """
    What became of a request; a request has one such event. Its emails show some of the suspects; it concerns all.

    Args:
        suspects: The commits since the base, newest first; of a broken head only.
    """
    degrees = {one.project: one.degree for one in facts}
    broken = sorted((name for name, degree in degrees.items() if name != WHOLE and degree > 0), key=str.casefold)
    authors: dict[str, list[str]] = {}
    for one in suspects:
        if one.username is not None:
            authors.setdefault(one.username, []).append(one.sha)
    payload: dict[str, Any] = {
        "name": queue.name,
        "repository": queue.repository,
        "ref": queue.ref,
        "request": str(request.id),
        "head": Head.parse(request.uri).sha,
        "base": Head.parse(request.base_uri).sha if request.base_uri else None,
        "degree": degrees.get(WHOLE),
        "projects": [{"name": name, "degree": degrees[name]} for name in broken[:SHOWN_PROJECTS]],
        "more_projects": max(len(broken) - SHOWN_PROJECTS, 0),
        "url": build.url if build else None,
        "suspects": [asdict(one) for one in suspects[:SHOWN_SUSPECTS]],
        "more_suspects": max(len(suspects) - SHOWN_SUSPECTS, 0),
        "authors": authors,
    }
    key = key_of(queue.name, request.id.number)
    return OwnEvent(key=key, type=event_type, topic=topic_of(queue.name), payload={"queue": payload})
