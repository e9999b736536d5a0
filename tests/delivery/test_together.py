"""First now, then together: what is said on a change list soon after a letter leaves as one letter, in order."""

from collections.abc import Sequence
from datetime import timedelta
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import update

from notify import wiring
from notify.domain.preferences import Person
from notify.domain.stages import DELIVER
from notify.domain.together import Group
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store import by_hand, directory, groups, items, outbox, preferences
from notify.store.by_hand import Action
from notify.store.database import Database
from notify.store.jobs import JobView
from notify.store.tables import email_jobs, notification_event_types
from notify.store.which import Which
from tests.support import rows
from tests.support.office import Office, comment
from tests.support.race import all_at_once, blocked_session, meanwhile
from tests.support.smtp import DOT, MAIL, RCPT, ScriptedRelay
from tests.support.statements import statements

TALKERS = ("bob", "carol", "dana")
WINDOW_ENDS = "UPDATE notify.work_items SET due_at = now() WHERE stage = 'deliver' AND lane < 8"
LEASES_END = "UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane = 8"
OWN_ITEMS = "SELECT id FROM notify.work_items WHERE stage = 'deliver'"


@pytest.fixture
def office(database: Database, relay: ScriptedRelay) -> Office:
    """A worker that lets letters wait for each other."""
    with database.begin() as connection:
        for name in ("alice", *TALKERS):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return Office(database, relay.url, {"together_seconds": 180})


def said(office: Office, *numbers: int, link: str = "CL-1") -> None:
    """Somebody says these on a change list of alice's, one after the other, and it is fanned out."""
    tell(office, *numbers, link=link)
    office.fan_out()


def tell(office: Office, *numbers: int, link: str = "CL-1") -> None:
    """Somebody says these."""
    for number in numbers:
        event = comment(key=f"k{number}", link=link, actor=TALKERS[number % len(TALKERS)], reviewers=())
        event |= {"comment": {"id": str(number), "body": f"Word {number}.", "url": f"https://x.example/{number}"}}
        event["cl"] |= {"author": "alice"}
        with office.database.begin() as connection:
            receive(connection, [parse(event)])


def held(office: Office, *, count: int = 4) -> list[JobView]:
    """The first letter is out, and so many more wait as one; their rows, the leader first."""
    said(office, 0)
    office.drain()
    said(office, *range(1, count + 1))
    return [row for number in range(1, count + 1) for row in office.jobs(f"k{number}")]


def arrived(relay: ScriptedRelay) -> list[EmailMessage]:
    """The letters that the relay took, as the standard library reads them."""
    return [BytesParser(EmailMessage, policy=policy.SMTP).parsebytes(one.content) for one in relay.letters]


def words(letter: EmailMessage) -> list[int]:
    """The numbers of what was said, in the order of the letter."""
    part = letter.get_body(("plain",))
    assert part is not None
    return [int(line.split()[2].strip(".")) for line in part.get_content().splitlines() if line.startswith("> Word")]


def told(relay: ScriptedRelay) -> list[list[int]]:
    return [words(letter) for letter in arrived(relay)]


def states(office: Office, numbers: Sequence[int]) -> list[str]:
    return [row.status for number in numbers for row in office.jobs(f"k{number}")]


def test_the_first_goes_at_once_and_the_others_leave_as_one_in_order(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    assert told(relay) == [[0]]
    office.drain()
    assert told(relay) == [[0]]
    office.now(WINDOW_ENDS)
    report = office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert (report["claimed"], report["sent"]) == (1, 1)
    assert states(office, range(5)) == ["sent"] * 5


def test_each_entry_has_its_author_and_its_link_in_text_and_html(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    office.drain()
    letter = arrived(relay)[-1]
    for kind in ("plain", "html"):
        part = letter.get_body((kind,))
        assert part is not None
        content = part.get_content()
        places = [content.index(f"https://x.example/{number}") for number in range(1, 5)]
        assert places == sorted(places)
        assert [content.count(f"{name}") >= 1 for name in TALKERS] == [True] * 3
    assert letter["Subject"] == arrived(relay)[0]["Subject"]
    assert letter["References"] == arrived(relay)[0]["References"]
    assert letter["From"].addresses[0].display_name == "carol, dana, bob via Review"
    assert letter["X-Notify-Actor"] == "carol, dana, bob"
    assert letter.defects == []


def test_what_was_fanned_out_late_stands_where_it_happened(office: Office, relay: ScriptedRelay) -> None:
    said(office, 0)
    office.drain()
    tell(office, 1, 2, 3)
    office.now("UPDATE notify.work_items SET due_at = now() + interval '1 hour', failures = 1 WHERE stage = 'fan_out'")
    office.fan_out()
    office.now("UPDATE notify.work_items SET due_at = now() WHERE stage = 'fan_out'")
    office.fan_out()
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3]]


def test_a_letter_bears_the_message_id_of_its_leader(office: Office, relay: ScriptedRelay) -> None:
    leader, *others = held(office)
    office.now(WINDOW_ENDS)
    office.drain()
    assert arrived(relay)[-1]["Message-ID"] == f"<{leader.message_id}>"
    assert [row.leader_id for row in others] == [leader.id] * 3


def test_after_the_window_the_next_goes_at_once_again(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    office.drain()
    office.now("UPDATE notify.letter_groups SET last_at = now() - interval '181 s'")
    said(office, 7)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4], [7]]


def test_what_comes_right_after_a_letter_of_several_waits_a_window_more(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    office.drain()
    said(office, 8, 9)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    (wait,) = office.now(
        "SELECT due_at - (SELECT last_at FROM notify.letter_groups) FROM jobs"
        " WHERE status = 'pending' AND leader_id IS NULL"
    )
    assert wait[0].total_seconds() == 0


def test_other_change_lists_and_other_people_wait_for_nobody(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    said(office, 5, link="CL-2")
    office.drain()
    assert told(relay) == [[0], [5]]


@pytest.mark.parametrize(
    "facts", [{"together_within": timedelta(0)}, {"system_required": True}], ids=["never together", "required"]
)
def test_what_must_not_wait_goes_at_once(office: Office, relay: ScriptedRelay, facts: dict[str, Any]) -> None:
    with office.database.begin() as connection:
        connection.execute(update(notification_event_types).values(**facts))
    said(office, 0, 1)
    office.drain()
    assert sorted(told(relay)) == [[0], [1]]


def test_nobody_joins_a_letter_that_somebody_has_claimed(office: Office, relay: ScriptedRelay) -> None:
    held(office, count=2)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        (letter,) = outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4())
    said(office, 3, 4)
    assert [row.leader_id for row in office.jobs("k3")] == [None]
    with office.database.begin() as connection:
        items.settle(connection, DELIVER, [items.released(letter.claim)])
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(told(relay)) == [[0], [1, 2], [3, 4]]


def test_a_letter_of_several_is_one_of_those_that_a_claim_may_take(office: Office) -> None:
    held(office, count=5)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        (letter,) = outbox.claim(connection, limit=1, lease=timedelta(minutes=1), worker=uuid4())
    assert [row.cl_link for row in letter.followers] == ["CL-1"] * 4
    assert states(office, range(1, 6)) == ["sending"] * 5
    with office.database.begin() as connection:
        assert outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4()) == []


def test_letters_are_claimed_with_two_statements_however_many_events_they_tell_of(office: Office) -> None:
    costs = []
    for numbers in ((0,), (1, 2), (3, 4, 5, 6)):
        said(office, *numbers)
        office.now(WINDOW_ENDS)
        with statements(office.database) as sent, office.database.begin() as connection:
            outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4())
        costs.append(len(sent))
    assert costs == [2, 2, 2]


def test_a_refusal_is_written_to_every_row_and_the_letter_comes_again_whole(
    office: Office, relay: ScriptedRelay
) -> None:
    rows = held(office)
    office.now(WINDOW_ENDS)
    relay.answers[MAIL] = "451 4.3.0 later"
    office.drain()
    assert [(row.status, row.failures, row.attempt) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [
        ("pending", 1, 1)
    ] * 4
    assert office.now(OWN_ITEMS) == [(rows[0].id,)]
    del relay.answers[MAIL]
    said(office, 5)
    office.now(WINDOW_ENDS)
    office.drain()
    assert sorted(told(relay)) == [[0], [1, 2, 3, 4], [5]]
    assert f"<{rows[0].message_id}>" in {letter["Message-ID"] for letter in arrived(relay)}


def test_a_budget_that_was_raised_for_the_leader_holds_for_its_letter(office: Office, relay: ScriptedRelay) -> None:
    held(office, count=2)
    office.now("UPDATE notify.work_items SET failures = 11, max_failures = 20 WHERE stage = 'deliver'")
    relay.answers[MAIL] = "451 4.3.0 later"
    for _ in range(2):
        office.now(WINDOW_ENDS)
        office.drain()
    assert [(row.status, row.failures) for number in (1, 2) for row in office.jobs(f"k{number}")] == [
        ("pending", 13)
    ] * 2


def test_a_refusal_for_good_ends_every_row(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    office.drain()
    assert states(office, range(1, 5)) == ["dead"] * 4


def test_who_is_not_to_be_told_any_more_leaves_the_letter(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now("UPDATE notify.events SET actor = 'alice' WHERE key IN ('k1', 'k3')")
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2, 4]]
    assert states(office, range(1, 5)) == ["skipped", "sent", "skipped", "sent"]


def test_a_letter_whose_leader_left_keeps_its_message_id_over_the_next_try(
    office: Office, relay: ScriptedRelay
) -> None:
    leader, *_ = held(office)
    office.now("UPDATE notify.events SET actor = 'alice' WHERE key = 'k1'")
    office.now(WINDOW_ENDS)
    relay.drop_at.add(DOT)
    office.drain()
    relay.drop_at.clear()
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2, 3, 4], [2, 3, 4]]
    assert {letter["Message-ID"] for letter in arrived(relay)[1:]} == {f"<{leader.message_id}>"}
    assert states(office, range(1, 5)) == ["skipped", "sent", "sent", "sent"]


def test_where_nobody_is_to_be_told_there_is_no_letter(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    with office.database.begin() as connection:
        preferences.mute(connection, "alice", "CL-1")
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0]]
    assert [row.outcome_reason for number in range(1, 5) for row in office.jobs(f"k{number}")] == ["muted_cl"] * 4


def test_where_one_is_left_the_letter_is_an_ordinary_one(office: Office, relay: ScriptedRelay) -> None:
    held(office, count=2)
    office.now("UPDATE notify.events SET actor = 'alice' WHERE key = 'k1'")
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [2]]
    assert "messages on" not in arrived(relay)[1].get_body(("plain",)).get_content()  # type: ignore[union-attr]


def test_a_letter_whose_worker_vanished_comes_again_whole_with_each_row_counted(
    office: Office, relay: ScriptedRelay
) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4())
    office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]
    assert [(row.lapses, row.attempt) for number in range(1, 5) for row in office.jobs(f"k{number}")] == [(1, 2)] * 4
    assert office.now("SELECT sum(count) FROM notify.delivery_stats WHERE outcome = 'lapse'") == [(4,)]


def test_a_letter_that_has_outlived_three_workers_is_dead_whole(office: Office, relay: ScriptedRelay) -> None:
    held(office)
    office.now(WINDOW_ENDS)
    for _ in range(3):
        with office.database.begin() as connection:
            if not outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4()):
                outbox.claim_lapsed(connection, lease=timedelta(minutes=1), worker=uuid4())
        office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0]]
    assert [row.outcome_reason for number in range(1, 5) for row in office.jobs(f"k{number}")] == ["poison"] * 4


def act(office: Office, action: Action, *ids: int) -> None:
    with office.database.begin() as connection:
        by_hand.act(connection, action, Which(ids=ids), last_id=max(ids), limit=100)


def test_when_the_leader_is_cancelled_the_next_leads_at_the_same_time(office: Office, relay: ScriptedRelay) -> None:
    leader, second, *_ = held(office)
    due_at = office.jobs("k1")[0].due_at
    act(office, Action.CANCEL, leader.id, second.id)
    assert [(row.due_at, row.leader_id) for row in office.jobs("k3")] == [(due_at, None)]
    office.drain()
    assert told(relay) == [[0]]
    office.now(WINDOW_ENDS)
    office.drain()
    assert told(relay) == [[0], [3, 4]]
    assert states(office, range(1, 5)) == ["cancelled", "cancelled", "sent", "sent"]


def test_when_a_leader_is_cancelled_on_its_way_nobody_on_its_letter_is_forgotten(
    office: Office, relay: ScriptedRelay
) -> None:
    leader, *_ = held(office)
    office.now(WINDOW_ENDS)
    with office.database.begin() as connection:
        outbox.claim(connection, limit=10, lease=timedelta(minutes=1), worker=uuid4())
    act(office, Action.CANCEL, leader.id)
    office.now(LEASES_END)
    office.drain()
    assert told(relay) == [[0], [2, 3, 4]]
    assert states(office, range(1, 5)) == ["cancelled", "sent", "sent", "sent"]


def test_who_joins_while_the_leader_is_cancelled_is_not_forgotten(office: Office) -> None:
    leader, *_ = held(office, count=2)
    with office.database.engine.connect() as fan_out:
        groups.lock(fan_out, {Group("alice", "CL-1")})
        with meanwhile(act, office, Action.CANCEL, leader.id) as cancelling:
            blocked_session(office.database)
            late = rows.letter(
                fan_out,
                event_id=rows.event(fan_out, payload={"comment": {"body": "Late."}}, **rows.ended("done")),
                leader_id=leader.id,
                carried_as=leader.message_id,
            )
            fan_out.commit()
            cancelling.result()
    office.now(WINDOW_ENDS)
    office.drain()
    assert rows.row(office.database, email_jobs, late)["status"] == "sent"


def test_to_make_one_of_them_due_by_hand_is_to_make_the_letter_due(office: Office, relay: ScriptedRelay) -> None:
    *_, last = held(office)
    act(office, Action.RETRY, last.id)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4]]


def test_a_dead_letter_of_several_is_retried_whole_or_one_by_itself(office: Office, relay: ScriptedRelay) -> None:
    first, *others = held(office)
    office.now(WINDOW_ENDS)
    relay.answers[RCPT] = "550 5.4.4 no"
    office.drain()
    del relay.answers[RCPT]
    act(office, Action.RETRY, others[-1].id)
    office.drain()
    act(office, Action.RETRY, first.id, *(row.id for row in others[:-1]))
    office.drain()
    assert told(relay) == [[0], [4], [1, 2, 3]]
    assert [letter["Message-ID"] for letter in arrived(relay)[1:]] == [
        f"<{others[-1].message_id}>",
        f"<{first.message_id}>",
    ]


def test_a_replay_of_one_of_them_goes_alone_and_at_once(office: Office, relay: ScriptedRelay) -> None:
    *_, last = held(office)
    office.now(WINDOW_ENDS)
    office.drain()
    act(office, Action.REPLAY, last.id)
    office.drain()
    assert told(relay) == [[0], [1, 2, 3, 4], [4]]
    assert len({letter["Message-ID"] for letter in arrived(relay)}) == 3


def test_life_begins_when_a_letter_may_go(office: Office) -> None:
    office.now("UPDATE notify.notification_event_types SET expires_after = '1 minute'")
    held(office)
    assert office.now(
        "SELECT DISTINCT expires_at - (SELECT last_at FROM notify.letter_groups)"
        " FROM notify.email_jobs WHERE status = 'pending'"
    ) == [(timedelta(minutes=1),)]


def test_what_another_version_left_behind_goes_by_itself(office: Office, relay: ScriptedRelay) -> None:
    held(office, count=3)
    office.now("DELETE FROM notify.work_items WHERE stage = 'deliver'")
    office.now(
        "UPDATE notify.email_jobs SET status = 'sent', finished_at = now()"
        " WHERE status = 'pending' AND leader_id IS NULL"
    )
    with office.database.begin() as connection:
        assert groups.free_orphans(connection) == 2
        assert groups.free_orphans(connection) == 0
    office.drain()
    assert sorted(told(relay)) == [[0], [2], [3]]


def test_workers_that_fan_out_at_once_write_one_first_letter_and_one_of_the_others(
    office: Office, relay: ScriptedRelay
) -> None:
    tell(office, *range(40))
    fans = [
        wiring.fan_out(office.settings, office.database, doorbell=office.doorbell, worker=uuid4()) for _ in range(3)
    ]
    for fan in fans:
        fan._batch = 3  # noqa: SLF001 - small batches, so that they interleave
    all_at_once([fan.drain for fan in fans])
    office.fan_out()  # as the next sweep does, where each has stood aside for another
    office.drain()
    office.now(WINDOW_ENDS)
    office.drain()
    letters = told(relay)
    assert len(letters) == 2
    assert sorted(number for letter in letters for number in letter) == list(range(40))


def test_an_event_fanned_out_again_joins_nothing_and_leads_nothing(office: Office, relay: ScriptedRelay) -> None:
    held(office, count=2)
    for _ in range(2):
        office.now(rows.FAN_OUT_AGAIN)
        office.fan_out()
        assert office.now("SELECT DISTINCT status FROM notify.events") == [("done",)]
        office.now(WINDOW_ENDS)
        office.drain()
    assert told(relay) == [[0], [1, 2]]


def test_who_writes_to_a_person_about_a_change_list_waits_for_the_other_who_does(office: Office) -> None:
    said(office, 0)
    tell(office, 1)
    with office.database.engine.connect() as other:
        groups.lock(other, {Group("alice", "CL-1")})
        with meanwhile(office.fan_out) as fanning_out:
            assert blocked_session(office.database)
            other.commit()
            fanning_out.result()
    assert states(office, [1]) == ["pending"]


def test_those_that_wait_cost_the_same_number_of_statements_however_many(office: Office) -> None:
    said(office, 0)
    costs = []
    for numbers in (range(1, 3), range(3, 30)):
        tell(office, *numbers)
        with statements(office.database) as sent:
            office.fan_out()
        costs.append(len(sent))
    assert costs[0] == costs[1] + 1  # the first of all leads, and is written by itself
