"""Receiving events: once for each key, in the caller's transaction, and what the directory learns from them."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import func, null, select, update

from notify.domain.claims import Lane
from notify.domain.errors import MalformedEvent, UnsupportedConnection
from notify.domain.events import ChangeList
from notify.domain.stages import FAN_OUT
from notify.intake.receive import receive
from notify.intake.schema import EventIn, parse
from notify.store.connection_kinds import Caller
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.outbox.events import Receipt
from notify.store.tables.emails import events
from notify.store.tables.people import change_lists, cl_reviewers, notification_event_types
from tests.support import applications, rows
from tests.support.race import blocked_session, meanwhile
from tests.support.servers import in_words
from tests.support.statements import statements

CL = {"link": "CL-1", "title": "Cap the retry", "repository": "monorepo", "author": "alice", "reviewers": ["bob"]}


def comment(key: str | None = "k1", *, cl: dict[str, Any] | None = None, **changes: Any) -> EventIn:
    """Dana's comment on CL-1."""
    event: dict[str, Any] = {
        "type": "cl.comment.created",
        "actor": "dana",
        "cl": CL if cl is None else {"link": "CL-1", **cl},
        "comment": {"id": "1", "body": "Why?"},
        **changes,
    }
    return parse(event if key is None else {**event, "key": key})


@pytest.fixture(params=list(applications.EVERY.values()), ids=list(applications.EVERY))
def caller(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """An application's connection to the empty database."""
    with request.param(in_words(database.engine.url)) as opened:
        yield opened


@pytest.fixture(params=list(applications.TRANSACTIONAL.values()), ids=list(applications.TRANSACTIONAL))
def transaction(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """The same, without those in autocommit mode."""
    with request.param(in_words(database.engine.url)) as opened:
        yield opened


@pytest.fixture(params=list(applications.ONE_OF_EACH.values()), ids=list(applications.ONE_OF_EACH))
def two_callers(request: pytest.FixtureRequest, database: Database) -> Iterator[tuple[Caller, Caller]]:
    """Two connections of one kind."""
    url = in_words(database.engine.url)
    with request.param(url) as first, request.param(url) as second:
        yield first, second


def store(database: Database, *given: EventIn) -> list[Receipt]:
    with database.begin() as connection:
        return receive(connection, given)


def keys(database: Database) -> list[str]:
    with database.begin() as connection:
        return list(connection.scalars(select(events.c.key).order_by(events.c.id)))


def known(database: Database, link: str = "CL-1") -> ChangeList | None:
    with database.begin() as connection:
        return directory.change_list(connection, link)


def test_a_committed_event_is_stored_with_all_its_fields(caller: Caller, database: Database) -> None:
    when = datetime(2026, 3, 2, 12, 0, tzinfo=UTC)
    (receipt,) = receive(caller, [comment(occurred_at=when)])
    caller.commit()
    assert (receipt.key, receipt.duplicate) == ("k1", False)
    found = rows.row(database, events, receipt.id)
    assert (found["key"], found["type"], found["topic"]) == ("k1", "cl.comment.created", "CL-1")
    assert (found["actor"], found["occurred_at"]) == ("dana", when)
    assert found["payload"] == {"comment": {"id": "1", "body": "Why?"}}
    assert found["status"] == "pending"
    item = rows.item_of(database, FAN_OUT, receipt.id)
    assert item is not None
    assert (item["lane"], item["attempt"], item["order_key"]) == (Lane.NORMAL, 0, "CL-1")
    assert known(database) == ChangeList(
        link="CL-1", title="Cap the retry", repository="monorepo", author="alice", reviewers=("bob",)
    )


def test_the_same_key_again_is_the_same_event(caller: Caller, database: Database) -> None:
    (first,) = receive(caller, [comment()])
    (again,) = receive(caller, [comment()])
    caller.commit()
    (later,) = receive(caller, [comment(actor="somebody else", cl={"title": "Other"})])
    caller.commit()
    assert again == Receipt(id=first.id, key="k1", duplicate=True)
    changed = ("actor", "cl.author", "cl.repository", "cl.reviewers", "cl.title")
    assert later == Receipt(id=first.id, key="k1", duplicate=True, differs=changed)
    assert keys(database) == ["k1"]


@pytest.mark.parametrize("written", ["2026-03-02T12:00:00Z", "2026-03-02T13:00:00.000+01:00"])
def test_the_same_event_with_another_spelling_of_instants_and_names_is_a_duplicate(
    database: Database, written: str
) -> None:
    names = [["bob", "carol"], ["carol", "bob", "bob"]]
    for reviewers in names:
        store(database, comment(cl={"reviewers": reviewers}, occurred_at="2026-03-02T12:00:00+00:00"))
    (receipt,) = store(database, comment(cl={"reviewers": names[0]}, occurred_at=written))
    assert (receipt.duplicate, receipt.differs) == (True, ())


@pytest.mark.parametrize("changed", [{"key_hash": null()}, {"payload": {}, "emptied_at": func.now()}])
def test_fields_that_were_pruned_make_no_difference_to_a_duplicate(database: Database, changed: dict[str, Any]) -> None:
    """Stored before there were digests, or pruned since: the digests of pruned events are kept."""
    store(database, comment())
    with database.begin() as connection:
        ended = {"status": "done", "finished_at": func.now()}
        connection.execute(update(events).values(**(ended | changed)))
    (receipt,) = store(database, comment())
    assert (receipt.duplicate, receipt.differs) == (True, ())


def test_telling_a_different_event_from_a_duplicate_takes_no_extra_statement(database: Database) -> None:
    store(database, comment())
    with statements(database) as same:
        store(database, comment(), comment("k2"))
    with statements(database) as other:
        store(database, comment(actor="erin"), comment("k3"))
    assert [one.sql for one in same] == [one.sql for one in other]


def test_a_rollback_leaves_nothing(transaction: Caller, database: Database) -> None:
    receive(transaction, [comment()])
    transaction.rollback()
    assert keys(database) == []
    assert known(database) is None


def test_events_without_a_key_are_all_new(caller: Caller, database: Database) -> None:
    receipts = receive(caller, [comment(None), comment(None)])
    caller.commit()
    assert [receipt.duplicate for receipt in receipts] == [False, False]
    assert keys(database) == [receipt.key for receipt in receipts]
    assert len(set(keys(database))) == 2


def test_a_batch_distinguishes_new_events_known_ones_and_its_own_repeats(caller: Caller, database: Database) -> None:
    (old,) = receive(caller, [comment("old")])
    batch = receive(caller, [comment("a"), comment("old"), comment("b"), comment("a", actor="later")])
    caller.commit()
    assert [receipt.key for receipt in batch] == ["a", "old", "b", "a"]
    assert [receipt.duplicate for receipt in batch] == [False, True, False, True]
    assert batch[1].id == old.id
    assert batch[3].id == batch[0].id
    assert [receipt.differs for receipt in batch] == [(), (), (), ("actor",)]
    assert sorted(keys(database)) == ["a", "b", "old"]
    assert rows.row(database, events, batch[0].id)["actor"] == "dana"


def test_an_event_with_every_kind_of_character_is_stored_unchanged(caller: Caller, database: Database) -> None:
    words = {"id": "1", "body": "%s %(key)s :key \\ ' \" $1 {} \u2028 😀 \x1b", "code": "a\tb"}
    (receipt,) = receive(caller, [comment("100% 'k' :k $1 é", comment=words)])
    caller.commit()
    assert rows.row(database, events, receipt.id)["payload"] == {"comment": words}
    assert keys(database) == ["100% 'k' :k $1 é"]


def test_an_empty_batch_stores_nothing(database: Database) -> None:
    assert store(database) == []
    assert keys(database) == []


@pytest.mark.parametrize("caller", [None, "postgresql://db", object()], ids=["None", "text", "object"])
def test_something_that_is_no_connection_is_refused(caller: Any) -> None:
    with pytest.raises(UnsupportedConnection):
        receive(caller, [comment()])


def test_an_event_of_a_required_type_is_urgent(database: Database) -> None:
    with database.begin() as connection:
        connection.execute(update(notification_event_types).values(system_required=True))
    (receipt,) = store(database, comment())
    found = rows.item_of(database, FAN_OUT, receipt.id)
    assert found is not None
    assert (found["lane"], found["order_key"]) == (Lane.URGENT, "urgent CL-1")


FULL = ChangeList(
    link="CL-1", title="One", url="https://x/1", repository="r", author="alice", reviewers=("bob", "carol")
)


@pytest.mark.parametrize(
    ("stated", "changes"),
    [
        ({}, {}),
        ({"title": "Two"}, {"title": "Two", "first_title": FULL.title}),
        (
            {"url": "https://x/2", "repository": "s"},
            {"url": "https://x/2", "repository": "s", "first_repository": FULL.repository},
        ),
        ({"author": "zoe"}, {"author": "zoe"}),
        ({"title": None, "author": None, "reviewers": None}, {}),
        ({"reviewers": ["carol", "dave"]}, {"reviewers": ("carol", "dave")}),
        ({"reviewers": ["dave", "dave"]}, {"reviewers": ("dave",)}),
        ({"reviewers": []}, {"reviewers": ()}),
    ],
    ids=str,
)
def test_given_facts_replace_known_ones_and_absent_ones_stay(
    database: Database, stated: dict[str, Any], changes: dict[str, Any]
) -> None:
    with database.begin() as connection:
        directory.put_change_list(connection, FULL, state=directory.State.MERGED)
    store(database, comment(cl=stated))
    assert known(database) == ChangeList(**{**as_dict(FULL), **changes})
    with database.begin() as connection:
        assert directory.state(connection, "CL-1") == directory.State.MERGED


def as_dict(change_list: ChangeList) -> dict[str, Any]:
    return {name: getattr(change_list, name) for name in ChangeList.__slots__}


def test_within_a_batch_later_facts_win(database: Database) -> None:
    store(
        database,
        comment("a", cl={"title": "One", "author": "alice", "reviewers": ["bob"]}),
        comment("b", cl={"title": "Two"}),
        comment("c", cl={"reviewers": ["carol"]}),
        comment("d", cl={"link": "CL-2", "title": "Another"}),
    )
    assert known(database) == ChangeList(link="CL-1", title="Two", author="alice", reviewers=("carol",))
    assert known(database, "CL-2") == ChangeList(link="CL-2", title="Another")


@pytest.mark.parametrize("apart", [True, False], ids=["in another call", "in one batch"])
def test_a_duplicate_event_changes_nothing_in_the_directory(database: Database, *, apart: bool) -> None:
    first, repeated = comment(), comment(cl={"title": "Stolen", "author": "mallory", "reviewers": ["mallory"]})
    for batch in [[first], [repeated]] if apart else [[first, repeated]]:
        store(database, *batch)
    assert known(database) == ChangeList(
        link="CL-1", title="Cap the retry", repository="monorepo", author="alice", reviewers=("bob",)
    )


def happened(event_type: str, hour: int | None = None, *, key: str | None = None, **cl: Any) -> EventIn:
    """An event on CL-1 at this hour, or now."""
    at = {} if hour is None else {"occurred_at": datetime(2026, 3, 2, hour, tzinfo=UTC).isoformat()}
    event = {"type": event_type, "actor": "alice", "cl": {"link": "CL-1", **cl}, **at}
    return parse(event if key is None else {**event, "key": key})


def state(database: Database) -> str | None:
    with database.begin() as connection:
        return directory.state(connection, "CL-1")


@pytest.mark.parametrize(
    ("event_type", "after"),
    [("cl.created", "open"), ("cl.merged", "merged"), ("cl.closed", "closed"), ("cl.reopened", "open")],
)
def test_an_event_on_a_change_list_sets_its_state(
    caller: Caller, database: Database, event_type: str, after: str
) -> None:
    receive(caller, [happened("cl.closed" if after == "open" else "cl.created", 1)])
    receive(caller, [happened(event_type, 2)])
    caller.commit()
    assert state(database) == after


@pytest.mark.parametrize("apart", [True, False], ids=["in calls of their own", "in one batch"])
@pytest.mark.parametrize(
    ("told", "after"),
    [
        ([("cl.created", 1), ("cl.merged", 2)], "merged"),
        ([("cl.merged", 2), ("cl.created", 1)], "merged"),
        ([("cl.closed", 2), ("cl.reopened", 3), ("cl.created", 1)], "open"),
        ([("cl.merged", 2), ("cl.closed", 2)], "merged"),
        ([("cl.closed", 2), ("cl.merged", 2)], "merged"),
        ([("cl.closed", 2), ("cl.reopened", 2)], "closed"),
        ([("cl.reopened", 2), ("cl.closed", 2)], "closed"),
        ([("cl.merged", None), ("cl.reopened", 23)], "merged"),
        ([("cl.reopened", 23), ("cl.merged", None)], "merged"),
        ([("cl.merged", 2), ("cl.updated", 3)], "merged"),
        ([("cl.updated", 2)], None),
    ],
    ids=str,
)
def test_an_older_event_does_not_undo_a_newer_one(
    database: Database, told: list[tuple[str, int | None]], after: str | None, *, apart: bool
) -> None:
    events_ = [happened(event_type, hour) for event_type, hour in told]
    for batch in [[one] for one in events_] if apart else [events_]:
        store(database, *batch)
    assert state(database) == after


def merged_in(*, minutes: float, key: str = "m1") -> EventIn:
    """CL-1 is merged this many minutes from now."""
    at = (datetime.now(UTC) + timedelta(minutes=minutes)).isoformat()
    return parse({"key": key, "type": "cl.merged", "actor": "alice", "cl": {"link": "CL-1"}, "occurred_at": at})


@pytest.mark.parametrize("minutes", [6, 60 * 24 * 365 * 73])
def test_an_event_in_the_future_is_refused_with_its_whole_batch(
    caller: Caller, database: Database, minutes: float
) -> None:
    with pytest.raises(MalformedEvent) as refused:
        receive(caller, [comment(), merged_in(minutes=minutes)])
    caller.commit()
    assert (refused.value.field, refused.value.index) == ("occurred_at", 1)
    assert keys(database) == []
    assert known(database) is None


def test_a_clock_that_is_four_minutes_fast_is_accepted(database: Database) -> None:
    store(database, merged_in(minutes=4))
    assert state(database) == "merged"


def test_a_duplicate_is_recognised_even_if_it_is_dated_in_the_future(database: Database) -> None:
    store(database, happened("cl.created", 1, key="m1"))
    (receipt,) = store(database, merged_in(minutes=60))
    assert receipt.duplicate


def test_a_state_once_stored_in_the_future_does_not_block_later_ones(database: Database) -> None:
    store(database, happened("cl.merged", 2))
    with database.begin() as connection:
        connection.execute(update(change_lists).values(state_at=datetime(2099, 1, 1, tzinfo=UTC)))
    store(database, happened("cl.reopened"))
    assert state(database) == "open"


@pytest.mark.parametrize("by_put", [True, False], ids=["by the directory", "by events"])
def test_the_first_title_and_repository_are_kept_for_the_subject(database: Database, *, by_put: bool) -> None:
    for number, title in enumerate([None, "Cap the retry", "Cap it", "Cap the retry", None, "Cap all"]):
        facts: dict[str, Any] = {"title": title, "repository": title and f"repository-{number}"}
        if by_put:
            with database.begin() as connection:
                directory.put_change_list(connection, ChangeList(link="CL-1", author="alice", **facts))
        else:
            store(database, comment(f"k{number}", cl={key: fact for key, fact in facts.items() if fact}))
    found = known(database)
    assert found is not None
    assert (found.title, found.repository) == ("Cap all", "repository-5")
    assert (found.first_title, found.first_repository) == ("Cap the retry", "repository-1")


def test_an_event_that_is_older_than_the_state_may_bring_new_facts(database: Database) -> None:
    store(database, happened("cl.merged", 2))
    store(database, happened("cl.created", 1, title="Cap the retry", author="alice"))
    assert state(database) == "merged"
    assert known(database) == ChangeList(link="CL-1", title="Cap the retry", author="alice")


def test_an_event_that_is_older_than_the_state_waits_for_no_lock(
    two_callers: tuple[Caller, Caller], database: Database
) -> None:
    store(database, happened("cl.merged"))
    first, second = two_callers
    receive(first, [happened("cl.created", 1)])
    applications.execute(second, "SELECT set_config('lock_timeout', '1ms', true)")
    receive(second, [happened("cl.closed", 2)])
    second.commit()
    first.commit()
    assert state(database) == "merged"


def test_facts_put_into_the_directory_directly_are_newer_than_earlier_events(database: Database) -> None:
    with database.begin() as connection:
        directory.put_change_list(connection, FULL, state=directory.State.CLOSED)
    store(database, happened("cl.merged", 2))
    assert state(database) == "closed"
    store(database, happened("cl.reopened"))
    assert state(database) == "open"


def test_of_two_states_without_an_instant_in_one_transaction_the_second_wins(
    transaction: Caller, database: Database
) -> None:
    for event_type in ("cl.merged", "cl.reopened"):
        receive(transaction, [happened(event_type)])
    transaction.commit()
    assert state(database) == "open"


def test_a_duplicate_merge_does_not_undo_a_reopening(database: Database) -> None:
    store(database, happened("cl.merged", key="m"), happened("cl.reopened", key="r"))
    store(database, happened("cl.merged", key="m"))
    assert state(database) == "open"


def test_an_event_that_only_names_its_change_list_adds_nothing_to_the_directory(database: Database) -> None:
    store(database, comment(cl={}))
    assert known(database) is None


@pytest.mark.parametrize("cl", [{}, CL, {"title": CL["title"]}, {"reviewers": CL["reviewers"]}], ids=str)
def test_an_event_without_new_facts_waits_for_no_lock(
    two_callers: tuple[Caller, Caller], database: Database, cl: dict[str, Any]
) -> None:
    store(database, comment("before"))
    first, second = two_callers
    receive(first, [comment("first", cl=cl)])
    applications.execute(second, "SELECT set_config('lock_timeout', '1ms', true)")
    receive(second, [comment("second", cl=cl)])
    second.commit()
    first.commit()
    assert keys(database)[0] == "before"
    assert len(keys(database)) == 3


def store_and_commit(caller: Caller, event: EventIn) -> Receipt:
    (receipt,) = receive(caller, [event])
    caller.commit()
    return receipt


@pytest.mark.parametrize("first_commits", [True, False], ids=["first commits", "first rolls back"])
def test_of_two_concurrent_transactions_with_one_key_the_second_waits_and_one_event_is_stored(
    two_callers: tuple[Caller, Caller], database: Database, *, first_commits: bool
) -> None:
    first, second = two_callers
    (stored,) = receive(first, [comment()])
    with meanwhile(store_and_commit, second, comment()) as waiting:
        blocked_session(database)
        first.commit() if first_commits else first.rollback()
        answer = waiting.result()
    assert answer.duplicate == first_commits
    assert (answer.id == stored.id) == first_commits
    assert keys(database) == ["k1"]


@pytest.mark.parametrize("also", [{}, {"title": "Two"}], ids=["reviewers", "reviewers and a title"])
def test_concurrent_facts_about_one_change_list_are_not_mixed(database: Database, also: dict[str, Any]) -> None:
    store(database, comment("before"))
    with database.engine.connect() as first:
        receive(first, [comment("first", cl={"reviewers": ["bob", "carol"]})])
        with meanwhile(store, database, comment("second", cl={"reviewers": ["bob", "dave"], **also})) as second:
            blocked_session(database)
            first.commit()
            second.result()
    found = known(database)
    assert found is not None
    assert found.reviewers == ("bob", "dave")


def test_a_batch_takes_the_same_number_of_statements_whatever_its_size(database: Database) -> None:
    costs = []
    for size in (2, 300):
        batch = [comment(f"{size}-{n}", cl={**CL, "link": f"CL-{size}-{n}"}) for n in range(size)]
        store(database, batch[0])
        with statements(database) as sent:
            store(database, *batch)
        costs.append(len(sent))
    assert costs[0] == costs[1] <= 5
    with database.begin() as connection:
        assert len(connection.execute(select(cl_reviewers)).all()) == 302
