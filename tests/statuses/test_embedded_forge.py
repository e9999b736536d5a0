"""Statuses on the embedded forge, by HTTP: what it shows in the end, and what it was told on the way."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import text

from notify.embedded.forge.misbehaviour import LOST, Answer
from notify.store.database import Database
from tests.support.statuses import EmbeddedStatuses, embedded_statuses

TABLES = "SELECT table_name FROM information_schema.tables WHERE table_schema = 'notify'"


@pytest.fixture
def statuses(database: Database, tmp_path: Path) -> Iterator[EmbeddedStatuses]:
    with embedded_statuses(database, tmp_path, configuration='error_label = "status-failed"\n') as made:
        yield made


def test_the_forge_shows_what_was_published(statuses: EmbeddedStatuses) -> None:
    output = {"title": "Build", "summary": "It runs."}
    statuses.publish(statuses.status(), statuses.check_run(context="ci/check", output=output))
    statuses.drain()
    statuses.publish(
        statuses.status(state="success", description="All green"),
        statuses.check_run(context="ci/check", state="failure", output=output),
    )
    statuses.make_due()
    statuses.drain()

    assert statuses.states() == ["pending", "success"]
    assert statuses.states("ci/check") == ["in_progress", "failure"]
    assert statuses.runs() == [("ci/check", "failure")]
    assert statuses.targets("status", "applied_state") == [("applied", "success"), ("applied", "failure")]


def test_a_creation_that_was_never_heard_of_makes_no_second_check_run(statuses: EmbeddedStatuses) -> None:
    statuses.forge.rest.only("/check-runs", method="POST", answer=LOST)
    statuses.publish(statuses.check_run())
    statuses.drain()
    assert statuses.targets("status", "remote_id") == [("pending", None)]

    statuses.publish(statuses.check_run(state="success"))
    statuses.make_due()
    statuses.drain()
    assert statuses.runs() == [("ci/build", "success")]
    assert statuses.targets("status") == [("applied",)]


def test_a_token_that_ends_in_mid_run_loses_no_status(statuses: EmbeddedStatuses) -> None:
    statuses.forge.rest.only("/statuses/", answer=Answer(401), skip=5)
    statuses.publish(*(statuses.status(context=f"ci/{number}") for number in range(12)))
    assert statuses.drain()["applied"] == 12
    assert statuses.execute("SELECT count(*) FROM notify.status_attempts") == [(0,)]


def test_a_rate_limit_pauses_the_installation_for_every_worker(statuses: EmbeddedStatuses) -> None:
    statuses.forge.rest.only("/statuses/", answer=Answer(403, {"Retry-After": "600"}), times=100)
    statuses.publish(*(statuses.status(context=f"ci/{number}") for number in range(40)))
    statuses.drain()
    asked = len(statuses.forge.rest.calls)
    assert asked <= 2 + 8  # the installation, its token, and the calls that were under way together
    statuses.publish(statuses.status(context="ci/more"))
    statuses.drain()

    assert len(statuses.forge.rest.calls) == asked
    assert statuses.execute(
        "SELECT bool_and(due_at > now() + interval '9 minutes'), max(failures) FROM notify.work_items"
    ) == [(True, 0)]


def test_a_commit_that_was_pushed_away_and_a_repository_that_is_gone_end_their_statuses(
    statuses: EmbeddedStatuses,
) -> None:
    statuses.publish(statuses.status(sha="b" * 40), statuses.status(repository="acme/gone"))
    statuses.drain()
    assert sorted(statuses.targets("status", "outcome_reason")) == [
        ("dead", "not_installed"),
        ("skipped", "missing_sha"),
    ]


def test_a_renamed_repository_is_found_and_its_new_name_kept(statuses: EmbeddedStatuses) -> None:
    statuses.publish(statuses.status())
    statuses.drain()
    statuses.forge.state.rename("acme/app", "acme/web")
    statuses.publish(statuses.status(state="success"))
    statuses.make_due()
    statuses.drain()
    assert statuses.targets("repository", "renamed_to", "applied_state") == [("acme/app", "acme/web", "success")]


def test_what_nobody_expected_labels_the_pull_request_until_the_next_success(statuses: EmbeddedStatuses) -> None:
    pull = statuses.forge.state.open_pull("acme/app", by="alice", title="Change", head="b")
    statuses.forge.rest.only("/statuses/", answer=Answer(418))
    target = statuses.status(sha=pull.head_sha)
    statuses.publish(target)
    statuses.drain()
    assert statuses.targets("status", "outcome_reason", "labelled") == [("dead", "unexpected", True)]
    assert pull.labels == ["status-failed"]

    statuses.publish(target)
    statuses.drain()
    assert statuses.targets("status", "labelled") == [("applied", False)]
    assert pull.labels == []


def test_no_key_or_token_stands_in_a_table(statuses: EmbeddedStatuses) -> None:
    statuses.forge.rest.only("/statuses/", answer=Answer(401), times=4)
    statuses.forge.rest.only("/check-runs", answer=Answer(500))
    statuses.publish(statuses.status(), statuses.check_run())
    statuses.drain()

    seen: list[str] = []
    with statuses.database.begin() as connection:
        for table in connection.execute(text(TABLES)).scalars().all():
            seen += connection.execute(text(f"SELECT t::text FROM notify.{table} AS t")).scalars()  # noqa: S608
    assert not [one for one in seen if "ghs_" in one or "PRIVATE KEY" in one or "Bearer" in one]
