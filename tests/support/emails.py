"""Sample emails; a test states only the facts that it is about."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from notify.channels.email.writing.compose import Composer
from notify.channels.links import SignedLinks
from notify.domain.audience import Reason
from notify.domain.claims import Claim
from notify.domain.events import COMMENT_CREATED, ChangeList, Event
from notify.domain.jobs import EmailFacts, Job, Notification
from notify.domain.preferences import NO_PREFERENCES, Person
from notify.domain.threads import message_id

HOST = "review.example"
SECRET = "a secret of at least thirty-two characters"
NOON = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)

DANA = Person(username="dana", email="dana@example.com", display_name="Dana Reyes")
ALICE = Person(username="alice", email="alice@example.com", display_name="Alice Moore")
CHANGE_LIST = ChangeList(
    link="CL-4821",
    title="Cap the upload retry",
    url="https://review.example/CL-4821",
    repository="monorepo",
    author="alice",
    reviewers=("bob", "dana"),
)
COMMENT = {
    "id": "c8731",
    "url": "https://review.example/CL-4821#c8731",
    "path": "src/upload/retry.py",
    "line": 42,
    "code": "delay = base * 2 ** n",
    "body": "The jitter has to come after the cap, otherwise the upper half of the range is lost.",
}


def links() -> SignedLinks:
    return SignedLinks(secrets=[SECRET], public_url="https://notify.example")


def composer(*, mail_from: str = "notify@example.com", templates_dir: Path | None = None) -> Composer:
    """A composer with a working configuration."""
    return Composer(mail_from=mail_from, mail_from_name="Review", links=links(), templates_dir=templates_dir)


def email_facts(
    number: int = 1,
    *,
    to: str = "alice@example.com",
    comment: Mapping[str, Any] | None = None,
    recipient: Person = ALICE,
    actor: Person = DANA,
    change_list: ChangeList = CHANGE_LIST,
    reason: Reason = Reason.AUTHOR,
    event_type: str = COMMENT_CREATED,
) -> EmailFacts:
    """
    The facts of an email to Alice about Dana's comment on her change list.

    Args:
        number: Differs for emails about different events.
        comment: Fields that replace those of the sample comment.
    """
    key = f"comment-{number}"
    return EmailFacts(
        claim=Claim(id=number, attempt=1, failures=0, max_failures=12, lapses=0),
        message_id=message_id(change_list.link, event_key=key, username=recipient.username, host=HOST),
        event=Event(
            id=number,
            key=key,
            type=event_type,
            topic=change_list.link,
            actor=actor.username,
            occurred_at=NOON,
            payload={"comment": {**COMMENT, **(comment or {})}},
        ),
        change_list=change_list,
        actor=actor,
        recipient=replace(recipient, email=to),
        to_email=to,
        reason=reason,
    )


def job_of(written: EmailFacts) -> Job:
    """The claimed job of this email."""
    event = written.event
    told = Notification(
        id=event.id,
        type_code=event.type,
        reason=written.reason,
        event=event,
        event_type=None,
        change_list=written.change_list,
        actor=written.actor,
    )
    return Job(
        claim=written.claim,
        username=written.recipient.username,
        to_email=written.to_email,
        message_id=written.message_id,
        expired=False,
        person=written.recipient,
        preferences=NO_PREFERENCES,
        notifications=(told,),
    )
