"""notify.withdraw: an event taken back, in the application's own transaction."""

from collections.abc import Iterator
from datetime import timedelta
from random import Random
from uuid import UUID

import psycopg
import pytest
from sqlalchemy.exc import OperationalError

import notify
from notify.checkpoints import Checkpoint
from notify.domain.preferences import Person
from notify.domain.schedule import Mode
from notify.intake.fan_out import FanOut
from notify.intake.receive import receive
from notify.intake.save_preferences import save_preferences
from notify.intake.schema import parse
from notify.store.connection_kinds import Caller
from notify.store.database import Database
from notify.store.directory import directory
from notify.store.outbox import items
from notify.store.outbox.job_filter import JobFilter
from notify.store.outbox.retry_cancel_replay import Action, act
from notify.store.outbox.withdrawal import NoTransaction
from notify.work.stage import BatchStage
from tests.support import applications, rows
from tests.support.defaults import DEFAULTS, defaults
from tests.support.harness import WorkerHarness, comment, usernames
from tests.support.messages import parsed, text_of
from tests.support.race import meanwhile
from tests.support.servers import in_words
from tests.support.smtp import RCPT, ScriptedRelay
from tests.support.statements import statements

KILL_APPLICATION = """
    SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND state = 'idle in transaction'
"""
NOW_DUE = "UPDATE notify.work_items SET due_at = now() - interval '1 s' WHERE lane < 8"


@pytest.fixture
def harness(database: Database, relay: ScriptedRelay) -> WorkerHarness:
    """A worker that bundles for a minute; ann and bob are in the directory."""
    with database.begin() as connection:
        for name in ("ann", "bob"):
            directory.put_person(connection, Person(username=name, email=f"{name}@example.com"))
    return WorkerHarness(database, relay.url, {"bundle_seconds": 60})


@pytest.fixture(params=list(applications.ONE_OF_EACH.values()), ids=list(applications.ONE_OF_EACH))
def caller(request: pytest.FixtureRequest, database: Database) -> Iterator[Caller]:
    """An application's connection, one of each library."""
    with request.param(in_words(database.engine.url)) as opened:
        yield opened


def emit(harness: WorkerHarness, *keys: str, link: str = "CL-1", reviewers: tuple[str, ...] = ("ann", "bob")) -> None:
    with harness.database.begin() as connection:
        for key in keys:
            receive(connection, [parse(comment(key=key, link=link, reviewers=reviewers, body=f"About {key}."))])


def fan_out(harness: WorkerHarness, *keys: str) -> None:
    """Emit these and fan them out, one after the other."""
    for key in keys:
        emit(harness, key)
        harness.fan_out()


def withdraw(harness: WorkerHarness, key: str) -> dict[str, tuple[str, str | None]]:
    """Each person's status and why."""
    with harness.database.begin() as connection:
        answer = notify.withdraw(connection, key)
    return {one.username: (one.status, one.why) for one in answer.people}


def event(harness: WorkerHarness, key: str = "k1") -> str:
    ((status,),) = harness.execute("SELECT status FROM notify.events WHERE key = :key", key=key)
    return str(status)


def told(relay: ScriptedRelay) -> list[list[str]]:
    """The keys that each email tells of."""
    texts = [text_of(parsed(one.content)) for one in relay.emails]
    return sorted([key for key in ("k1", "k2", "k3") if f"About {key}." in text] for text in texts)


def statuses(harness: WorkerHarness, key: str) -> list[str]:
    return [row.status for row in harness.jobs(key) if row.username in {"ann", "bob"}]


def test_an_event_that_was_not_fanned_out_is_told_to_nobody(
    caller: Caller, harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    emit(harness, "k1")
    assert notify.withdraw(caller, "k1").people == []
    caller.commit()
    harness.fan_out()
    harness.drain()
    assert (event(harness), list(harness.jobs("k1")), relay.emails) == ("withdrawn", [], [])


def test_emails_that_nobody_has_claimed_are_not_sent_and_the_answer_names_everyone(
    caller: Caller, harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    fan_out(harness, "k1")
    answer = notify.withdraw(caller, "k1")
    caller.commit()
    harness.drain()
    assert {(one.username, one.reason, one.status) for one in answer.people} == {
        ("ann", "reviewer", "withdrawn"),
        ("bob", "reviewer", "withdrawn"),
        ("somebody", "author", "skipped"),
    }
    assert (relay.emails, event(harness), statuses(harness, "k1")) == ([], "withdrawn", ["withdrawn"] * 2)
    assert harness.execute("SELECT FROM notify.work_items") == []


def test_a_withdrawal_that_is_rolled_back_never_was(
    caller: Caller, harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    fan_out(harness, "k1")
    notify.withdraw(caller, "k1")
    caller.rollback()
    harness.drain()
    assert (told(relay), event(harness)) == ([["k1"]] * 2, "done")


def test_an_application_killed_between_its_withdrawal_and_its_commit_has_withdrawn_nothing(
    caller: Caller, harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    fan_out(harness, "k1")
    notify.withdraw(caller, "k1")
    harness.execute(KILL_APPLICATION)
    with pytest.raises((OperationalError, psycopg.Error)):
        caller.commit()
    harness.drain()
    assert (told(relay), event(harness)) == ([["k1"]] * 2, "done")


def test_an_event_emitted_and_withdrawn_in_one_transaction_is_told_to_nobody(
    caller: Caller, harness: WorkerHarness
) -> None:
    notify.emit(caller, comment(reviewers=["ann"]))
    notify.withdraw(caller, "k1")
    caller.commit()
    harness.fan_out()
    assert (event(harness), list(harness.jobs("k1"))) == ("withdrawn", [])


@pytest.mark.parametrize("key", ["unknown", "", "a\0b", "ключ"])
def test_an_unknown_key_is_an_error_that_names_it(caller: Caller, key: str) -> None:
    with pytest.raises(notify.NoSuchEvent) as refused:
        notify.withdraw(caller, key)
    assert refused.value.facts == {"key": key}


def test_what_notify_itself_emitted_cannot_be_withdrawn(caller: Caller, harness: WorkerHarness) -> None:
    with harness.database.begin() as connection:
        rows.event(connection, key="k1", type="status.dead", topic="status:github/acme/app")
    with pytest.raises(notify.NotWithdrawable):
        notify.withdraw(caller, "k1")
    assert event(harness) == "pending"


@pytest.mark.parametrize("opened", applications.AUTOCOMMIT.values(), ids=applications.AUTOCOMMIT)
def test_without_a_transaction_all_or_nothing_is_withdrawn(harness: WorkerHarness, opened: applications.Open) -> None:
    fan_out(harness, "k1")
    with opened(in_words(harness.database.engine.url)) as caller:
        try:
            notify.withdraw(caller, "k1")
        except NoTransaction:
            assert (event(harness), statuses(harness, "k1")) == ("done", ["pending"] * 2)
        else:
            assert (event(harness), statuses(harness, "k1")) == ("withdrawn", ["withdrawn"] * 2)


@pytest.mark.parametrize("name", ["psycopg", "session"])
def test_it_works_on_a_connection_with_other_settings_and_another_encoding(
    harness: WorkerHarness, database: Database, name: str
) -> None:
    harness.pending_emails("日本", "ann")
    with (
        defaults(database.url, DEFAULTS["all there is"]),
        applications.ONE_OF_EACH[name](in_words(database.engine.url)) as caller,
    ):
        answer = notify.withdraw(caller, "k1")
        caller.commit()
    assert {one.username for one in answer.people} == {"日本", "ann", "somebody"}


def test_withdrawing_twice_answers_the_same(harness: WorkerHarness) -> None:
    fan_out(harness, "k1")
    assert withdraw(harness, "k1") == withdraw(harness, "k1")
    assert event(harness) == "withdrawn"


def test_emitting_a_withdrawn_event_again_says_so_and_tells_nobody(harness: WorkerHarness) -> None:
    emit(harness, "k1")
    withdraw(harness, "k1")
    with harness.database.begin() as connection:
        receipt = notify.emit(connection, comment(reviewers=["ann", "bob"], body="About k1."))
    harness.fan_out()
    assert (receipt.duplicate, receipt.differs, receipt.withdrawn) == (True, (), True)
    assert (event(harness), list(harness.jobs("k1"))) == ("withdrawn", [])


def test_what_was_sent_stays_sent_and_what_is_being_sent_is_not_waited_for(
    harness: WorkerHarness,
) -> None:
    fan_out(harness, "k1")
    first, second = (row.id for row in harness.jobs("k1") if row.username in {"ann", "bob"})
    rows.end_job(harness.database, first, "sent")
    rows.change_item(harness.database, "deliver", second, lane=8, leased_by=UUID(int=1), attempt=1)
    with harness.database.begin() as worker:
        items.extend(worker, "deliver", [(second, 1)], lease=timedelta(minutes=1))
        assert {one for one, _ in withdraw(harness, "k1").values()} == {"sent", "sending", "skipped"}
    assert statuses(harness, "k1") == ["sent", "sending"]


def test_an_email_that_comes_back_from_the_relay_after_the_withdrawal_is_not_sent_any_more(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    relay.answers[RCPT] = "451 4.2.1 later"
    fan_out(harness, "k1")
    gate = relay.pause_at(RCPT)
    with meanwhile(harness.drain) as draining:
        gate.wait_until_reached()
        assert [one for one, _ in withdraw(harness, "k1").values()].count("sending") == 2
        gate.release()
        draining.result()
    relay.answers.clear()
    harness.execute(NOW_DUE)
    harness.drain()
    assert (relay.emails, statuses(harness, "k1")) == ([], ["withdrawn"] * 2)
    assert harness.execute("SELECT outcome, sum(count)::int FROM notify.delivery_stats GROUP BY 1 ORDER BY 1") == [
        ("retry", 2),
        ("withdrawn", 2),
    ]


def test_a_bundle_is_sent_without_the_withdrawn_event(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    fan_out(harness, "k1", "k2", "k3")
    harness.drain()
    assert withdraw(harness, "k1")["ann"] == ("sent", None)
    assert withdraw(harness, "k2")["ann"] == ("withdrawn", "withdrawn")
    harness.execute(NOW_DUE)
    harness.drain()
    assert told(relay) == [["k1"]] * 2 + [["k3"]] * 2
    assert statuses(harness, "k2") == ["withdrawn"] * 2


def test_a_bundle_whose_events_were_all_withdrawn_ends(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    fan_out(harness, "k1", "k2", "k3")
    harness.drain()
    for key in ("k2", "k3"):
        withdraw(harness, key)
    harness.execute(NOW_DUE)
    harness.drain()
    fan_out(harness, "k4")
    assert told(relay) == [["k1"]] * 2
    assert [statuses(harness, key) for key in ("k2", "k3", "k4")] == [["withdrawn"] * 2] * 2 + [["pending"] * 2]


def test_a_digest_is_sent_without_the_withdrawn_event(harness: WorkerHarness, relay: ScriptedRelay) -> None:
    with harness.database.begin() as connection:
        save_preferences(connection, "ann", settings={"delivery_mode": Mode.DAILY}, event_types={})
    emit(harness, "k1", reviewers=("ann",))
    emit(harness, "k2", link="CL-2", reviewers=("ann",))
    harness.fan_out()
    assert withdraw(harness, "k1")["ann"][0] == "withdrawn"
    harness.execute(NOW_DUE)
    harness.drain()
    assert told(relay) == [["k2"]]


def by_hand(harness: WorkerHarness, action: Action, key: str) -> int:
    with harness.database.begin() as connection:
        return len(act(connection, action, JobFilter(event_key=key), last_id=2**40, limit=10).done)


def test_a_replay_that_nobody_has_claimed_is_withdrawn_and_its_original_stays_sent(
    harness: WorkerHarness, relay: ScriptedRelay
) -> None:
    fan_out(harness, "k1")
    harness.drain()
    assert by_hand(harness, Action.REPLAY, "k1") == 2
    assert withdraw(harness, "k1")["ann"] == ("sent", None)
    harness.drain()
    assert len(relay.emails) == 2
    assert statuses(harness, "k1") == ["sent", "withdrawn"] * 2


@pytest.mark.parametrize(("before", "after"), [(Action.CANCEL, Action.RETRY), (None, Action.REPLAY)])
def test_an_email_that_is_retried_or_replayed_after_the_withdrawal_is_not_sent(
    harness: WorkerHarness, relay: ScriptedRelay, before: Action | None, after: Action
) -> None:
    fan_out(harness, "k1")
    if before:
        by_hand(harness, before, "k1")
    else:
        harness.drain()
    sent = len(relay.emails)
    withdraw(harness, "k1")
    assert by_hand(harness, after, "k1") == 2
    harness.drain()
    assert len(relay.emails) == sent
    assert statuses(harness, "k1")[-1] == "withdrawn"


def test_what_was_withdrawn_cannot_be_retried_or_replayed(harness: WorkerHarness) -> None:
    fan_out(harness, "k1")
    withdraw(harness, "k1")
    assert [by_hand(harness, action, "k1") for action in Action] == [0, 0, 0]


def test_a_dead_event_that_is_withdrawn_cannot_be_retried(harness: WorkerHarness) -> None:
    with harness.database.begin() as connection:
        rows.event(connection, key="k1", **rows.ended("dead"))
    withdraw(harness, "k1")
    assert event(harness) == "withdrawn"
    assert harness.execute("SELECT FROM notify.work_items") == []


def test_it_takes_the_same_number_of_statements_for_any_number_of_people(
    harness: WorkerHarness, database: Database
) -> None:
    sent = []
    for key, people in (("k1", usernames(2)), ("k2", usernames(200))):
        harness.pending_emails(*people, key=key, link=key)
        with statements(database) as found:
            assert len(withdraw(harness, key)) == len(people) + 1
        sent.append(len(found))
    assert sent[0] == sent[1] == 5


@pytest.mark.parametrize("ends", ["commit", "rollback"])
def test_a_fan_out_that_has_begun_waits_for_no_application_and_does_not_tell_of_what_it_withdraws(
    harness: WorkerHarness, ends: str
) -> None:
    emit(harness, "k1")
    with harness.database.engine.connect() as application:

        def meanwhile(checkpoint: str) -> None:
            if checkpoint == "fan_out.claimed":
                emit(harness, "k2", link="CL-2")
                notify.withdraw(application, "k1")

        fan_out_stage(harness, meanwhile).drain()
        getattr(application, ends)()
    harness.execute("UPDATE notify.work_items SET due_at = now() WHERE lane = 8")
    harness.fan_out()
    found = {"commit": ("withdrawn", []), "rollback": ("done", ["pending"] * 2)}
    assert (event(harness), statuses(harness, "k1")) == found[ends]
    assert statuses(harness, "k2") == ["pending"] * 2


def fan_out_stage(harness: WorkerHarness, checkpoint: Checkpoint) -> BatchStage:
    handler = FanOut(harness.database, doorbell=harness.doorbell, message_host="h", rng=Random(1))
    return BatchStage(
        handler,
        harness.database,
        ring=lambda: None,
        worker=UUID(int=1),
        lease=timedelta(minutes=1),
        batch=10,
        at_most=timedelta(seconds=30),
        rng=Random(1),
        checkpoint=checkpoint,
    )
