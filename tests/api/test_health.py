"""Health and metrics endpoints."""

import asyncio
from asyncio import timeout
from contextlib import closing
from dataclasses import replace
from datetime import timedelta
from uuid import uuid4

import httpx
import pytest
from anyio.to_thread import current_default_thread_limiter
from sqlalchemy import text

from notify.api.app import build_app
from notify.domain.measures import Role
from notify.domain.waves import MIN_DEATHS
from notify.http.context import Context
from notify.store.database import Database
from notify.store.operations import relays
from notify.tally import Tally
from tests.support import rows
from tests.support.defaults import defaults
from tests.support.in_process import InProcess

RELAY = "mx.example.com:587"
OTHER = "other.example.com:587"
REFUSED = "535 5.7.8 dana@example.com: bad password"


def ask(context: Context, path: str) -> httpx.Response:
    with httpx.Client(transport=InProcess(build_app(context)), base_url="http://notify.test") as api:
        return api.get(path)


@pytest.fixture
def unreachable() -> Database:
    """A database that nobody listens for."""
    return Database("postgresql://nobody@127.0.0.1:1/nothing", connect_timeout_seconds=1)


def test_livez_answers_while_all_threads_are_busy(context: Context) -> None:
    async def asked() -> int:
        threads = current_default_thread_limiter()
        for _ in range(int(threads.total_tokens)):
            threads.acquire_on_behalf_of_nowait(object())
        async with httpx.AsyncClient(transport=httpx.ASGITransport(build_app(context))) as api, timeout(5):
            return (await api.get("http://notify.test/livez")).status_code

    assert asyncio.run(asked()) == 200


def test_a_service_with_a_database_and_a_relay_is_ready(context: Context) -> None:
    answer = ask(replace(context, no_mail=None), "/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "ready"


def test_a_service_without_a_relay_answers_and_says_that_no_email_is_sent(context: Context) -> None:
    answer = ask(context, "/readyz")

    assert answer.status_code == 200
    assert answer.json()["status"] == "degraded"
    assert answer.json()["checks"]["mail"] == {
        "ok": False,
        "detail": "NOTIFY_SMTP_URL is not set: nothing is claimed",
    }


@pytest.fixture
def sending(context: Context) -> Context:
    """An API with a configured relay."""
    return replace(context, no_mail=None, relays=(RELAY,))


def refuse_the_password(database: Database) -> None:
    minute = timedelta(minutes=1)
    with database.begin() as connection:
        relays.record_failure(
            connection,
            RELAY,
            reason="configuration: auth_refused",
            error=REFUSED,
            opens_after=1,
            first=minute,
            longest=minute,
        )


def mute(database: Database) -> None:
    with database.begin() as connection:
        relays.mute(connection, RELAY, because="dana: it moves")


def open_series(context: Context) -> dict[str, float]:
    """The reasons why nothing is claimed, as metrics."""
    lines = [line for line in ask(context, "/metrics").text.splitlines() if line.startswith("notify_relay_open{")]
    assert all(f'relay="{RELAY}"' in line for line in lines)
    return {line.partition('reason="')[2].partition('"')[0]: float(line.rpartition(" ")[2]) for line in lines}


def test_a_healthy_relay_does_not_degrade_the_service(sending: Context) -> None:
    answer = ask(sending, "/readyz").json()

    assert (answer["status"], answer["checks"]["relay"]["ok"]) == ("ready", True)
    assert open_series(sending) == {"relay": 0, "configuration": 0, "throttle": 0, "muted": 0}


def test_a_relay_that_refuses_the_password_degrades_the_service_without_revealing_its_reply(sending: Context) -> None:
    refuse_the_password(sending.database)

    answer = ask(sending, "/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    assert "configuration: auth_refused" in answer.json()["checks"]["relay"]["detail"]
    assert "dana" not in answer.text
    assert open_series(sending) == {"relay": 0, "configuration": 1, "throttle": 0, "muted": 0}


def test_a_muted_relay_degrades_the_service_whatever_else_is_wrong_with_it(sending: Context) -> None:
    mute(sending.database)
    assert ask(sending, "/readyz").json()["status"] == "degraded"
    assert open_series(sending) == {"relay": 0, "configuration": 0, "throttle": 0, "muted": 1}

    refuse_the_password(sending.database)
    answer = ask(sending, "/readyz")

    assert answer.json()["checks"]["relay"] == {"ok": False, "detail": "muted by an operator: nothing is claimed"}
    assert "dana" not in answer.text
    assert open_series(sending) == {"relay": 0, "configuration": 1, "throttle": 0, "muted": 1}


def test_a_wave_of_dead_emails_degrades_the_service_with_the_command_that_lists_them(sending: Context) -> None:
    def die() -> None:
        with sending.database.begin() as connection:
            rows.job(connection, **rows.ended("dead"), outcome_reason="oversize")

    for _ in range(MIN_DEATHS - 1):
        die()
    assert ask(sending, "/readyz").json()["status"] == "ready"
    die()

    answer = ask(sending, "/readyz")

    assert (answer.status_code, answer.json()["status"]) == (200, "degraded")
    detail = answer.json()["checks"]["emails"]["detail"]
    assert f"{MIN_DEATHS} of the " in detail
    assert "died of oversize" in detail
    assert detail.endswith("notify jobs list --status dead --reason oversize")
    assert "alice" not in answer.text


def test_another_relays_breaker_does_not_degrade_the_service(sending: Context) -> None:
    mute(sending.database)

    assert ask(replace(sending, relays=(OTHER,)), "/readyz").json()["status"] == "ready"


def test_of_two_relays_the_failing_one_is_named_whether_or_not_the_other_takes_the_emails(sending: Context) -> None:
    both = replace(sending, relays=(RELAY, OTHER))
    refuse_the_password(sending.database)

    answer = ask(both, "/readyz").json()

    assert answer["status"] == "degraded"
    assert {name: check["ok"] for name, check in answer["checks"].items() if "relay" in name} == {
        "relay": False,
        f"relay {OTHER}": True,
    }
    assert "nothing is claimed" not in answer["checks"]["relay"]["detail"]
    with sending.database.begin() as connection:
        relays.mute(connection, OTHER, because=None)
    checks = ask(both, "/readyz").json()["checks"]
    assert "nothing is claimed" in checks["relay"]["detail"]
    assert "muted" in checks[f"relay {OTHER}"]["detail"]


def test_each_configured_relay_has_its_series_before_its_first_failure(sending: Context) -> None:
    lines = ask(replace(sending, relays=(RELAY, OTHER)), "/metrics").text.splitlines()
    shown = {line.partition('relay="')[2].partition('"')[0] for line in lines if line.startswith("notify_relay_open{")}
    assert shown == {RELAY, OTHER}


def test_without_its_database_the_service_is_alive_but_not_ready(context: Context, unreachable: Database) -> None:
    broken = replace(context, database=unreachable)

    assert ask(broken, "/livez").status_code == 200
    assert ask(broken, "/readyz").status_code == 503
    assert ask(broken, "/readyz").json()["checks"]["database"]["ok"] is False
    assert ask(broken, "/metrics").status_code == 503


def test_a_read_only_server_makes_the_service_unready_until_another_accepts_writes(context: Context) -> None:
    with closing(Database(context.database.url)) as opened:
        here = replace(context, database=opened)
        with defaults(opened.url, {"default_transaction_read_only": "on"}):
            assert ask(here, "/readyz").status_code == 503
        Tally(opened, process=uuid4(), role=Role.API).flush()
        assert ask(here, "/readyz").status_code == 200


@pytest.mark.parametrize(("revision", "status"), [("0001", 503), ("9999", 200)])
def test_a_schema_behind_the_code_is_not_ready_and_one_ahead_of_it_is(
    context: Context, revision: str, status: int
) -> None:
    """During a deployment the old code runs on the new schema."""
    context = replace(context, relays=(RELAY,))
    with context.database.begin() as connection:
        head = connection.scalar(text("SELECT version_num FROM notify.alembic_version"))
        connection.execute(text("UPDATE notify.alembic_version SET version_num = :at"), {"at": revision})
    try:
        answer = ask(context, "/readyz")
    finally:
        with context.database.begin() as connection:
            connection.execute(text("UPDATE notify.alembic_version SET version_num = :at"), {"at": head})

    assert answer.status_code == status
    assert answer.json()["checks"]["schema"]["ok"] is (status == 200)


def test_a_database_that_was_never_migrated_is_not_ready(context: Context, unmigrated_database_url: str) -> None:
    empty = Database(unmigrated_database_url)
    try:
        assert ask(replace(context, database=empty), "/readyz").status_code == 503
    finally:
        empty.close()
