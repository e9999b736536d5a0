"""A sample email, to preview and to test the relay with."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from notify.domain import events
from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.errors import NotifyError
from notify.domain.events import ChangeList, Event
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.threads import message_id
from notify.intake.schema import CHANGE as CHANGE_PART
from notify.intake.schema import payload_objects_of
from notify.intake.triggers import TRIGGERS, custom_type, emittable

LINK = "CL-4821"
CHANGE_LIST = {
    "link": LINK,
    "title": "Cap the upload retry",
    "url": "https://review.example/CL-4821",
    "repository": "monorepo",
}
ACTOR = Person(username="dana", display_name="Dana Reyes")
RECIPIENT = Person(username="alice", display_name="Alice Meyer", email="alice@example.com")
COMMENT = {
    "id": "8731",
    "body": "The *jitter* has to come after the cap, otherwise the upper half of the range is lost.\n\n"
    "```python\ndelay = min(cap, base * 2 ** n)\n```\n\nSee [the note](https://review.example/notes/backoff).",
    "url": "https://review.example/CL-4821#c8731",
    "path": "src/upload/retry.py",
    "line": 42,
    "code": "delay = base * 2 ** n",
}
REVIEW = {
    "id": "512",
    "state": "changes_requested",
    "body": "Good, but for **one** thing.",
    "url": "https://review.example/CL-4821#r512",
    "comments": [COMMENT, {"id": "8732", "body": "A test for the cap?", "path": "tests/test_retry.py"}],
}
CHANGE = {
    "summary": "Caps the wait *after* the jitter.",
    "revision": "Revision 3: 2f1c9e0",
    "files": 4,
    "added": 120,
    "removed": 31,
    "url": "https://review.example/CL-4821/3",
}
SOURCE = {
    "forge": "github",
    "since": "2026-03-02T10:40:00+00:00",
    "repositories": 41,
    "of": 43,
    "listing": True,
    "fault": "Unavailable",
    "words": "502 Bad Gateway",
}
STATUS = {
    "forge": "github",
    "repository": "acme/monorepo",
    "sha": "2f1c9e0b7a4d58c6e3f0912b4d6a8c7e5f3b1a09",
    "context": "ci/unit",
    "reason": "forbidden",
    "words": "Resource not accessible by integration",
}
SUSPECTS: list[dict[str, str | None]] = [
    {
        "sha": "2f1c9e0b7a4d58c6e3f0912b4d6a8c7e5f3b1a09",
        "title": "Cap the upload retry (#4821)",
        "name": "Dana Reyes",
        "username": "dana",
        "link": "acme/monorepo#4821",
        "url": "https://review.example/CL-4821",
    },
    {
        "sha": "5c3b1a092f1c9e0b7a4d58c6e3f0912b4d6a8c7e",
        "title": "Read the limits from the settings",
        "name": "Alice Meyer",
        "username": "alice",
        "link": None,
        "url": None,
    },
]
QUEUE = {
    "name": "monorepo/main",
    "repository": "acme/monorepo",
    "ref": "refs/heads/main",
    "request": "request/monorepo/main/128",
    "head": "2f1c9e0b7a4d58c6e3f0912b4d6a8c7e5f3b1a09",
    "base": "9b1d4f6e8a7c5d3b2e1f0a9c8b7d6e5f4a3b2c1d",
    "degree": 0.5,
    "projects": [{"name": "services/upload", "degree": 0.5}, {"name": "web", "degree": 0.04}],
    "more_projects": 0,
    "url": "https://ci.example/builds/5512",
    "suspects": SUSPECTS,
    "more_suspects": 0,
}
GREEN_QUEUE = {**QUEUE, "degree": 0.0, "projects": [], "suspects": []}
STUCK_QUEUE = {**GREEN_QUEUE, "degree": None, "url": None}
PAYLOADS: Mapping[str, Mapping[str, Any]] = {
    **{event_type: {"change": CHANGE} for event_type in TRIGGERS if payload_objects_of(event_type) == (CHANGE_PART,)},
    events.COMMENT_CREATED: {"comment": COMMENT},
    events.COMMENT_MENTIONED: {"comment": {**COMMENT, "body": f"@alice, {COMMENT['body']}"}},
    events.REVIEW_SUBMITTED: {"review": REVIEW},
    events.REVIEW_REQUESTED: {"request": {"reviewers": ["alice"]}, "change": CHANGE},
    events.SYNC_FAILING: {"source": SOURCE},
    events.STATUS_DEAD: {"status": STATUS},
    events.HEAD_BROKEN: {"queue": QUEUE},
    events.HEAD_RECOVERED: {"queue": GREEN_QUEUE},
    events.HEAD_VALIDATED: {"queue": GREEN_QUEUE},
    events.REQUEST_STUCK: {"queue": STUCK_QUEUE},
}
# The topics of events that are not about a change list.
OF_QUEUES = (events.HEAD_BROKEN, events.HEAD_RECOVERED, events.HEAD_VALIDATED, events.REQUEST_STUCK)
TOPICS = {
    events.SYNC_FAILING: "forge:github",
    events.STATUS_DEAD: "status:github/acme/monorepo",
    **dict.fromkeys(OF_QUEUES, "queue:monorepo/main"),
}
REASONS = {
    events.COMMENT_MENTIONED: Reason.MENTIONED,
    events.REVIEW_REQUESTED: Reason.REQUESTED,
    events.HEAD_BROKEN: Reason.AUTHOR,
    events.HEAD_RECOVERED: Reason.AUTHOR,
    events.HEAD_VALIDATED: Reason.SUBSCRIBER,
    **dict.fromkeys(events.FOR_OPERATORS, Reason.OPERATOR),
}


class NoSample(NotifyError):
    """There is no sample of this event type."""


def email(event_type: str, *, host: str, to_email: str = "alice@example.com", locale: str | None = None) -> EmailFacts:
    """A sample email about an event of this type, as a reviewer or an operator gets it."""
    payload = {"change": CHANGE} if custom_type(event_type) else PAYLOADS.get(event_type)
    if payload is None:
        raise NoSample(given=event_type, known=", ".join(sorted({*PAYLOADS, *emittable()})))
    topic = TOPICS.get(event_type, LINK)
    is_cl = events.is_about_change_list(event_type)
    change_list = ChangeList(**CHANGE_LIST, owners=(), author="bob", reviewers=("alice", "dana"))
    now = datetime.now(UTC)
    key = f"sample-{now:%Y%m%d%H%M%S%f}"
    event = Event(
        id=0,
        key=key,
        type=event_type,
        topic=topic,
        actor=ACTOR.username if is_cl else events.OURSELVES,
        occurred_at=now,
        payload=payload,
    )
    return EmailFacts(
        claim=Claim(id=0, attempt=1, failures=0, max_failures=1, lapses=0),
        message_id=message_id(topic, event_key=key, username=RECIPIENT.username, host=host, is_change_list=is_cl),
        event=event,
        change_list=change_list if is_cl else ChangeList(link=topic),
        actor=ACTOR if is_cl else Person(username=events.OURSELVES),
        recipient=replace(RECIPIENT, locale=locale),
        to_email=to_email,
        reason=REASONS.get(event_type, Reason.REVIEWER),
    )
