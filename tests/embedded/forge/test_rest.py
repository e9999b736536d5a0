"""The embedded forge over HTTP: who may call, pages, tags, redirects, and webhooks that arrive or go wrong."""

import hmac
from collections.abc import Iterator
from hashlib import sha256
from http.server import ThreadingHTTPServer
from json import loads
from pathlib import Path
from typing import Any, ClassVar

import pytest

from notify.embedded.forge.rest import Answer
from notify.embedded.forge.server import SECRET_FILE, EmbeddedForge
from tests.support.forge_calls import app_token, client, installation_token, running_forge
from tests.support.http_server import QuietHandler, serving
from tests.support.wait import until

REPOSITORY = "acme/app"


class Receiver(QuietHandler):
    """Takes webhooks."""

    taken: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.taken.append(({name.lower(): value for name, value in self.headers.items()}, body))
        self.send_response(202)
        self.end_headers()


@pytest.fixture
def webhooks() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """An address that takes webhooks, and those that it has taken."""
    Receiver.taken = []
    with serving(server := ThreadingHTTPServer(("127.0.0.1", 0), Receiver)):
        yield f"http://127.0.0.1:{server.server_port}/webhooks/github", Receiver.taken


@pytest.fixture
def forge(tmp_path: Path, webhooks: tuple[str, Any]) -> Iterator[EmbeddedForge]:
    with running_forge(tmp_path, webhook_url=webhooks[0]) as running:
        running.state.add_repository(REPOSITORY)
        yield running


def test_an_app_gets_a_token_for_its_installation_and_with_it_the_repositories(
    forge: EmbeddedForge, tmp_path: Path
) -> None:
    with client(forge, installation_token(forge, tmp_path)) as installation:
        answer = installation.get("/installation/repositories").json()
    assert [one["full_name"] for one in answer["repositories"]] == [REPOSITORY]


@pytest.mark.parametrize("token", ["nothing", "ghs_invented"])
def test_without_a_token_that_holds_nothing_is_told(forge: EmbeddedForge, token: str) -> None:
    with client(forge, token) as stranger:
        assert stranger.get(f"/repos/{REPOSITORY}").status_code == 401


def test_another_apps_token_and_one_that_has_expired_hold_no_longer(forge: EmbeddedForge, tmp_path: Path) -> None:
    with client(forge, app_token(tmp_path, app_id=7)) as other:
        assert other.get("/app").status_code == 401
    with client(forge, installation_token(forge, tmp_path)) as installation:
        assert installation.get(f"/repos/{REPOSITORY}").status_code == 200
        forge.rest.expire_tokens()
        assert installation.get(f"/repos/{REPOSITORY}").status_code == 401


def test_long_lists_come_in_pages_that_name_the_next(forge: EmbeddedForge) -> None:
    for number in range(5):
        forge.state.open_pull(REPOSITORY, by="alice", title=f"Change {number}", head=f"b{number}")
    with client(forge, "person_alice") as alice:
        seen, url = [], f"/repos/{REPOSITORY}/pulls?per_page=2"
        while url:
            answer = alice.get(url)
            seen += [one["number"] for one in answer.json()]
            url = answer.links.get("next", {}).get("url", "")
    assert seen == [5, 4, 3, 2, 1]


def test_what_has_not_changed_is_not_told_twice(forge: EmbeddedForge) -> None:
    url = f"/repos/{REPOSITORY}/pulls?state=all"
    with client(forge, "person_alice") as alice:
        tag = alice.get(url).headers["etag"]
        assert alice.get(url, headers={"If-None-Match": tag}).status_code == 304
        forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
        assert alice.get(url, headers={"If-None-Match": tag}).status_code == 200


def test_a_repository_is_found_by_its_former_name(forge: EmbeddedForge) -> None:
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.state.rename(REPOSITORY, "acme/application")
    with client(forge, "person_alice") as alice:
        moved = alice.get(f"/repos/{REPOSITORY}")
        assert moved.status_code == 301
        assert alice.get(moved.headers["location"]).json()["full_name"] == "acme/application"


def test_a_person_makes_a_repository_once(forge: EmbeddedForge) -> None:
    with client(forge, "person_alice") as alice:
        made = alice.post("/orgs/acme/repos", json={"name": "tools"})
        assert (made.status_code, made.json()["full_name"]) == (201, "acme/tools")
        assert alice.post("/orgs/acme/repos", json={"name": "tools"}).status_code == 422
        assert alice.get("/repos/acme/tools").json()["id"] == made.json()["id"]


def test_an_answer_can_be_replaced_once(forge: EmbeddedForge) -> None:
    forge.rest.instead.append(Answer(403, {"Retry-After": "7"}))
    with client(forge, "person_alice") as alice:
        refused = alice.get(f"/repos/{REPOSITORY}")
        assert (refused.status_code, refused.headers["retry-after"]) == (403, "7")
        assert alice.get(f"/repos/{REPOSITORY}").status_code == 200


def test_webhooks_arrive_in_order_signed_over_their_very_bytes(
    forge: EmbeddedForge, tmp_path: Path, webhooks: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    secret = (tmp_path / SECRET_FILE).read_bytes()
    with client(forge, "person_alice") as alice:
        opened = {"title": "Cap the retry", "head": "cap", "base": "main"}
        assert alice.post(f"/repos/{REPOSITORY}/pulls", json=opened).status_code == 201
        alice.post(f"/repos/{REPOSITORY}/issues/1/comments", json={"body": "Why?"})
    assert forge.hooks.wait()
    assert [headers["x-github-event"] for headers, _ in webhooks[1]] == ["push", "pull_request", "issue_comment"]
    for headers, body in webhooks[1]:
        assert headers["x-hub-signature-256"] == f"sha256={hmac.digest(secret, body, sha256).hex()}"
    assert loads(webhooks[1][2][1])["sender"]["login"] == "alice"


def test_webhooks_can_be_lost_repeated_reversed_and_forged(
    forge: EmbeddedForge, tmp_path: Path, webhooks: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    taken, trouble = webhooks[1], forge.hooks.trouble
    trouble.drop = True
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    trouble.drop, trouble.times = False, 3
    forge.state.comment(REPOSITORY, 1, by="bob", body="Thrice")
    assert forge.hooks.wait()
    assert [loads(body)["comment"]["body"] for _, body in taken] == ["Thrice"] * 3
    assert len({headers["x-github-delivery"] for headers, _ in taken}) == 1
    taken.clear()
    trouble.times, trouble.reverse = 1, True
    for words in ("first", "second"):
        forge.state.comment(REPOSITORY, 1, by="bob", body=words)
    forge.hooks.release()
    assert forge.hooks.wait()
    assert [loads(body)["comment"]["body"] for _, body in taken] == ["second", "first"]
    taken.clear()
    trouble.reverse, trouble.wrong_signature = False, True
    forge.state.comment(REPOSITORY, 1, by="bob", body="Forged")
    assert forge.hooks.wait()
    secret = (tmp_path / SECRET_FILE).read_bytes()
    assert taken[0][0]["x-hub-signature-256"] != f"sha256={hmac.digest(secret, taken[0][1], sha256).hex()}"


def test_a_webhook_that_did_not_arrive_is_listed_and_sent_again_on_demand(
    forge: EmbeddedForge, tmp_path: Path, webhooks: tuple[str, list[tuple[dict[str, str], bytes]]]
) -> None:
    forge.hooks.trouble.drop = True
    forge.state.open_pull(REPOSITORY, by="alice", title="Change", head="b")
    forge.hooks.trouble.drop = False
    with client(forge, app_token(tmp_path)) as app:
        failed = app.get("/app/hook/deliveries?status=failure").json()
        assert [one["event"] for one in failed] == ["pull_request", "push"]
        assert app.post(f"/app/hook/deliveries/{failed[0]['id']}/attempts").status_code == 202
        until(lambda: len(webhooks[1]) == 1)
        assert forge.hooks.wait()
        assert [one["event"] for one in app.get("/app/hook/deliveries?status=failure").json()] == ["push"]
