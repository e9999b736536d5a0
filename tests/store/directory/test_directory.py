"""The directory as fan-out, delivery and the API use it."""

from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection, event, func, select

from notify.domain.events import ChangeList
from notify.domain.preferences import Person
from notify.store.directory import directory
from notify.store.directory.directory import AddressRefusal, RefusedAddress, State
from notify.store.tables.people import cl_reviewers, people

DANA = Person(
    username="dana",
    email="dana@example.com",
    display_name="Dana Reyes",
    locale="en",
    timezone="Europe/Berlin",
    is_bot=True,
    active=False,
)
CL = ChangeList(
    link="CL-1", title="Cap it", url="https://r.example/1", repository="mono", author="dana", reviewers=("alice", "bob")
)


def test_people_are_found_by_username_and_unknown_ones_are_absent(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    directory.put_person(connection, Person(username="alice"))

    assert directory.people(connection, ["dana", "alice", "nobody"]) == {
        "dana": DANA,
        "alice": Person(username="alice"),
    }
    assert directory.people(connection, []) == {}
    assert directory.person(connection, "nobody") is None


def test_change_lists_are_found_with_their_reviewers_in_order(connection: Connection) -> None:
    lonely = ChangeList(link="CL-2")
    directory.put_change_list(connection, CL)
    directory.put_change_list(connection, lonely)

    assert directory.change_lists(connection, ["CL-2", "CL-1", "CL-3"]) == {"CL-1": CL, "CL-2": lonely}
    assert directory.change_list(connection, "CL-3") is None


def test_loading_any_number_of_people_or_change_lists_takes_one_statement(connection: Connection) -> None:
    for number in range(20):
        directory.put_change_list(connection, ChangeList(link=f"CL-{number}", reviewers=(f"r{number}",)))
    statements: list[object] = []
    event.listen(connection, "before_cursor_execute", lambda *call: statements.append(call[2]))

    assert len(directory.change_lists(connection, [f"CL-{number}" for number in range(20)])) == 20
    assert len(directory.people(connection, [f"r{number}" for number in range(20)])) == 0
    assert len(statements) == 2


def test_putting_a_change_list_replaces_what_was_known_about_it(connection: Connection) -> None:
    directory.put_change_list(connection, CL, state=State.MERGED)
    assert directory.state(connection, "CL-1") is State.MERGED

    directory.put_change_list(connection, ChangeList(link="CL-1", reviewers=("carol", "bob", "carol")))

    assert directory.change_list(connection, "CL-1") == ChangeList(
        link="CL-1", reviewers=("bob", "carol"), first_title=CL.title, first_repository=CL.repository
    )
    assert directory.state(connection, "CL-1") is State.OPEN
    assert directory.state(connection, "CL-3") is None


def test_the_last_reviewer_can_be_removed_and_other_change_lists_keep_theirs(connection: Connection) -> None:
    directory.put_change_list(connection, CL)
    directory.put_change_list(connection, ChangeList(link="CL-2", reviewers=("alice",)))

    directory.put_change_list(connection, ChangeList(link="CL-1"))

    assert connection.execute(select(cl_reviewers)).all() == [("CL-2", "alice")]


def test_a_refused_address_is_recorded_for_the_people_it_was_refused_for(connection: Connection) -> None:
    for name in ("alice", "bob", "dana"):
        directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))

    directory.mark_undeliverable(
        connection,
        [
            RefusedAddress("dana", "dana@example.com", "550 5.1.1 unknown"),
            RefusedAddress("alice", "alice@home.example", "550 5.1.1 unknown"),
            RefusedAddress("nobody", "nobody@example.com", "550 5.1.1 unknown"),
        ],
    )

    known = directory.people(connection, ["alice", "bob", "dana", "nobody"])
    assert {name: person.undeliverable_email for name, person in known.items()} == {
        "alice": "alice@home.example",
        "bob": None,
        "dana": "dana@example.com",
    }


def test_a_refused_address_is_remembered_until_it_is_cleared(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", "550")])
    directory.put_person(connection, DANA)
    assert connection.scalar(select(people.c.undeliverable_reply)) == "550"

    directory.clear_undeliverable(connection, "dana")

    assert directory.person(connection, "dana") == DANA


def test_the_refusal_is_shown_only_while_the_refused_address_is_the_persons_address(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    assert directory.undeliverable(connection, "dana", chosen_email=None) is None
    directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", "550 5.1.1 unknown")])

    found = directory.undeliverable(connection, "dana", chosen_email=None)

    assert found == AddressRefusal(email="dana@example.com", at=now(connection), reply="550 5.1.1 unknown")
    assert directory.undeliverable(connection, "dana", chosen_email="dana@example.com") == found
    assert directory.undeliverable(connection, "dana", chosen_email="dana@home.example") is None
    directory.put_person(connection, replace(DANA, email="dana@new.example"))
    assert directory.undeliverable(connection, "dana", chosen_email=None) is None
    assert directory.undeliverable(connection, "nobody", chosen_email=None) is None


def now(connection: Connection) -> datetime:
    """The instant of this transaction."""
    instant: datetime = connection.execute(select(func.now())).scalar_one()
    return instant


def test_a_refusal_without_text_is_not_shown_as_an_empty_quotation(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", "")])

    found = directory.undeliverable(connection, "dana", chosen_email=None)

    assert found is not None
    assert found.reply is None


def test_clearing_a_refusal_says_whether_there_was_one(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    assert not directory.clear_undeliverable(connection, "dana")
    directory.mark_undeliverable(connection, [RefusedAddress("dana", "dana@example.com", "550")])
    assert directory.clear_undeliverable(connection, "dana")
    assert not directory.clear_undeliverable(connection, "dana")


def test_recording_no_refusals_does_nothing(connection: Connection) -> None:
    directory.put_person(connection, DANA)
    directory.mark_undeliverable(connection, [])

    assert directory.person(connection, "dana") == DANA
