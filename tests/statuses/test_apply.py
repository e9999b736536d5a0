"""What a forge shows in the end is what was wanted last."""

from datetime import timedelta
from threading import Event, Thread

import pytest

from notify.domain.forge_answers import (
    AnswerMeaning,
    CredentialsExpired,
    Misconfigured,
    MissingCommit,
    RateLimited,
    Refused,
    Unavailable,
)
from notify.domain.statuses import WantedStatus
from notify.store.database import Database
from notify.store.statuses import applying
from tests.support.statements import statements
from tests.support.statuses import SHA, MemoryForge, StatusHarness, check_run, refuses, status_stage, wanted

SHOWN = ("acme/app", SHA, "ci/build")
AWAY = Unavailable(reason="server_error")


def test_what_is_published_is_shown(statuses: StatusHarness, forge: MemoryForge) -> None:
    statuses.publish(wanted(), check_run(context="ci/check"))
    assert statuses.stage.is_due()
    assert statuses.drain()["applied"] == 2

    assert forge.shown == {SHOWN: ["pending"]}
    assert [(one.name, one.states) for one in forge.check_runs] == [("ci/check", ["in_progress"])]
    assert statuses.targets("status", "applied_version", "applied_state", "attempts") == [
        ("applied", 1, "pending", 1),
        ("applied", 1, "in_progress", 1),
    ]
    assert statuses.items() == []
    assert not statuses.stage.is_due()


def test_states_that_were_replaced_before_they_were_shown_cost_no_call(
    statuses: StatusHarness, forge: MemoryForge
) -> None:
    for _ in range(20):
        statuses.publish(*(wanted(description=f"{number} of 50") for number in range(50)))
    statuses.publish(wanted(state="success"))
    statuses.drain()

    assert forge.shown == {SHOWN: ["success"]}
    assert statuses.targets("applied_version", "replaced") == [(1001, 1000)]


def test_updates_within_a_second_of_a_call_cost_one_more(statuses: StatusHarness, forge: MemoryForge) -> None:
    statuses.publish(wanted())
    statuses.drain()
    for state in ("pending", "failure", "success"):
        statuses.publish(wanted(state=state))
        statuses.drain()
    assert forge.shown == {SHOWN: ["pending"]}

    statuses.make_due()
    statuses.drain()
    assert forge.shown == {SHOWN: ["pending", "success"]}
    assert statuses.targets("status", "replaced") == [("applied", 2)]


@pytest.mark.parametrize("answer", [None, refuses(Refused(reason="invalid")), refuses(MissingCommit())])
def test_what_is_published_during_a_call_is_shown_by_another(
    statuses: StatusHarness, forge: MemoryForge, answer: object
) -> None:
    def publish_more(given: WantedStatus) -> None:
        statuses.publish(wanted(state="success"))
        if callable(answer):
            answer(given)

    forge.before = [publish_more]
    statuses.publish(wanted())
    statuses.drain()
    assert statuses.targets("status") == [("pending",)]

    statuses.make_due()
    statuses.drain()
    assert forge.shown[SHOWN][-1] == "success"
    assert statuses.targets("status", "applied_version") == [("applied", 2)]
    assert statuses.items() == []


def test_a_late_worker_cannot_leave_an_older_state_over_a_newer_one(
    database: Database, statuses: StatusHarness, forge: MemoryForge
) -> None:
    begun, go_on = Event(), Event()

    def stall(_: WantedStatus) -> None:
        begun.set()
        assert go_on.wait(10)

    forge.before = [stall]
    statuses.publish(wanted())
    late = Thread(target=statuses.drain)
    late.start()
    assert begun.wait(10)
    statuses.publish(wanted(state="success"))
    statuses.end_leases()
    with status_stage(database, forge) as other:
        assert other.drain()["applied"] == 1
        assert forge.shown == {SHOWN: ["success"]}
        go_on.set()
        late.join()
        assert forge.shown == {SHOWN: ["success", "pending"]}
        statuses.make_due()
        other.drain()

    assert forge.shown[SHOWN][-1] == "success"
    assert statuses.targets("status", "applied_state") == [("applied", "success")]


def test_a_worker_that_stops_ends_its_calls_and_releases_what_it_has_not_begun(
    statuses: StatusHarness, forge: MemoryForge
) -> None:
    begun, go_on = Event(), Event()

    def stall(_: WantedStatus) -> None:
        begun.set()
        assert go_on.wait(10)

    forge.always = stall
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(20)))
    worker = Thread(target=statuses.drain)
    worker.start()
    assert begun.wait(10)
    statuses.stage.stop()
    go_on.set()
    worker.join()

    assert len(forge.calls) < 20
    assert statuses.execute("SELECT status, count(*) FROM notify.commit_statuses GROUP BY 1 ORDER BY 1") == [
        ("applied", len(forge.calls)),
        ("pending", 20 - len(forge.calls)),
    ]
    assert {(lane, failures) for lane, _, failures, _ in statuses.items()} == {(1, 0)}


def test_a_target_has_one_call_at_a_time(database: Database, statuses: StatusHarness, forge: MemoryForge) -> None:
    begun, go_on = Event(), Event()

    def stall(_: WantedStatus) -> None:
        begun.set()
        assert go_on.wait(10)

    forge.before = [stall]
    statuses.publish(wanted())
    worker = Thread(target=statuses.drain)
    worker.start()
    assert begun.wait(10)
    statuses.publish(wanted(state="success"))
    with status_stage(database, forge) as other:
        statuses.make_due()
        assert other.drain()["claimed"] == 0
        go_on.set()
        worker.join()
        statuses.make_due()
        other.drain()
    assert forge.shown == {SHOWN: ["pending", "success"]}
    assert forge.most_at_once == 1


def test_many_targets_are_asked_for_together(statuses: StatusHarness, forge: MemoryForge) -> None:
    met = Event()

    def meet(_: WantedStatus) -> None:
        if forge.at_once >= 4:
            met.set()
        assert met.wait(10)

    forge.always = meet
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(8)))
    statuses.drain()
    assert all(states == ["pending"] for states in forge.shown.values())
    assert len(forge.shown) == 8


def test_an_answer_that_was_never_heard_makes_no_second_check_run(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.after = [refuses(Unavailable(reason="timeout"))]
    statuses.publish(check_run())
    statuses.drain()
    assert statuses.targets("status", "remote_id", "outcome_reason") == [("pending", None, "timeout")]

    statuses.make_due()
    statuses.drain()
    assert len(forge.check_runs) == 1
    assert statuses.targets("status", "remote_id") == [("applied", forge.check_runs[0].id)]


def test_a_check_run_is_created_once_and_then_changed(statuses: StatusHarness, forge: MemoryForge) -> None:
    for state in ("queued", "in_progress", "success"):
        statuses.publish(check_run(state=state))
        statuses.make_due()
        statuses.drain()
    assert [one.states for one in forge.check_runs] == [["queued", "in_progress", "success"]]
    assert [call.look for call in forge.calls] == [False, False, False]


@pytest.mark.parametrize(
    "meaning", [AWAY, Unavailable(reason="timeout"), CredentialsExpired(), Misconfigured(reason="app_refused")]
)
def test_a_forge_that_is_away_or_refuses_us_ends_no_status(
    statuses: StatusHarness, forge: MemoryForge, meaning: AnswerMeaning
) -> None:
    statuses.publish(wanted())
    forge.always = refuses(meaning)
    for _ in range(14):
        statuses.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
        statuses.make_due()
        statuses.drain()
    assert statuses.targets("status") == [("pending",)]
    assert len(forge.calls) == 14

    forge.always = None
    statuses.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
    statuses.make_due()
    statuses.drain()
    assert statuses.targets("status") == [("applied",)]
    assert statuses.execute("SELECT count(*) FROM notify.status_attempts") == [(14,)]


def test_while_a_forge_is_away_it_is_not_asked_for_every_status(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.always = refuses(AWAY)
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(60)))
    statuses.drain()
    asked = len(forge.calls)
    assert asked <= 5 + 8  # those that were under way with the fifth
    assert statuses.execute("SELECT state FROM notify.endpoints") == [("open",)]

    statuses.make_due()
    assert not statuses.stage.is_due()
    statuses.drain()
    assert len(forge.calls) == asked
    assert statuses.execute("SELECT count(*) FROM notify.work_items WHERE failures = 0") == [(60 - asked,)]


def test_credentials_of_one_installation_that_are_refused_do_not_stop_another(
    statuses: StatusHarness, forge: MemoryForge
) -> None:
    forge.before = [refuses(CredentialsExpired(), status=401, installation=7)]
    statuses.publish(wanted())
    statuses.drain()
    statuses.publish(wanted(repository="other/app"))
    assert statuses.drain()["applied"] == 1
    assert statuses.execute("SELECT state FROM notify.endpoints WHERE state = 'open'") == []


def test_an_open_breaker_is_tried_with_a_single_call(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.always = refuses(AWAY)
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(20)))
    statuses.drain()
    asked = len(forge.calls)
    forge.always = None
    statuses.execute("UPDATE notify.endpoints SET probe_at = now()")
    statuses.make_due()
    statuses.drain()
    assert len(forge.calls) == asked + 1
    assert statuses.execute("SELECT state FROM notify.endpoints") == [("closed",)]

    statuses.make_due()
    statuses.drain()
    assert len(forge.shown) == 20


def test_a_rate_limit_costs_no_failure_and_the_installation_is_left_alone(
    database: Database, statuses: StatusHarness, forge: MemoryForge
) -> None:
    forge.installations = {"acme": 7, "other": 8}
    forge.before = [refuses(RateLimited(wait=timedelta(minutes=10)), status=403, installation=7)]
    statuses.publish(wanted())
    statuses.drain()
    with status_stage(database, forge) as another_worker:
        statuses.publish(wanted(context="ci/more"), wanted(repository="other/app"))
        another_worker.drain()

    assert [call.status.repository for call in forge.calls] == ["acme/app", "other/app"]
    assert {(lane, failures) for lane, _, failures, _ in statuses.items()} == {(1, 0)}
    due = "SELECT bool_and(due_at > now() + interval '9 minutes') FROM notify.work_items WHERE stage = 'statuses'"
    assert statuses.execute(due) == [(True,)]

    statuses.execute("UPDATE notify.forge_installations SET paused_until = now()")
    statuses.make_due()
    statuses.drain()
    assert len(forge.shown) == 3
    assert statuses.execute("SELECT pauses FROM notify.forge_installations") == [(0,)]


def test_a_rate_limit_without_a_time_doubles_the_pause(statuses: StatusHarness, forge: MemoryForge) -> None:
    statuses.publish(wanted())
    forge.always = refuses(RateLimited(wait=None), status=429, installation=7)
    forge.installations = {"acme": 7}
    left: list[tuple[int]] = []
    for _ in range(3):
        statuses.make_due()
        statuses.drain()
        left += statuses.execute(
            "SELECT round(extract(epoch FROM paused_until - now()) / 60) FROM notify.forge_installations"
        )
        statuses.execute("UPDATE notify.forge_installations SET paused_until = now()")
    assert left == [(1,), (2,), (4,)]


@pytest.mark.parametrize("reason", ["forbidden", "not_installed", "suspended", "gone", "invalid", "unexpected"])
def test_a_refusal_for_good_ends_the_status_with_the_forges_words(
    statuses: StatusHarness, forge: MemoryForge, reason: str
) -> None:
    forge.always = refuses(Refused(reason=reason, words="No, thank you"), status=418)
    statuses.publish(wanted())
    statuses.drain()

    assert statuses.targets("status", "outcome_reason", "last_code", "last_error") == [
        ("dead", reason, 418, "No, thank you")
    ]
    assert [(lane, said) for lane, _, _, said in statuses.items()] == [(9, reason)]
    assert statuses.execute("SELECT outcome, request, code, text FROM notify.status_attempts") == [
        (f"dead: {reason}", "POST /x", 418, "No, thank you")
    ]
    assert statuses.execute("SELECT type, payload #>> '{status,reason}' FROM notify.events") == [
        ("status.dead", reason)
    ]
    assert forge.labels == ([f"+status-failed acme/app {SHA}"] if reason == "unexpected" else [])


def test_the_error_label_is_taken_away_at_the_next_success(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.before = [refuses(Refused(reason="unexpected"), status=418)]
    for _ in range(3):
        statuses.publish(wanted())
        statuses.make_due()
        statuses.drain()
    assert forge.labels == [f"+status-failed acme/app {SHA}", f"-status-failed acme/app {SHA}"]
    assert statuses.targets("status", "labelled") == [("applied", False)]


def test_a_commit_that_was_pushed_away_is_not_asked_for_again(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.always = refuses(MissingCommit(words="No commit found for SHA"), status=422)
    statuses.publish(wanted())
    for _ in range(3):
        statuses.make_due()
        statuses.drain()

    assert len(forge.calls) == 1
    assert statuses.targets("status", "outcome_reason") == [("skipped", "missing_sha")]
    assert statuses.items() == []
    assert statuses.execute("SELECT count(*) FROM notify.events") == [(0,)]


def test_a_repositorys_new_name_is_kept(statuses: StatusHarness, forge: MemoryForge) -> None:
    forge.names = {"acme/app": "acme/web"}
    statuses.publish(wanted())
    statuses.drain()
    statuses.publish(wanted(repository="acme/web", state="success"))
    statuses.make_due()
    statuses.drain()

    assert [call.status.repository for call in forge.calls] == ["acme/app", "acme/web"]
    assert statuses.targets("repository", "renamed_to", "applied_state") == [("acme/app", "acme/web", "success")]


def test_a_bug_ends_a_status_after_three_attempts(statuses: StatusHarness, forge: MemoryForge) -> None:
    def fail(_: WantedStatus) -> None:
        raise KeyError("bug")

    forge.always = fail
    statuses.publish(wanted())
    for _ in range(5):
        statuses.make_due()
        statuses.drain()
    assert len(forge.calls) == 3
    assert statuses.targets("status", "outcome_reason") == [("dead", "internal_error: KeyError")]


def test_a_forge_that_nobody_has_configured_is_said_to_be_unknown(statuses: StatusHarness) -> None:
    statuses.publish(wanted(forge="gitlab"))
    statuses.drain()
    assert statuses.targets("status", "outcome_reason") == [("dead", "unknown_forge")]


def test_a_target_that_an_application_keeps_locked_is_shown_again_later(
    database: Database, statuses: StatusHarness
) -> None:
    statuses.publish(wanted())
    with database.begin() as application:
        application.exec_driver_sql("SELECT * FROM notify.commit_statuses FOR UPDATE")
        assert statuses.drain()["released"] == 1
    assert [(lane, failures) for lane, _, failures, _ in statuses.items()] == [(1, 0)]

    statuses.make_due()
    statuses.drain()
    assert statuses.targets("status") == [("applied",)]


def test_three_lapses_end_a_status_and_operators_are_told(statuses: StatusHarness) -> None:
    statuses.publish(wanted())
    statuses.execute(
        "UPDATE notify.work_items SET lane = 8, lapses = 2, attempt = 3, due_at = now(), leased_by = gen_random_uuid()"
    )
    statuses.drain()
    assert statuses.targets("status", "outcome_reason", "attempts") == [("dead", "poison", 3)]
    assert statuses.execute("SELECT type FROM notify.events") == [("status.dead",)]


def test_what_is_published_while_a_target_is_buried_is_not_buried_with_it(
    database: Database, statuses: StatusHarness
) -> None:
    statuses.publish(wanted())
    statuses.execute(
        "UPDATE notify.work_items SET lane = 8, lapses = 2, attempt = 3, due_at = now(), leased_by = gen_random_uuid()"
    )
    with database.begin() as application:
        application.exec_driver_sql("UPDATE notify.commit_statuses SET wanted_version = wanted_version + 1")
        statuses.drain()
    statuses.make_due()
    statuses.drain()
    assert statuses.targets("status", "applied_version") == [("applied", 2)]


def test_a_target_that_dies_of_a_bug_while_more_is_published_is_tried_again(
    database: Database, statuses: StatusHarness
) -> None:
    (receipt,) = statuses.publish(wanted())
    statuses.execute("UPDATE notify.work_items SET lane = 9, failures = 10, reason = 'internal_error'")
    with database.begin() as application, database.begin() as worker:
        application.exec_driver_sql("SELECT * FROM notify.commit_statuses FOR UPDATE")
        assert applying.bury(worker, [receipt.id]) == {}
    statuses.make_due()
    statuses.drain()
    assert statuses.targets("status") == [("applied",)]


@pytest.mark.parametrize("size", [3, 90])
def test_a_batch_costs_a_constant_number_of_statements(database: Database, statuses: StatusHarness, size: int) -> None:
    statuses.publish(*(wanted(context=f"ci/{number}") for number in range(size)))
    with statements(database) as sent:
        assert statuses.drain()["applied"] == size
    assert len(sent) <= 14


def test_while_no_forge_may_be_asked_nothing_is_claimed(statuses: StatusHarness) -> None:
    statuses.publish(wanted())
    statuses.execute("INSERT INTO notify.forges (name, paused_until) VALUES ('github', now() + interval '1 hour')")
    assert not statuses.stage.is_due()
    statuses.drain()
    assert statuses.items() == [(1, 0, 0, None)]
