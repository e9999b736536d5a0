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
from notify.intake.triggers import TRIGGERS

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
PAYLOADS: Mapping[str, Mapping[str, Any]] = {
    **{event_type: {"change": CHANGE} for event_type in TRIGGERS if payload_objects_of(event_type) == (CHANGE_PART,)},
    events.COMMENT_CREATED: {"comment": COMMENT},
    events.COMMENT_MENTIONED: {"comment": {**COMMENT, "body": f"@alice, {COMMENT['body']}"}},
    events.REVIEW_SUBMITTED: {"review": REVIEW},
    events.REVIEW_REQUESTED: {"request": {"reviewers": ["alice"]}, "change": CHANGE},
    events.SYNC_FAILING: {"source": SOURCE},
    events.STATUS_DEAD: {"status": STATUS},
}
# The topics of events that are not about a change list.
TOPICS = {events.SYNC_FAILING: "forge:github", events.STATUS_DEAD: "status:github/acme/monorepo"}
REASONS = {
    events.COMMENT_MENTIONED: Reason.MENTIONED,
    events.REVIEW_REQUESTED: Reason.REQUESTED,
    **dict.fromkeys(events.FOR_OPERATORS, Reason.OPERATOR),
}


class NoSample(NotifyError):
    """There is no sample of this event type."""


def email(event_type: str, *, host: str, to_email: str = "alice@example.com", locale: str | None = None) -> EmailFacts:
    """A sample email about an event of this type, as a reviewer or an operator gets it."""
    if event_type not in PAYLOADS:
        raise NoSample(given=event_type, known=", ".join(sorted(PAYLOADS)))
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
        payload=PAYLOADS[event_type],
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
