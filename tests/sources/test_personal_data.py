"""What a forge told about a person, exported or erased."""

from collections.abc import Iterator
from json import dumps
from pathlib import Path
from urllib.parse import quote

import pytest
from sqlalchemy import select, text

from notify.delivery.erasure import erase, export, remaining
from notify.store.database import Database
from notify.store.directory.person_names import PersonNames
from notify.store.forges import identities, mirror, personal_data
from notify.store.forges.identities import Identity
from notify.store.tables import metadata
from tests.support.forge import REPOSITORY, ForgeHarness, forge_harness
from tests.support.smtp import ScriptedRelay

META = "acme/meta"
ENTRIES = f'\n[forges.github.entries]\nrepository = "{META}"\nfolder = "rfcs"\n'
ENTRY = f"""---
slug: retries
repo: {REPOSITORY}
proposed_by: Octo-Ann
graduated_by: carol
owners: [dana, Octo-Ann]
arbiters: ["@OCTO-ANN"]
---
"""
WORDS = "only she says so"


@pytest.fixture
def sources(database: Database, relay: ScriptedRelay, tmp_path: Path) -> Iterator[ForgeHarness]:
    """Alice, who is Octo-Ann on the forge, owns, opens, reviews, comments, is asked for reviews and missed some."""
    with forge_harness(database, relay.url, tmp_path, configuration=ENTRIES) as made:
        state = made.forge.state
        state.add_repository(META)
        state.put_file(META, "rfcs/retries.md", ENTRY, by="admin")
        made.take_webhooks()
        made.sweep()
        state.open_pull(REPOSITORY, by="bob", title="Unmapped", head="a")
        state.request_review(REPOSITORY, 1, by="bob", logins=["Octo-Ann", "carol"])
        state.comment(REPOSITORY, 1, by="Octo-Ann", body=WORDS)
        made.take_webhooks()
        made.deliver()
        with database.begin() as connection:
            identities.put(connection, [Identity(forge="github", login="octo-ann", username="alice", source="cli")])
            mirror.note_action(connection, "github", REPOSITORY, 1, action="opened", on_behalf_of="Octo-Ann")
        state.open_pull(REPOSITORY, by="Octo-Ann", title="Change", head="b", body=WORDS)
        state.request_review(REPOSITORY, 2, by="Octo-Ann", logins=["bob"])
        state.open_pull(REPOSITORY, by="carol", title="Another", head="c")
        state.request_review(REPOSITORY, 3, by="carol", logins=["Octo-Ann", "bob"])
        state.review(REPOSITORY, 3, by="Octo-Ann", state="approved", body=WORDS)
        state.comment(REPOSITORY, 3, by="carol", body="Thanks.")
        made.take_webhooks()
        made.deliver()
        yield made


def everything(database: Database) -> str:
    """The content of all tables, as text in lower case."""
    with database.begin() as connection:
        rows = [row for table in metadata.tables.values() for row in connection.execute(select(table))]
        return "\n".join(str(tuple(row)) for row in rows).lower()


def deliveries(database: Database) -> list[tuple[str, str, bool]]:
    with database.begin() as connection:
        found = connection.execute(
            text("SELECT event, status, body = '' FROM notify.webhook_deliveries ORDER BY id")
        ).all()
    return [tuple(row) for row in found]


def test_erasure_leaves_nothing_of_a_person_in_any_table_until_the_forge_says_it_again(
    sources: ForgeHarness, database: Database
) -> None:
    before, jobs = deliveries(database), sources.rows("SELECT id, status FROM notify.email_jobs ORDER BY id")
    assert all(name in everything(database) for name in ("octo-ann", "alice@example.com", WORDS))

    for _ in erase(database, "alice"):
        pass

    left = everything(database)
    assert [name for name in ("octo-ann", "alice", WORDS) if name in left] == []
    assert remaining(database, "alice") == {}
    assert [(event, status) for event, status, _ in deliveries(database)] == [one[:2] for one in before]
    assert sources.rows("SELECT id, status FROM notify.email_jobs ORDER BY id") == jobs
    assert sources.rows("SELECT owners, graduated_by FROM notify.forge_entries") == [(["dana"], "carol")]
    assert [name for name in ("bob@example.com", "carol@example.com", "thanks.") if name not in left] == []
    sources.forge.state.comment(REPOSITORY, 2, by="bob", body="Hello?")
    sources.take_webhooks()
    assert "octo-ann" in everything(database)


def test_an_export_has_what_forges_told_about_a_person(sources: ForgeHarness, database: Database) -> None:
    given = export(database, "alice")
    assert {table: len(given[table]) for table in ("identities", "forge_entries", "forge_actions")} == {
        "identities": 1,
        "forge_entries": 1,
        "forge_actions": 1,
    }
    assert {one["number"] for one in given["forge_changes"]} == {2}
    assert {one["number"] for one in given["forge_reviewers"]} == {1, 3}
    assert any(WORDS in one["body"] for one in given["webhook_deliveries"])
    assert len(given["webhook_deliveries"]) == remaining(database, "alice")["webhook_deliveries"]
    assert not any(export(database, "dave").values())
    assert sources.rows("SELECT count(*) FROM notify.webhook_deliveries WHERE body = ''") == [(0,)]


def test_a_webhook_that_is_not_worked_off_yet_is_erased_by_a_repetition(
    sources: ForgeHarness, database: Database
) -> None:
    sources.forge.state.comment(REPOSITORY, 3, by="Octo-Ann", body=WORDS)
    assert sources.forge.hooks.wait()
    for _ in erase(database, "alice"):
        pass
    assert remaining(database, "alice") == {"identities": 1, "webhook_deliveries": 1}
    sources.take_webhooks()
    sources.deliver()
    for _ in erase(database, "alice"):
        pass
    left = everything(database)
    assert [name for name in ("octo-ann", WORDS) if name in left] == []


@pytest.mark.parametrize("name", ["ann", "ann.o-x", "Anné", "ann+tag@example.com"])
@pytest.mark.parametrize(
    "body",
    [
        lambda name: dumps({"login": name}),
        lambda name: dumps({"login": name}, ensure_ascii=False),
        lambda name: dumps({"body": f"line\n{name}\té"}),
        lambda name: dumps({"url": f"https://forge.example/{name}/app"}),
        lambda name: "payload=" + quote(dumps({"login": name})),
    ],
    ids=["json", "utf-8", "escapes", "url", "form"],
)
def test_a_name_is_found_in_a_body_however_it_is_written(database: Database, name: str, body: object) -> None:
    assert callable(body)
    with database.begin() as connection:
        ids = [
            connection.execute(
                text(
                    "INSERT INTO notify.webhook_deliveries (forge, delivery_id, event, content_type, body)"
                    " VALUES ('github', :id, 'ping', 'application/json', :body) RETURNING id"
                ),
                {"id": id_, "body": written},
            ).scalar_one()
            for id_, written in (("1", body(name).encode()), ("2", body(f"x{name}").encode()), ("3", b"\xff\x00\\"))
        ]
        names = PersonNames(username=name)
        assert [personal_data.count_deliveries(connection, names, [id_]) for id_ in ids] == [1, 0, 0]
