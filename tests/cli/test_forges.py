"""Forges and identities as an operator sees them."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from sqlalchemy import text

from notify import wiring
from notify.domain.stages import INBOX
from notify.sources.redelivery import redeliver
from notify.store.database import Database
from notify.store.forges import deliveries, identities
from notify.store.forges.deliveries import NewDelivery
from tests.cli.conftest import Notify
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness


@pytest.fixture
def sources(database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ForgeHarness]:
    with forge_harness(database, None, tmp_path) as made:
        monkeypatch.setenv("NOTIFY_FORGES_FILE", str(made.settings.forges_file))
        yield made


def stored(database: Database, *, status: str = "pending", body: bytes = b'{"zen": "[b]Keep it[/b]"}') -> int:
    """A delivery that stands in the inbox."""
    given = NewDelivery(
        forge="github", delivery_id=f"d-{status}", event="ping", content_type="application/json", body=body
    )
    with database.begin() as connection:
        id_ = deliveries.store(connection, [given])[0].id
        if status != "pending":
            connection.execute(
                text(
                    "UPDATE notify.webhook_deliveries SET status = :status, finished_at = now(),"
                    " outcome_reason = 'unreadable: no JSON' WHERE id = :id"
                ),
                {"status": status, "id": id_},
            )
            connection.execute(text("DELETE FROM notify.work_items WHERE stage = 'inbox' AND id = :id"), {"id": id_})
    return id_


def test_repositories_are_listed_with_when_they_were_read_and_why_not(notify: Notify, sources: ForgeHarness) -> None:
    (read,) = notify("forges", "list", "--json").json
    assert (read["full_name"], read["fault"], read["stale"]) == (REPOSITORY, None, 0)

    with sources.worker.database.begin() as connection:
        connection.execute(text("UPDATE notify.forge_repositories SET fault = '[b]no', fault_at = now()"))
    assert "[b]no" in notify("forges", "list").output


def test_a_dead_delivery_that_is_replayed_is_due_again(notify: Notify, database: Database) -> None:
    dead = stored(database, status="dead")
    (listed,) = notify("forges", "deliveries", "list", "--status", "dead", "--json").json
    assert (listed["id"], listed["outcome_reason"]) == (dead, "unreadable: no JSON")

    assert notify("forges", "deliveries", "replay", str(dead)).code == 0

    shown = notify("forges", "deliveries", "show", str(dead), "--json").json
    assert (shown["status"], shown["outcome_reason"]) == ("pending", None)
    with database.begin() as connection:
        due = connection.execute(text("SELECT id FROM notify.work_items WHERE stage = :stage"), {"stage": INBOX})
        assert due.scalars().all() == [dead]
    assert notify("forges", "deliveries", "replay", str(dead)).code == 1
    assert notify("forges", "deliveries", "replay", "999").code == 1


def test_a_body_is_printed_only_on_demand_and_as_it_came(notify: Notify, database: Database) -> None:
    one = str(stored(database))

    assert "Keep it" not in notify("forges", "deliveries", "show", one).output
    assert "Keep it" not in notify("forges", "deliveries", "show", one, "--json").output
    assert notify("forges", "deliveries", "show", one, "--body").output == '{"zen": "[b]Keep it[/b]"}\n'


def test_webhooks_that_did_not_arrive_are_asked_for_and_then_they_are_here(
    notify: Notify, sources: ForgeHarness, database: Database
) -> None:
    sources.forge.hooks.trouble.drop = True
    sources.forge.hooks.tell("ping", repository=REPOSITORY, repository_id=1, payload={"zen": "Keep it"})
    sources.forge.hooks.trouble.drop = False
    lost = sources.forge.hooks.deliveries[-1]

    assert notify("forges", "redeliver", "github").code == 0
    assert sources.forge.hooks.wait()

    with database.begin() as connection:
        assert lost.guid in {one.delivery_id for one in deliveries.listed(connection)}
    forges = wiring.forges(sources.settings, database)
    assert redeliver(forges, forges.by_name["github"]) == 0
    assert notify("forges", "redeliver", "elsewhere").code == 1


def test_a_rebuilt_mirror_has_the_same_repositories(notify: Notify, sources: ForgeHarness) -> None:
    assert notify("forges", "rebuild", "github", stdin="n\n").code == 1
    assert notify("forges", "rebuild", "github", "--yes").code == 0
    assert [(one["full_name"], one["swept_at"]) for one in notify("forges", "list", "--json").json] == [
        (REPOSITORY, None)
    ]

    sources.reconciler.drain()

    (read,) = notify("forges", "list", "--json").json
    assert (read["full_name"], read["swept_at"] is None) == (REPOSITORY, False)


@pytest.mark.usefixtures("sources")
def test_a_mirror_of_a_forge_that_there_is_not_is_not_rebuilt(notify: Notify) -> None:
    refused = notify("forges", "rebuild", "gihtub", "--yes")

    assert refused.code == 1
    assert "github" in str(refused.error)


def test_a_login_is_somebodys_until_it_is_removed(notify: Notify) -> None:
    assert notify("identities", "add", "github", "Octo-Ann", "ann").code == 0
    (listed,) = notify("identities", "list", "--json").json
    assert (listed["login"], listed["username"], listed["source"]) == ("Octo-Ann", "ann", "cli")

    assert notify("identities", "remove", "github", "octo-ann").code == 0
    assert notify("identities", "list", "--json").json == []
    assert notify("identities", "remove", "github", "octo-ann").code == 1
    assert notify("identities", "add", "github", " ", "ann").code == 1


def test_of_a_file_with_wrong_lines_each_is_named_and_nothing_is_stored(notify: Notify, tmp_path: Path) -> None:
    file = tmp_path / "people.csv"
    file.write_text("forge,login,username\ngithub,a,ann\ngithub,b\ngithub,,bob\ngithub,A,carol\n", encoding="utf-8")

    refused = notify("identities", "import", str(file))

    assert refused.code == 1
    assert all(words in str(refused.error) for words in ("line 3", "line 4", "a on github"))
    assert notify("identities", "list", "--json").json == []

    file.write_text("forge,login,username\ngithub,a,ann\r\n\ngithub,b,bob\n", encoding="utf-8-sig")
    assert notify("identities", "import", str(file)).code == 0
    assert [(one["login"], one["source"]) for one in notify("identities", "list", "--json").json] == [
        ("a", "csv"),
        ("b", "csv"),
    ]


@pytest.mark.parametrize("content", [b"login,username\na,ann\n", b"", b"forge,login,username\ngithub,\xff,ann\n"])
def test_a_file_of_another_shape_is_refused(notify: Notify, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "people.csv"
    assert notify("identities", "import", str(file)).code == 1
    file.write_bytes(content)

    assert notify("identities", "import", str(file)).code == 1


def test_logins_that_are_nobodys_are_listed_until_they_are_somebodys(notify: Notify, database: Database) -> None:
    with database.begin() as connection:
        identities.miss(connection, "github", ["Stranger"], event_key="k1", at=datetime.now(UTC))
    (listed,) = notify("identities", "unmapped", "--json").json
    assert (listed["login"], listed["missed"]) == ("stranger", 1)

    notify("identities", "add", "github", "stranger", "ann")

    assert notify("identities", "unmapped").output.strip() == "every login has a person"
