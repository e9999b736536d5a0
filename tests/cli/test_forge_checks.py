"""What the doctor finds about forges."""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from notify.embedded.forge.rest import Answer
from notify.statuses.publish import publish
from notify.statuses.schema import parse
from notify.store.database import Database
from notify.store.forges import deliveries, identities
from notify.store.forges.deliveries import NewDelivery
from tests.cli.conftest import Notify
from tests.forges.server import ForgeServer
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.statuses import wanted

MAY_READ = {"contents": "read", "metadata": "read", "pull_requests": "read", "statuses": "read"}
BUILT_BY_WORKFLOW = """
[queues."app/main"]
forge = "github"
repository = "acme/app"
ref = "refs/heads/main"
remote = "/no/such/remote"
runner = { kind = "github_actions", workflow = "validate.yml", ref = "refs/heads/main" }
"""
FAILS = "UPDATE notify.forge_repositories SET fault = 'forbidden', fault_at = now()"
LATE = "UPDATE notify.forge_repositories SET swept_at = now() - interval '1 hour'"


@pytest.fixture
def sources(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgeHarness]:
    with forge_harness(database, None, tmp_path) as made:
        monkeypatch.setenv("NOTIFY_FORGES_FILE", str(made.settings.forges_file))
        yield made


def found(notify: Notify, about: str) -> dict[str, Any]:
    (one,) = [one for one in notify("doctor", "--json").json if one["about"] == about]
    assert isinstance(one, dict)
    return one


def change(database: Database, statement: str) -> None:
    with database.begin() as connection:
        connection.execute(text(statement))


@pytest.mark.usefixtures("sources")
def test_a_forge_that_is_well_has_no_findings(notify: Notify) -> None:
    for about in ("forges file", "forge github", "forge github permissions", "repositories", "webhook deliveries"):
        assert found(notify, about)["ok"], about


def test_a_forge_that_does_not_answer_is_named(notify: Notify, tmp_path: Path, sources: ForgeHarness) -> None:
    assert sources.settings.forges_file is not None
    closed = tmp_path / "closed.toml"
    given = sources.settings.forges_file.read_text(encoding="utf-8")
    closed.write_text(given.replace(sources.forge.url, "http://127.0.0.1:9"), encoding="utf-8")

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NOTIFY_FORGES_FILE", str(closed))
        assert not found(notify, "forge github")["ok"]


@contextmanager
def app_that_may(sources: ForgeHarness, folder: Path, permissions: Mapping[str, str], its: str = "") -> Iterator[None]:
    """A forge whose app has these permissions, instead of the one there is."""
    assert sources.settings.forges_file is not None
    given = sources.settings.forges_file.read_text(encoding="utf-8")
    file = folder / "app.toml"
    with ForgeServer() as other, pytest.MonkeyPatch.context() as patch:
        other.says("/app", {"id": 1, "slug": "notify", "permissions": dict(permissions)})
        file.write_text(given.replace(f"{sources.forge.url}/api/v3", other.url) + its, encoding="utf-8")
        patch.setenv("NOTIFY_FORGES_FILE", str(file))
        yield


def test_what_an_app_may_not_write_is_a_note(notify: Notify, tmp_path: Path, sources: ForgeHarness) -> None:
    assert "write" not in found(notify, "forge github permissions")["found"]
    with app_that_may(sources, tmp_path, MAY_READ, 'error_label = "status unknown"\n'):
        one = found(notify, "forge github permissions")
    assert one["ok"]
    for lacking in ("members: read", "statuses: write", "checks: write", "pull_requests: write"):
        assert lacking in one["found"]


@pytest.mark.parametrize("lacking", ["contents", "metadata", "pull_requests"])
def test_what_an_app_may_not_read_is_a_fault(
    notify: Notify, tmp_path: Path, sources: ForgeHarness, lacking: str
) -> None:
    may = {name: level for name, level in MAY_READ.items() if name != lacking}
    with app_that_may(sources, tmp_path, may):
        one = found(notify, "forge github permissions")
    assert not one["ok"]
    assert f"{lacking}: read" in one["found"]


@pytest.mark.parametrize("level", [None, "read", "write"])
def test_an_app_that_may_not_start_the_workflows_of_a_queue_is_a_fault(
    notify: Notify, tmp_path: Path, sources: ForgeHarness, level: str | None
) -> None:
    with app_that_may(sources, tmp_path, MAY_READ | ({"actions": level} if level else {}), BUILT_BY_WORKFLOW):
        one = found(notify, "workflows on github")
    assert one["ok"] is (level == "write")
    assert "app/main" in one["found"]


def test_of_an_invalid_file_every_fault_is_named(
    notify: Notify, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "forges.toml"
    file.write_text('[forges.code]\nkind = "gitea"\nwebhook_secrets = ["a plain secret"]\n', encoding="utf-8")
    monkeypatch.setenv("NOTIFY_FORGES_FILE", str(file))

    one = found(notify, "forges file")

    assert not one["ok"]
    assert all(key in one["found"] for key in ("web_url", "token", "webhook_secrets"))
    assert "a plain secret" not in one["found"]


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize("statement", [FAILS, LATE])
def test_a_repository_that_is_not_read_is_named(notify: Notify, database: Database, statement: str) -> None:
    change(database, statement)

    one = found(notify, "repositories")

    assert not one["ok"]
    assert REPOSITORY in one["found"]


@pytest.mark.usefixtures("sources")
def test_dead_deliveries_are_a_finding_and_strangers_a_note(notify: Notify, database: Database) -> None:
    given = NewDelivery(forge="github", delivery_id="d", event="ping", content_type="application/json", body=b"{}")
    with database.begin() as connection:
        id_ = deliveries.store(connection, [given])[0].id
        identities.miss(connection, "github", ["stranger"], event_key="k", at=datetime.now(UTC))
    change(
        database,
        "UPDATE notify.webhook_deliveries SET status = 'dead', finished_at = now(), outcome_reason = 'no JSON'",
    )

    dead, logins = found(notify, "webhook deliveries"), found(notify, "logins")

    assert not dead["ok"]
    assert f"{id_} (no JSON)" in dead["found"]
    assert logins["ok"]
    assert "stranger" in logins["found"]


@pytest.mark.usefixtures("sources")
def test_a_forge_whose_clock_is_ours_has_no_finding(notify: Notify) -> None:
    assert found(notify, "forge github clock")["ok"]


@pytest.mark.parametrize("minutes", [-3, 3])
def test_a_clock_that_differs_is_found_though_the_forge_refuses_the_app_for_it(
    notify: Notify, sources: ForgeHarness, minutes: int
) -> None:
    there = format_datetime(datetime.now(UTC) + timedelta(minutes=minutes), usegmt=True)
    sources.forge.rest.only("/", answer=Answer(401, {"Date": there}), times=100)
    findings = {one["about"]: one for one in notify("doctor", "--json").json}
    assert not findings["forge github"]["ok"]
    assert not findings["forge github clock"]["ok"]
    differs = [float(number) for number in re.findall(r"by ([0-9.]+) s", findings["forge github clock"]["found"])]
    assert len(differs) == 2
    assert all(170 < seconds < 190 for seconds in differs)


@pytest.mark.usefixtures("sources")
@pytest.mark.parametrize(
    ("named", "is_right", "mentioned"),
    [("", True, "NOTIFY_OPERATORS"), ("alice, bob", True, "alice"), ("alice nobody", False, "nobody")],
)
def test_operators_who_cannot_be_told_are_named(
    notify: Notify, monkeypatch: pytest.MonkeyPatch, named: str, mentioned: str, *, is_right: bool
) -> None:
    monkeypatch.setenv("NOTIFY_OPERATORS", named)
    one = found(notify, "operators")
    assert one["ok"] is is_right
    assert mentioned in one["found"]


@pytest.mark.usefixtures("sources")
def test_dead_statuses_are_a_finding(notify: Notify, database: Database) -> None:
    assert found(notify, "statuses")["ok"]
    with database.begin() as connection:
        (receipt,) = publish(connection, [parse(wanted())])
    change(
        database,
        "UPDATE notify.commit_statuses SET status = 'dead', finished_at = now(), outcome_reason = 'forbidden';"
        " UPDATE notify.work_items SET lane = 9, reason = 'forbidden'",
    )

    dead = found(notify, "statuses")

    assert not dead["ok"]
    assert f"{receipt.id} on acme/app (forbidden)" in dead["found"]
