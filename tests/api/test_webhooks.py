"""Which webhook deliveries the API takes, what it answers to the others, and that it stores nothing of them."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, HashAlgorithm
from cryptography.hazmat.primitives.hmac import HMAC
from fastapi import FastAPI
from sqlalchemy import func, select, text

from notify.api.app import build_app
from notify.domain.forge_settings import ForgeKind, ForgeSettings, Secret
from notify.domain.stages import INBOX
from notify.forges import connect
from notify.http.context import Context
from notify.store.database import Database
from notify.store.tables.emails import work_items
from notify.store.tables.forges import webhook_deliveries
from notify.work.forges import Forge, Forges

OLD, NEW, OTHERS = "the secret of before", "the secret of today", "another forge's secret"
BODY = b'{"zen": "Keep it logically awesome.", "hook_id": 1, "hook": {"type": "App"}}'
JSON, FORM = {"Content-Type": "application/json"}, {"Content-Type": "application/x-www-form-urlencoded"}
GITHUB, GITEA = "X-Hub-Signature-256", "X-Gitea-Signature"
GITHUB_ID, GITEA_ID = "X-GitHub-Delivery", "X-Gitea-Delivery"


def hmac(secret: str, body: bytes = BODY, algorithm: HashAlgorithm | None = None) -> str:
    """By cryptography, whose HMAC is not the one that checks it."""
    made = HMAC(secret.encode(), algorithm or SHA256())
    made.update(body)
    return made.finalize().hex()


def configured(name: str, kind: ForgeKind, *secrets: str) -> Forge:
    settings = ForgeSettings(
        name=name,
        kind=kind,
        api_url="http://127.0.0.1:9",
        web_url="http://127.0.0.1:9",
        webhook_secrets=tuple(Secret(f"env:{number}", secret) for number, secret in enumerate(secrets)),
        token=Secret("env:TOKEN", "t"),
    )
    connected = connect.connected(settings)
    return Forge(settings, parser=connect.parser(settings), reader=connected.reader, writer=connected.writer)


@pytest.fixture
def app(context: Context, database: Database) -> Iterator[FastAPI]:
    """An API for four forges, one of which has an empty secret, and one none."""
    known = [
        configured("github", ForgeKind.GITHUB, NEW, OLD),
        configured("code", ForgeKind.GITEA, OTHERS),
        configured("open", ForgeKind.GITHUB, ""),
        configured("deaf", ForgeKind.GITHUB),
    ]
    forges = Forges(database, {one.name: one for one in known})
    yield build_app(replace(context, forges=forges))
    forges.close()


def stored(database: Database) -> list[tuple[str, str]]:
    with database.begin() as connection:
        columns = select(webhook_deliveries.c.forge, webhook_deliveries.c.delivery_id).order_by("id")
        return [tuple(row) for row in connection.execute(columns)]


TAKEN: list[tuple[str, dict[str, str]]] = [
    ("github", {GITHUB: f"sha256={hmac(NEW)}"}),
    ("github", {GITHUB: f"sha256={hmac(OLD)}"}),
    ("github", {GITHUB: f"sha256={hmac(NEW)}", "X-Hub-Signature": "sha1=" + "0" * 40}),
    ("code", {GITEA: hmac(OTHERS)}),
    ("code", {GITHUB: f"sha256={hmac(OTHERS)}"}),
    ("code", {GITEA: hmac(OTHERS), GITHUB: "sha256=" + "0" * 64}),
]
REFUSED: list[tuple[str, dict[str, str], int]] = [
    ("github", JSON, 400),
    ("github", {**JSON, "X-Hub-Signature": f"sha1={hmac(NEW, algorithm=SHA1())}"}, 400),  # noqa: S303
    ("github", {**JSON, GITHUB: f"sha1={hmac(NEW, algorithm=SHA1())}"}, 400),  # noqa: S303
    ("github", {**JSON, GITHUB: ""}, 400),
    ("github", {**JSON, GITHUB: "sha256="}, 400),
    ("github", {**JSON, GITHUB: hmac(NEW)}, 400),
    ("github", {**JSON, GITHUB: f"sha256={hmac(NEW)[:-1]}"}, 400),
    ("github", {**JSON, GITHUB: f"sha256={hmac(NEW)}0"}, 400),
    ("github", {**JSON, GITHUB: f"sha256={'g' * 64}"}, 400),
    ("github", {**JSON, GITEA: hmac(NEW)}, 400),
    ("github", {**JSON, GITHUB: f"sha256={hmac(OTHERS)}"}, 403),
    ("github", {**JSON, GITHUB: f"sha256={hmac('')}"}, 403),
    ("github", {**JSON, GITHUB: f"sha256={hmac(NEW, BODY + b' ')}"}, 403),
    ("github", {**JSON, GITHUB: f"sha256={hmac(NEW, b'')}"}, 403),
    ("open", {**JSON, GITHUB: f"sha256={hmac('')}"}, 403),
    ("open", {**JSON, GITHUB: "sha256="}, 400),
    ("deaf", {**JSON, GITHUB: f"sha256={hmac('')}"}, 403),
    ("code", {**JSON, GITEA: hmac(NEW)}, 403),
    ("code", {**JSON, GITEA: "", GITHUB: f"sha256={hmac(OTHERS)}"}, 400),
    ("code", {**JSON, GITEA: f"sha256={hmac(OTHERS)}"}, 400),
    ("elsewhere", {**JSON, GITHUB: f"sha256={hmac(NEW)}"}, 404),
    ("github", {GITHUB: f"sha256={hmac(NEW)}"}, 415),
    ("github", {"Content-Type": "text/plain", GITHUB: f"sha256={hmac(NEW)}"}, 415),
    ("github", {"Content-Type": "multipart/form-data; boundary=b", GITHUB: f"sha256={hmac(NEW)}"}, 415),
]


def test_a_delivery_signed_with_any_secret_of_its_forge_is_stored_and_due(
    api: httpx.Client, database: Database
) -> None:
    ids = []
    for number, (forge, headers) in enumerate(TAKEN):
        named = {**JSON, GITHUB_ID: f"d{number}", GITEA_ID: f"d{number}", **headers}
        answer = api.post(f"/webhooks/{forge}", content=BODY, headers=named)
        assert answer.status_code == 202, headers
        ids.append(answer.json()["id"])
    assert stored(database) == [(forge, f"d{number}") for number, (forge, _) in enumerate(TAKEN)]
    with database.begin() as connection:
        due = connection.execute(select(work_items.c.id).where(work_items.c.stage == INBOX).order_by("id")).scalars()
        assert due.all() == ids


def test_of_a_delivery_that_is_refused_nothing_is_stored(api: httpx.Client, database: Database) -> None:
    for forge, headers, status in REFUSED:
        named = {GITHUB_ID: "d", GITEA_ID: "d", **headers}
        answer = api.post(f"/webhooks/{forge}", content=BODY, headers=named)
        assert answer.status_code == status, (forge, headers)
    assert stored(database) == []


def test_only_post_is_answered(api: httpx.Client) -> None:
    methods = ("GET", "HEAD", "PUT", "DELETE", "PATCH")
    assert {api.request(one, "/webhooks/github").status_code for one in methods} == {405}


def test_a_form_is_signed_as_it_came(api: httpx.Client, database: Database) -> None:
    body = b"payload=%7B%22zen%22%3A+%22Keep%22%7D"
    headers = {**FORM, GITHUB_ID: "d", GITHUB: f"sha256={hmac(NEW, body)}"}
    assert api.post("/webhooks/github", content=body, headers=headers).status_code == 202
    with database.begin() as connection:
        assert connection.execute(select(webhook_deliveries.c.body)).scalar_one() == body


@pytest.mark.parametrize("is_announced", [True, False])
def test_a_delivery_over_25_mib_is_refused_and_one_of_25_mib_is_not(
    api: httpx.Client, database: Database, *, is_announced: bool
) -> None:
    body = b" " * (25 * 1024 * 1024)
    headers = {**JSON, GITHUB_ID: "d", GITHUB: f"sha256={hmac(NEW, body)}"}
    for more, status in ((b" ", 413), (b"", 202)):
        content = body + more if is_announced else iter([body, more])
        assert api.post("/webhooks/github", content=content, headers=headers).status_code == status
    assert stored(database) == [("github", "d")]


def test_an_id_is_known_within_its_forge_and_without_one_the_body_names_the_delivery(
    api: httpx.Client, database: Database
) -> None:
    named = {**JSON, GITHUB_ID: "d", GITEA_ID: "d"}
    assert api.post("/webhooks/github", content=BODY, headers={**named, GITHUB: f"sha256={hmac(NEW)}"}).is_success
    assert api.post("/webhooks/code", content=BODY, headers={**named, GITEA: hmac(OTHERS)}).status_code == 202
    assert stored(database) == [("github", "d"), ("code", "d")]
    answers = [
        api.post("/webhooks/github", content=body, headers={**JSON, GITHUB: f"sha256={hmac(NEW, body)}"}).status_code
        for body in (BODY, BODY, BODY + b" ")
    ]
    assert answers == [202, 200, 202]


@pytest.mark.parametrize(("status", "answer"), [("pending", 200), ("done", 200), ("ignored", 200), ("dead", 202)])
def test_a_repeated_delivery_is_due_again_only_if_it_had_failed_here(
    api: httpx.Client, database: Database, status: str, answer: int
) -> None:
    headers = {**JSON, GITHUB_ID: "d", GITHUB: f"sha256={hmac(NEW)}"}
    first = api.post("/webhooks/github", content=BODY, headers=headers).json()
    if status != "pending":
        with database.begin() as connection:
            ended = "UPDATE notify.webhook_deliveries SET status = :status, finished_at = now(), outcome_reason = 'x'"
            connection.execute(text(ended), {"status": status})
            connection.execute(text("DELETE FROM notify.work_items"))
    again = api.post("/webhooks/github", content=BODY, headers=headers)
    assert (again.status_code, again.json()) == (answer, {"id": first["id"], "duplicate": answer == 200})
    with database.begin() as connection:
        is_due = connection.execute(select(func.count()).select_from(work_items)).scalar_one() == 1
        now = connection.execute(select(webhook_deliveries.c.status)).scalar_one()
    assert (is_due, now) == ((True, "pending") if status in {"pending", "dead"} else (False, status))
