"""A change list is one conversation in every mail client, whatever happens on it, in any order of arrival."""

from base64 import b64decode
from collections.abc import Sequence
from dataclasses import replace
from email.message import EmailMessage
from itertools import permutations

import pytest

from notify.cli import sample
from notify.domain.events import COMMENT_CREATED, ChangeList, is_about_change_list
from notify.domain.jobs import EmailFacts
from notify.domain.threads import message_id, root_id
from tests.support.conversations import conversations, trees
from tests.support.emails import HOST, NOON, composer
from tests.support.messages import parsed

HERE = ChangeList(link="CL-4821", title="Cap the upload retry", repository="monorepo")
THERE = ChangeList(link="team/retries #7 <ü>", title="Cap the upload retry of others", repository="monorepo")
COMPOSER = composer()


def email_facts(
    event_type: str, change_list: ChangeList, *, number: int, locale: str = "en", replay: int = 0
) -> EmailFacts:
    made = sample.email(event_type, host=HOST, locale=locale)
    key = f"{event_type}-{number}"
    name = message_id(change_list.link, event_key=key, username="alice", host=HOST, replay=replay)
    event = replace(made.event, id=number, key=key, topic=change_list.link)
    return replace(made, event=event, change_list=change_list, message_id=name)


def received(one: EmailFacts) -> EmailMessage:
    return parsed(COMPOSER.compose(one, date=NOON).content)


def everything_about(change_list: ChangeList) -> list[EmailMessage]:
    """An email of every type, one of them in another language, and one replayed by hand."""
    types = [one for one in sample.PAYLOADS if is_about_change_list(one)]
    emails = [email_facts(one, change_list, number=number) for number, one in enumerate(types)]
    emails.append(email_facts(types[0], change_list, number=90, locale="de"))
    emails.append(email_facts(types[0], change_list, number=0, replay=1))
    return [received(one) for one in emails]


def names(messages: Sequence[EmailMessage]) -> set[str]:
    return {str(message["Message-ID"]) for message in messages}


@pytest.mark.parametrize("backwards", [False, True])
def test_two_change_lists_are_two_conversations(backwards: bool) -> None:
    here, there = everything_about(HERE), everything_about(THERE)
    mixed = [message for pair in zip(here, there, strict=True) for message in pair]
    found = conversations(reversed(mixed) if backwards else mixed)
    assert sorted(map(names, found), key=sorted) == sorted([names(here), names(there)], key=sorted)
    assert trees(mixed) == 2


def test_another_title_or_repository_changes_the_body_and_not_the_subject() -> None:
    renamed = replace(
        HERE, title="Cap all retries", repository="archive", first_title=HERE.title, first_repository=HERE.repository
    )
    before, after = email_facts(COMMENT_CREATED, HERE, number=1), email_facts(COMMENT_CREATED, renamed, number=2)
    bundle = replace(after, entries=(before, after))
    messages = [received(one) for one in (before, after, bundle)]
    for header in ("Subject", "Thread-Topic", "Thread-Index", "References"):
        assert len({str(message[header]) for message in messages}) == 1
    assert str(messages[1]["Subject"]) == "[monorepo] Cap the upload retry (CL-4821)"
    for message in messages[1:]:
        for part in message.iter_parts():
            assert "Cap all retries" in part.get_content()


def test_the_order_of_arrival_makes_no_difference() -> None:
    some = everything_about(HERE)[:4]
    assert all(trees(order) == 1 for order in permutations(some))


def test_the_first_email_names_the_root_so_that_the_second_finds_it() -> None:
    root = f"<{root_id('CL-4821', host=HOST)}>"
    for message in everything_about(HERE):
        assert str(message["References"]).split()[0] == str(message["In-Reply-To"]) == root
    assert all(trees([one, other]) == 1 for one, other in permutations(everything_about(HERE)[:3], 2))


def test_a_reply_stays_in_the_conversation() -> None:
    emails = everything_about(HERE)
    reply = EmailMessage()
    reply["Message-ID"] = "<reply@example.com>"
    reply["Subject"] = f"Re: {emails[3]['Subject']}"
    reply["In-Reply-To"] = str(emails[3]["Message-ID"])
    reply["References"] = f"{emails[3]['References']} {emails[3]['Message-ID']}"
    assert trees([reply, *emails]) == 1
    assert [len(found) for found in conversations([reply, *emails])] == [len(emails) + 1]


def test_outlook_and_gmail_see_one_subject_and_one_thread_index() -> None:
    emails = everything_about(HERE)
    for header in ("Subject", "Thread-Topic", "Thread-Index"):
        assert len({str(message[header]) for message in emails}) == 1
    assert len(b64decode(str(emails[0]["Thread-Index"]))) == 22
    assert str(emails[0]["Thread-Index"]) != str(everything_about(THERE)[0]["Thread-Index"])


def test_every_email_parses_without_a_defect_and_has_its_own_message_id() -> None:
    emails = [*everything_about(HERE), *everything_about(THERE)]
    assert len(names(emails)) == len(emails)
    for message in emails:
        assert [defect for part in message.walk() for defect in part.defects] == []
        assert [field.defects for field in message.values() if getattr(field, "defects", ())] == []
