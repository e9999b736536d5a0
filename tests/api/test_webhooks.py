"""Accepting webhook deliveries: how little it costs the database, and that those that arrive together get on."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace
from hashlib import sha256
from hmac import digest
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy import text

from notify.api.app import build_app
from notify.domain.forge_settings import ForgeKind, ForgeSettings, Secret
from notify.forges import connect
from notify.http.context import Context
from notify.store.database import Database
from notify.work.forges import Forge, Forges
from tests.support.statements import statements

SECRET = "a secret of a webhook"
SETTINGS = ForgeSettings(
    name="code",
    kind=ForgeKind.GITEA,
    api_url="http://127.0.0.1:9/api/v1",
    web_url="http://127.0.0.1:9",
    webhook_secrets=(Secret("env:SECRET", SECRET),),
    token=Secret("env:TOKEN", "unused"),
)


@pytest.fixture
def app(context: Context, database: Database) -> FastAPI:
    """The API with one forge that is never asked."""
    connected = connect.connected(SETTINGS)
    parser = connect.parser(SETTINGS)
    forge = Forge(SETTINGS, parser=parser, reader=connected.reader, writer=connected.writer)
    return build_app(replace(context, forges=Forges(database, {SETTINGS.name: forge})))


@pytest.fixture
def unwelcome(database: Database) -> Iterator[str]:
    """An id that the table does not take. The test's database is emptied, not made anew, for the next test."""
    table = "ALTER TABLE notify.webhook_deliveries"
    with database.begin() as connection:
        connection.execute(text(f"{table} ADD CONSTRAINT welcome CHECK (delivery_id <> 'unwelcome')"))
    yield "unwelcome"
    with database.begin() as connection:
        connection.execute(text(f"{table} DROP CONSTRAINT welcome"))


async def deliver(client: httpx.AsyncClient, name: str, *, event: str = "push", body: bytes = b"{}") -> httpx.Response:
    headers = {
        "Content-Type": "application/json",
        "X-Gitea-Event": event,
        "X-Gitea-Event-Type": event,
        "X-Gitea-Delivery": name,
        "X-Gitea-Signature": digest(SECRET.encode(), body, sha256).hex(),
    }
    return await client.post("/webhooks/code", content=body, headers=headers)


def together(app: FastAPI, names: Sequence[str], **more: Any) -> list[httpx.Response]:
    """The answers to deliveries with these ids, sent at once."""

    async def send() -> list[httpx.Response]:
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with httpx.AsyncClient(transport=transport, base_url="http://notify.test") as client:
            return await asyncio.gather(*(deliver(client, name, **more) for name in names))

    return asyncio.run(send())


def stored(database: Database) -> list[tuple[str, bytes]]:
    """Deliveries that are due, with their bodies."""
    due = (
        "SELECT delivery.delivery_id, delivery.body FROM notify.webhook_deliveries AS delivery"
        " JOIN notify.work_items AS item ON item.stage = 'inbox' AND item.id = delivery.id ORDER BY delivery_id"
    )
    with database.begin() as connection:
        return [(name, bytes(body)) for name, body in connection.execute(text(due))]


def test_an_accepted_delivery_costs_one_statement_and_a_known_one_too(app: FastAPI, database: Database) -> None:
    with statements(database) as first:
        (answer,) = together(app, ["d1"], body=b'{"n": 1}')
    assert (answer.status_code, len(first)) == (202, 1)
    with statements(database) as again:
        (repeated,) = together(app, ["d1"])
    assert (repeated.status_code, len(again)) == (200, 1)
    assert repeated.json() == {"id": answer.json()["id"], "duplicate": True}
    assert stored(database) == [("d1", b'{"n": 1}')]


def test_deliveries_that_arrive_together_share_statements_and_each_gets_its_own_row(
    app: FastAPI, database: Database
) -> None:
    names = [f"d{number:02}" for number in range(20)]
    with statements(database) as sent:
        answers = together(app, names)
    assert {answer.status_code for answer in answers} == {202}
    assert len(sent) <= 5
    assert [name for name, _ in stored(database)] == names
    with database.begin() as connection:
        rows = connection.execute(text("SELECT delivery_id, id FROM notify.webhook_deliveries")).all()
    ids = {row.delivery_id: row.id for row in rows}
    assert [answer.json()["id"] for answer in answers] == [ids[name] for name in names]


def test_of_one_delivery_that_arrives_twice_at_once_one_is_known(app: FastAPI, database: Database) -> None:
    answers = together(app, ["d1", "d2", "d3", "d3", "d3"])
    assert sorted(answer.status_code for answer in answers) == [200, 200, 202, 202, 202]
    assert len({answer.json()["id"] for answer in answers[2:]}) == 1
    assert [name for name, _ in stored(database)] == ["d1", "d2", "d3"]


def test_a_delivery_that_cannot_be_stored_refuses_no_other_that_arrives_with_it(
    app: FastAPI, database: Database, unwelcome: str
) -> None:
    answers = together(app, ["d1", "d2", "d3", unwelcome, "d4", "d5"])
    assert [answer.status_code for answer in answers] == [202, 202, 202, 500, 202, 202]
    assert len(stored(database)) == 5


def test_an_id_that_no_forge_makes_is_none(app: FastAPI, database: Database) -> None:
    """An index takes no text of any length, and the id is not signed."""
    (answer,) = together(app, [sha256(b"1").hexdigest() * 60])
    assert answer.status_code == 202
    assert stored(database) == [(f"sha256:{sha256(b'{}').hexdigest()}", b"{}")]


def test_a_large_body_is_stored_as_it_came(app: FastAPI, database: Database) -> None:
    body = b'"' + b"\x00\\\xff'{,}" * 20_000 + b'"'
    (answer,) = together(app, ["d1"], body=body)
    assert answer.status_code == 202
    small = bytes(range(256))
    answers = together(app, ["d2", "d3", "d4", "d5"], body=small)
    assert {one.status_code for one in answers} == {202}
    assert stored(database) == [("d1", body), *((name, small) for name in ("d2", "d3", "d4", "d5"))]
