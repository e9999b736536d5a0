"""Emails as the composer receives and writes them, without a database."""

from notify.domain.jobs import EmailFacts
from notify.domain.preferences import Person
from tests.benchmarks import comment_bodies
from tests.benchmarks.workload import address, username
from tests.support.emails import NOON, composer, email_facts


def email_to(event: int, reader: int) -> EmailFacts:
    """An email about one of many events to one of many people."""
    name = username(reader)
    recipient = Person(username=name, display_name=name.title())
    return email_facts(event, to=address(name), recipient=recipient, comment={"body": comment_bodies.body(event)})


def ready_bytes() -> bytes:
    """A composed email of the average size."""
    return composer().compose(email_to(comment_bodies.TYPICAL, 1), date=NOON).content
