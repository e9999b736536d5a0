"""Sample emails about several events: a bundle of comments, and a daily digest."""

from dataclasses import replace
from datetime import datetime, timedelta

from notify.cli.sample import COMMENT, email
from notify.domain.events import COMMENT_CREATED, HEAD_BROKEN
from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from notify.domain.schedule import DeferredBy

TALK = (
    (Person(username="dana", display_name="Dana Reyes"), COMMENT),
    (
        Person(username="carol", display_name="Carol Nguyễn"),
        {
            "id": "8733",
            "body": "Right; and the *last* retry should say that it is the last.",
            "url": "https://review.example/CL-4821#c8733",
        },
    ),
    (
        Person(username="omar", display_name="عمر الخطيب"),
        {
            "id": "8734",
            "body": "أوافق، لكن أين الاختبار؟",
            "url": "https://review.example/CL-4821#c8734",
            "path": "tests/test_retry.py",
        },
    ),
)


def bundle(*, host: str, at: datetime, locale: str | None = None) -> EmailFacts:
    """A bundle of several comments, a minute apart and the last at this instant, to a reader in Berlin."""
    entries = []
    for before, (actor, comment) in zip(reversed(range(len(TALK))), TALK, strict=True):
        made = email(COMMENT_CREATED, host=host, locale=locale)
        event = replace(made.event, actor=actor.username, payload={"comment": comment})
        event = replace(event, occurred_at=at - timedelta(minutes=before))
        reader = replace(made.recipient, timezone="Europe/Berlin")
        entries.append(replace(made, event=event, actor=actor, recipient=reader))
    return replace(entries[0], entries=tuple(entries))


def digest(*, host: str, at: datetime, locale: str | None = None) -> EmailFacts:
    """A daily digest of several comments on two change lists, and of a broken head."""
    made = bundle(host=host, at=at, locale=locale)
    elsewhere = replace(made.change_list, link="CL-4790", title="Retire the old uploader", url=None)
    entries = tuple(
        replace(one, change_list=elsewhere, event=replace(one.event, topic=elsewhere.link)) if number == 1 else one
        for number, one in enumerate(made.entries)
    )
    broken = email(HEAD_BROKEN, host=host, locale=locale)
    broken = replace(broken, event=replace(broken.event, occurred_at=at), recipient=made.recipient)
    return replace(made, entries=(*entries, broken), deferred_by=DeferredBy.DAILY)
