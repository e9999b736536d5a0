"""The database itself refuses every state that must not exist."""

from collections.abc import Callable
from datetime import time, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.errors import CheckViolation, ForeignKeyViolation, NotNullViolation, UniqueViolation
from sqlalchemy import Connection, Table, func, insert, select, text
from sqlalchemy.exc import DatabaseError

from notify.store.tables import heads
from notify.store.tables.emails import email_attempts, email_jobs, events, notifications, work_items
from notify.store.tables.forges import (
    forge_actions,
    forge_branches,
    forge_changes,
    forge_entries,
    forge_repositories,
    forge_reviewers,
    forges,
    identities,
    unmapped_logins,
    webhook_deliveries,
)
from notify.store.tables.operations import (
    delivery_stats,
    delivery_totals,
    endpoints,
    process_totals,
    rate_buckets,
    relay_shares,
)
from notify.store.tables.people import (
    api_tokens,
    change_lists,
    cl_owners,
    cl_reviewers,
    notification_event_types,
    people,
    topic_preferences,
    user_notification_preferences,
    user_notification_settings,
)
from notify.store.tables.statuses import commit_statuses, status_attempts
from notify.store.tables.webhooks import webhook_calls, webhook_endpoints
from tests.support import rows

TOO_LONG = "é" * 513
MINUTE = text("date_trunc('minute', now())")
Add = Callable[..., object]


def adds(table: Table, **valid: Any) -> Add:
    """Add a row to a table, valid but for the given values."""

    def add(connection: Connection, **columns: Any) -> None:
        connection.execute(insert(table).values(**{**valid, **columns}))

    return add


def attempt(connection: Connection, **columns: Any) -> None:
    valid = {"job_id": rows.job(connection), "attempt": 1, "outcome": "retry"}
    connection.execute(insert(email_attempts).values(**{**valid, **columns}))


def repository(connection: Connection, **columns: Any) -> int:
    valid = {"forge": "github", "forge_id": 1, "full_name": "acme/app"}
    statement = insert(forge_repositories).values(**{**valid, **columns})
    return int(connection.execute(statement.returning(forge_repositories.c.id)).scalar_one())


def change(connection: Connection, **columns: Any) -> int:
    valid: dict[str, Any] = {
        "repository_id": repository(connection),
        "number": 1,
        "link": "acme/app#1",
        "title": "t",
        "url": "https://forge.example/1",
        "state": "open",
        "draft": False,
        "opener": "alice",
        "author": "alice",
        "author_from": "opener",
        "opened_at": func.now(),
        "forge_updated_at": func.now(),
    }
    connection.execute(insert(forge_changes).values(**{**valid, **columns}))
    return int(valid["repository_id"])


def reviewer(connection: Connection, **columns: Any) -> None:
    valid = {"repository_id": change(connection), "number": 1, "login": "bob", "requested": True}
    connection.execute(insert(forge_reviewers).values(**{**valid, **columns}))


def branch(connection: Connection, **columns: Any) -> None:
    valid = {
        "repository_id": repository(connection),
        "name": "main",
        "head_sha": "0" * 40,
        "state": "open",
        "synced_at": func.now(),
    }
    connection.execute(insert(forge_branches).values(**{**valid, **columns}))


def status_of(connection: Connection, **columns: Any) -> int:
    valid: dict[str, Any] = {
        "forge": "github",
        "repository": "acme/app",
        "sha": "a" * 40,
        "context": "ci",
        "kind": "status",
        "state": "success",
        "wanted_version": 2,
    }
    statement = insert(commit_statuses).values(**{**valid, **columns}).returning(commit_statuses.c.id)
    return int(connection.execute(statement).scalar_one())


def status_attempt(connection: Connection, **columns: Any) -> None:
    valid = {"status_id": status_of(connection), "attempt": 1, "version": 1, "outcome": "retry: server_error"}
    connection.execute(insert(status_attempts).values(**{**valid, **columns}))


def action(connection: Connection, **columns: Any) -> None:
    valid = {"repository_id": repository(connection), "number": 1, "action": "opened", "on_behalf_of": "alice"}
    connection.execute(insert(forge_actions).values(**{**valid, **columns}))


def owner(connection: Connection, **columns: Any) -> None:
    connection.execute(insert(change_lists).values(link="CL-1"))
    connection.execute(insert(cl_owners).values(**{"topic": "CL-1", "username": "bob", **columns}))


ADD: dict[Table, Add] = {
    webhook_deliveries: adds(
        webhook_deliveries, forge="github", delivery_id="1", event="ping", body=b"{}", content_type="application/json"
    ),
    forges: adds(forges, name="github"),
    forge_repositories: repository,
    forge_changes: change,
    forge_reviewers: reviewer,
    forge_branches: branch,
    forge_entries: adds(
        forge_entries, forge="github", slug="retries", path="rfcs/retries.md", sha="0" * 40, synced_at=func.now()
    ),
    forge_actions: action,
    identities: adds(identities, forge="github", login="Alice", username="alice", source="cli"),
    cl_owners: owner,
    unmapped_logins: adds(unmapped_logins, forge="github", login="mallory", missed=1, last_event_key="k"),
    commit_statuses: status_of,
    status_attempts: status_attempt,
    heads.queues: adds(heads.queues, name="main", version=1),
    heads.requests: adds(heads.requests, queue="main", id=1, uri="git://host/repo", version=1),
    heads.request_uris: adds(heads.request_uris, queue="main", uri="git://host/repo", request_id=1),
    heads.builds: adds(heads.builds, queue="main", id="b-1", request_id=1, version=1),
    heads.facts: adds(heads.facts, queue="main", uri="git://host/repo", project="", degree=0, request_id=1),
    heads.counters: adds(heads.counters, queue="main", domain="request", value=1),
    heads.queue_polls: adds(heads.queue_polls, queue="main", due_at=func.now()),
    work_items: adds(work_items, stage="toy", id=1, lane=1),
    events: rows.event,
    email_jobs: rows.job,
    notifications: rows.notification,
    email_attempts: attempt,
    people: adds(people, username="alice"),
    change_lists: adds(change_lists, link="CL-1"),
    user_notification_settings: adds(user_notification_settings, username="alice"),
    topic_preferences: adds(topic_preferences, username="alice", topic="CL-1", muted=True),
    endpoints: adds(endpoints, endpoint="mx:25"),
    rate_buckets: adds(rate_buckets, bucket="relay mx:25"),
    relay_shares: adds(relay_shares, relay="mx:25", worker=UUID(int=1), wanted=1, sessions=1, until=MINUTE),
    notification_event_types: adds(
        notification_event_types, code="cl.abandoned", category="Ends", description="Abandoned."
    ),
    delivery_stats: adds(delivery_stats, minute=MINUTE, worker=UUID(int=1), event_type="t", outcome="sent", count=1),
    delivery_totals: adds(delivery_totals, event_type="t", outcome="sent", count=1, until=MINUTE),
    process_totals: adds(process_totals, process=UUID(int=1), measure="smtp", label="data", count=1, seconds=0),
    api_tokens: adds(api_tokens, name="t", token_hash="h", scopes=["ops"]),
    webhook_endpoints: adds(
        webhook_endpoints, name="bot", url="https://bot.example", types=["email.sent"], include=[], secret="a.b"
    ),
    webhook_calls: adds(webhook_calls, endpoint_id=1, type="email.sent", subject_id=1, outcome="sent"),
}
QUIET: dict[str, Any] = {"quiet_days": [1], "quiet_start": time(22), "quiet_end": time(7)}
ENDED = {"finished_at": func.now()}
IMPOSSIBLE: list[tuple[Table, str, dict[str, Any]]] = [
    (email_jobs, "status", {"status": "lost", "finished_at": func.now()}),
    (email_jobs, "finished_when_final", ENDED),
    (email_jobs, "attempts", {"attempts": -1}),
    (email_jobs, "lapses", {"status": "sent", "finished_at": func.now(), "lapses": -1}),
    (email_jobs, "last_error", {"last_error": TOO_LONG}),
    (events, "status", {"status": "lost"}),
    (events, "finished_when_final", ENDED),
    *((events, "finished_when_final", {"status": status, "finished_at": None}) for status in rows.FINAL_EVENT),
    (work_items, "lane", {"lane": 3}),
    (work_items, "alone_since_lapsed", {"lapses": 1}),
    (work_items, "alone_since_lapsed", {"lane": 4}),
    (work_items, "leased_by_somebody", {"lane": 8}),
    (work_items, "dead_for_a_reason", {"lane": 9}),
    (work_items, "attempt", {"attempt": -1}),
    (work_items, "failures", {"failures": -1}),
    (work_items, "failures", {"failures": 2, "max_failures": 1}),
    (work_items, "lapses", {"lapses": -1}),
    (work_items, "reason", {"reason": TOO_LONG}),
    *(
        (email_jobs, "finished_when_final", {"status": status, "finished_at": None})
        for status in rows.FINAL_JOB
        if status != "dead"
    ),
    (email_jobs, "relay_reply", {"relay_reply": TOO_LONG}),
    (notifications, "decision", {"decision": "lost"}),
    (notifications, "told_by_an_email", {"decision": "told"}),
    (email_jobs, "reasoned", {**rows.ended("dead"), "outcome_reason": None}),
    (email_jobs, "reasoned", {**rows.ended("skipped"), "outcome_reason": None}),
    (email_jobs, "deferred_by", {"deferred_by": "yearly"}),
    (email_jobs, "sent_in_ms", {"sent_in_ms": -1}),
    (email_attempts, "text", {"text": TOO_LONG}),
    (email_attempts, "took_ms", {"took_ms": -1}),
    (topic_preferences, "says_something", {"muted": False}),
    (people, "undeliverable_with_instant", {"undeliverable_email": "a@x"}),
    (people, "undeliverable_with_instant", {"undeliverable_at": func.now()}),
    (change_lists, "state", {"state": "lost"}),
    (user_notification_settings, "delivery_mode", {"delivery_mode": "pigeon"}),
    (user_notification_settings, "digest_hour", {"digest_hour": 24}),
    (user_notification_settings, "digest_weekday", {"digest_weekday": 0}),
    (user_notification_settings, "quiet_whole", {**QUIET, "quiet_days": None}),
    (user_notification_settings, "quiet_whole", {**QUIET, "quiet_end": None}),
    (user_notification_settings, "quiet_days", {**QUIET, "quiet_days": []}),
    (user_notification_settings, "quiet_days", {**QUIET, "quiet_days": [1, 8]}),
    (user_notification_settings, "quiet_end", {**QUIET, "quiet_end": time(22)}),
    (user_notification_settings, "paused_until", {"paused_until": text("'infinity'")}),
    (endpoints, "state", {"state": "ajar"}),
    (endpoints, "probed_while_open", {"state": "open"}),
    (endpoints, "probed_while_open", {"probe_at": func.now()}),
    (endpoints, "last_error", {"last_error": TOO_LONG}),
    (endpoints, "explained_while_muted", {"muted_because": "the relay moves"}),
    (endpoints, "muted_because", {"muted_at": func.now(), "muted_because": TOO_LONG}),
    (rate_buckets, "bucket", {"bucket": "mx:25"}),
    (relay_shares, "wanted", {"wanted": 0}),
    (relay_shares, "sessions", {"sessions": -1}),
    (notification_event_types, "expires_after", {"expires_after": timedelta(0)}),
    (notification_event_types, "bundle_within", {"bundle_within": timedelta(seconds=-1)}),
    (notification_event_types, "bundle_within", {"bundle_within": timedelta(days=2)}),
    (delivery_stats, "count", {"count": 0}),
    (delivery_totals, "count", {"count": 0}),
    (process_totals, "count", {"count": 0}),
    (process_totals, "seconds", {"seconds": -1}),
    (events, "empty_when_emptied", {"emptied_at": func.now()}),
    (events, "empty_when_emptied", {"emptied_at": func.now(), "payload": {"comment": {}}, **rows.ended("done")}),
    (events, "traceparent", {"traceparent": "00-" + "0" * 51}),
    (api_tokens, "scopes", {"scopes": []}),
    (webhook_deliveries, "status", {"status": "lost", "finished_at": func.now()}),
    (webhook_deliveries, "finished_when_final", {"status": "done"}),
    (webhook_deliveries, "finished_when_final", {"finished_at": func.now()}),
    (webhook_deliveries, "reasoned", {"status": "dead", "finished_at": func.now()}),
    (webhook_deliveries, "reasoned", {"status": "ignored", "finished_at": func.now()}),
    (webhook_deliveries, "outcome_reason", {"outcome_reason": TOO_LONG}),
    (forges, "fault", {"fault": TOO_LONG}),
    (forge_repositories, "fault", {"fault": "away"}),
    (forge_repositories, "fault", {"fault_at": func.now()}),
    (forge_repositories, "fault_length", {"fault": TOO_LONG, "fault_at": func.now()}),
    (forge_changes, "state", {"state": "lost"}),
    (forge_changes, "author_from", {"author_from": "hearsay"}),
    (forge_reviewers, "verdict", {"verdict": "maybe"}),
    (forge_branches, "state", {"state": "bent"}),
    (unmapped_logins, "missed", {"missed": 0}),
    (commit_statuses, "kind", {"kind": "comment"}),
    (commit_statuses, "state", {"state": "done"}),
    (commit_statuses, "status", {"status": "lost", "finished_at": func.now()}),
    (commit_statuses, "finished_when_final", {"status": "cancelled", "outcome_reason": "by_hand"}),
    (commit_statuses, "finished_when_final", {"finished_at": func.now()}),
    (commit_statuses, "reasoned", {"status": "skipped", "finished_at": func.now()}),
    (commit_statuses, "applied_what_is_wanted", {"status": "applied", "finished_at": func.now()}),
    (commit_statuses, "versions", {"wanted_version": 0}),
    (commit_statuses, "versions", {"applied_version": 3, "applied_at": func.now(), "applied_state": "success"}),
    (commit_statuses, "applied", {"applied_version": 1, "applied_at": func.now()}),
    (commit_statuses, "applied", {"applied_version": 1}),
    (commit_statuses, "applied", {"applied_at": func.now(), "applied_state": "success"}),
    (commit_statuses, "output", {"output": {}}),
    (commit_statuses, "outcome_reason", {"outcome_reason": TOO_LONG}),
    (commit_statuses, "last_error", {"last_error": TOO_LONG}),
    (commit_statuses, "counts", {"replaced": -1}),
    (commit_statuses, "counts", {"attempts": -1}),
    (status_attempts, "text", {"text": TOO_LONG}),
    (status_attempts, "request", {"request": TOO_LONG}),
    (status_attempts, "took_ms", {"took_ms": -1}),
    (api_tokens, "scopes", {"scopes": ["ops", "root"]}),
    (heads.queues, "last_green", {"last_green_uri": "git://host/repo"}),
    (heads.queues, "in_flight", {"in_flight_count": 1}),
    (heads.queues, "in_flight", {"in_flight": [1]}),
    (heads.queues, "latest", {"last_green_uri": "git://host/repo", "last_green_request_id": 1}),
    (heads.requests, "id", {"id": 0}),
    (heads.requests, "state", {"state": "lost", "finished_at": func.now()}),
    (heads.requests, "finished_when_final", {"state": "failed"}),
    (heads.requests, "finished_when_final", {"finished_at": func.now()}),
    (heads.requests, "forced", {"forced": True}),
    (heads.requests, "build_strategy", {"build_strategy": "partial"}),
    (heads.requests, "base", {"base_uri": "git://host/repo"}),
    (heads.requests, "base", {"build_strategy": "incremental"}),
    (heads.builds, "status", {"status": "lost"}),
    (heads.facts, "degree", {"degree": 1.5}),
    (heads.facts, "degree", {"degree": -0.5}),
    (heads.queue_polls, "fault", {"fault": "away"}),
    (heads.queue_polls, "fault_length", {"fault": TOO_LONG, "fault_at": func.now()}),
    (webhook_endpoints, "name", {"name": "Build bot"}),
    (webhook_endpoints, "url", {"url": "https://bot.example/" + "a" * 2048}),
    (webhook_endpoints, "types", {"types": []}),
    (webhook_endpoints, "types", {"types": ["email.sent", "email.lost"]}),
    (webhook_endpoints, "include", {"include": ["password"]}),
    (webhook_endpoints, "old_secret", {"old_secret": "a.b"}),
    (webhook_endpoints, "old_secret", {"old_secret_until": func.now()}),
    (webhook_endpoints, "disabled", {"disabled_at": func.now()}),
    (webhook_endpoints, "disabled", {"disabled_because": "gone"}),
    (webhook_calls, "status", {"status": "lost", "finished_at": func.now()}),
    (webhook_calls, "finished_when_final", {"status": "delivered"}),
    (webhook_calls, "finished_when_final", {"finished_at": func.now()}),
    (webhook_calls, "reasoned", {"status": "dead", "finished_at": func.now()}),
    (webhook_calls, "reasoned", {"status": "skipped", "finished_at": func.now()}),
    (webhook_calls, "why", {"why": TOO_LONG}),
    (webhook_calls, "outcome_reason", {"outcome_reason": TOO_LONG}),
    (webhook_calls, "last_error", {"last_error": TOO_LONG}),
    (webhook_calls, "counts", {"attempts": -1}),
    (webhook_calls, "counts", {"took_ms": -1}),
]


@pytest.mark.parametrize("table", ADD, ids=lambda table: table.name)
def test_an_ordinary_state_is_accepted(connection: Connection, table: Table) -> None:
    ADD[table](connection)


@pytest.mark.parametrize(
    ("table", "name", "columns"),
    [
        pytest.param(table, f"{table.name}_{name}_check", columns, id=f"{table.name}-{name}-{number}")
        for number, (table, name, columns) in enumerate(IMPOSSIBLE)
    ],
)
def test_an_impossible_state_is_refused(
    connection: Connection, table: Table, name: str, columns: dict[str, Any]
) -> None:
    with pytest.raises(DatabaseError) as refused:
        ADD[table](connection, **columns)
    assert isinstance(refused.value.orig, CheckViolation)
    assert refused.value.orig.diag.constraint_name == name


def test_every_check_constraint_has_a_test(connection: Connection) -> None:
    there = connection.scalars(
        text("SELECT conname FROM pg_constraint WHERE contype = 'c' AND connamespace = 'notify'::regnamespace")
    )
    assert set(there) == {f"{table.name}_{name}_check" for table, name, _ in IMPOSSIBLE}


def second_decision_about_a_person(connection: Connection) -> None:
    event_id = rows.event(connection)
    for _ in range(2):
        rows.notification(connection, event_id=event_id, username="alice")


def second_event_of_a_key(connection: Connection) -> None:
    for _ in range(2):
        rows.event(connection, key="k1")


def two_emails_of_one_name(connection: Connection) -> None:
    for username in ("alice", "bob"):
        rows.job(connection, username=username, message_id="1@x")


def notification_of_nothing(connection: Connection) -> None:
    rows.notification(connection, event_id=0)


def email_deleted_before_its_replay(connection: Connection) -> None:
    original = rows.job(connection, **rows.ended("sent"))
    rows.job(connection, replay_of=original)
    connection.execute(email_jobs.delete().where(email_jobs.c.id == original))


def reviewer_of_nothing(connection: Connection) -> None:
    connection.execute(insert(cl_reviewers).values(topic="CL-0", username="bob"))


def choice_about_nothing(connection: Connection) -> None:
    values = {"username": "bob", "event_type_code": "cl.lost", "enabled": True}
    connection.execute(insert(user_notification_preferences).values(**values))


def event_without_an_actor(connection: Connection) -> None:
    rows.event(connection, actor=None)


def twice(table: Table, **columns: Any) -> Callable[[Connection], None]:
    """Add two rows that may not be there together."""

    def attempt(connection: Connection) -> None:
        ADD[table](connection)
        ADD[table](connection, **columns)

    return attempt


def second(table: Table) -> Callable[[Connection], None]:
    """Add a row, and a copy of it."""

    def attempt(connection: Connection) -> None:
        ADD[table](connection)
        connection.execute(insert(table).from_select([one.name for one in table.c], select(table)))

    return attempt


def nothings(table: Table, column: str, value: object) -> Callable[[Connection], None]:
    """Add a row that belongs to a row that there is not."""

    def attempt(connection: Connection) -> None:
        ADD[table](connection, **{column: value})

    return attempt


OF_FORGES = [
    *((twice(table), UniqueViolation) for table in (webhook_deliveries, forges, forge_repositories)),
    *((twice(table), UniqueViolation) for table in (forge_entries, identities, unmapped_logins)),
    *((second(table), UniqueViolation) for table in (forge_changes, forge_reviewers, forge_branches, cl_owners)),
    (twice(identities, login="aLICE", username="bob"), UniqueViolation),
    *((twice(table), UniqueViolation) for table in (heads.queues, heads.requests, heads.request_uris, heads.builds)),
    *((twice(table), UniqueViolation) for table in (heads.facts, heads.counters, heads.queue_polls)),
    (twice(heads.builds, id="b-2"), UniqueViolation),
    (nothings(forge_changes, "repository_id", 0), ForeignKeyViolation),
    (nothings(forge_reviewers, "number", 2), ForeignKeyViolation),
    (nothings(forge_branches, "repository_id", 0), ForeignKeyViolation),
    (nothings(forge_actions, "repository_id", 0), ForeignKeyViolation),
    (nothings(cl_owners, "topic", "CL-0"), ForeignKeyViolation),
]


@pytest.mark.parametrize(
    ("attempted", "because"),
    [
        (second_decision_about_a_person, UniqueViolation),
        (second_event_of_a_key, UniqueViolation),
        (two_emails_of_one_name, UniqueViolation),
        (notification_of_nothing, ForeignKeyViolation),
        (email_deleted_before_its_replay, ForeignKeyViolation),
        (reviewer_of_nothing, ForeignKeyViolation),
        (choice_about_nothing, ForeignKeyViolation),
        (event_without_an_actor, NotNullViolation),
        *OF_FORGES,
    ],
)
def test_rows_that_belong_together_cannot_be_separated(
    connection: Connection, attempted: Callable[[Connection], None], because: type[Exception]
) -> None:
    with pytest.raises(DatabaseError) as refused:
        attempted(connection)
    assert isinstance(refused.value.orig, because)
