"""A call ends within a lease, follows a forge but nobody else, and keeps its token to itself."""

import json
import logging
import sys
from contextlib import closing
from subprocess import run
from threading import Thread
from time import monotonic

import pytest

from notify.domain.forge_answers import (
    Applied,
    ForgeFault,
    Misconfigured,
    RateLimited,
    Refused,
    Unavailable,
)
from notify.forges.answers import Credential
from notify.forges.client import APP, Connection, FixedToken, ForgeClient, Scope, Token, repository_path
from tests.forges.server import Answer, Asked, ForgeServer
from tests.forges.shapes import settings

HERE = Scope("acme/app")
SECRET = "ghs_16C7e42F292c6912E7710c838347Ae178B4a"


class Rotating:
    """Credentials of an installation: each token that is dropped is followed by another."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def token(self, scope: Scope) -> Token:
        assert scope == HERE
        return Token(f"{SECRET}-{len(self.dropped)}", Credential.INSTALLATION)

    def drop(self, token: Token) -> None:
        self.dropped.append(token.text)

    def installation(self, scope: Scope) -> int | None:
        return 7 if scope == HERE else None


def client_of(forge: ForgeServer, **limits: float) -> ForgeClient:
    return ForgeClient(forge.connection(**limits), FixedToken(SECRET))


def fault_of(client: ForgeClient, path: str = "/x") -> ForgeFault:
    with pytest.raises(ForgeFault) as raised:
        client.get(path, HERE)
    return raised.value


def test_a_call_says_who_it_is_and_what_it_wants(forge: ForgeServer) -> None:
    forge.says("/x", {"a": 1})
    assert client_of(forge).json("/x", HERE, params={"state": "open"}) == {"a": 1}
    (asked,) = forge.asked
    assert (asked.headers["user-agent"], asked.headers["accept"]) == ("notify", "application/vnd.github+json")
    assert (asked.token, dict(asked.query)) == (SECRET, {"state": "open"})


def test_what_has_not_changed_is_not_read_again(forge: ForgeServer) -> None:
    def conditional(asked: Asked) -> Answer:
        return (
            Answer(status=304)
            if asked.headers.get("if-none-match") == '"one"'
            else Answer([1], headers={"ETag": '"one"'})
        )

    forge.scripts["/x"] = conditional
    first = client_of(forge).get("/x", HERE)
    assert first is not None
    assert first.etag == '"one"'
    assert client_of(forge).get("/x", HERE, etag=first.etag) is None


@pytest.mark.parametrize("status", [301, 307, 308])
def test_a_redirect_is_followed_with_the_same_method_and_body(forge: ForgeServer, status: int) -> None:
    forge.says("/old", Answer(status=status, headers={"Location": "/new"}))
    forge.says("/new", {"full_name": "acme/renamed"})
    reply, meaning = client_of(forge).ask("POST", "/old", HERE, content={"state": "success"})
    assert isinstance(meaning, Applied)
    assert reply.url == f"{forge.url}/new"
    assert [(one.method, json.loads(one.body), one.token) for one in forge.asked] == [
        ("POST", {"state": "success"}, SECRET)
    ] * 2


def test_a_redirect_to_another_server_gets_no_token(forge: ForgeServer) -> None:
    with ForgeServer() as other:
        other.says("/x", {})
        forge.says("/x", Answer(status=307, headers={"Location": f"{other.url}/x"}))
        fault = fault_of(client_of(forge))
    assert fault.meaning == Refused(reason="unexpected", words="leads to another server")
    assert other.asked == []


def test_redirects_in_a_circle_end(forge: ForgeServer) -> None:
    forge.says("/x", Answer(status=307, headers={"Location": "/x"}))
    assert fault_of(client_of(forge)).meaning == Refused(reason="unexpected", words="too many redirects")
    assert forge.count("/x") == 4


def test_an_expired_token_is_replaced_once_and_at_once(forge: ForgeServer) -> None:
    forge.says("/x", Answer({"message": "Bad credentials"}, 401), {"a": 1})
    credentials = Rotating()
    client = ForgeClient(forge.connection(), credentials)
    assert client.json("/x", HERE) == {"a": 1}
    assert [one.token[-1] for one in forge.asked] == ["0", "1"]
    assert credentials.dropped == [f"{SECRET}-0"]


def test_a_token_that_is_refused_anew_is_not_replaced_again(forge: ForgeServer) -> None:
    forge.says("/x", Answer({"message": "Bad credentials"}, 401))
    fault = fault_of(ForgeClient(forge.connection(), Rotating()))
    assert fault.status == 401
    assert forge.count("/x") == 2


def test_a_fixed_token_that_is_refused_is_asked_with_once(forge: ForgeServer) -> None:
    forge.says("/x", Answer({"message": "Bad credentials"}, 401))
    fault = fault_of(client_of(forge))
    assert fault.meaning == Misconfigured(reason="token_refused", words="Bad credentials")
    assert forge.count("/x") == 1


def test_a_limit_is_a_value_and_no_wait(forge: ForgeServer) -> None:
    forge.says("/x", Answer({"message": "slow"}, 429, {"Retry-After": "3600"}))
    began = monotonic()
    assert isinstance(fault_of(client_of(forge)).meaning, RateLimited)
    assert monotonic() - began < 10


def test_a_forge_that_falls_silent_in_mid_answer_is_left(forge: ForgeServer) -> None:
    forge.says("/x", Answer([], waits=True))
    fault = fault_of(client_of(forge, silence_seconds=0.2))
    assert fault.meaning == Unavailable(reason="timeout")


def test_an_answer_that_drips_without_end_is_left(forge: ForgeServer) -> None:
    forge.says("/x", Answer(b"[" + b" " * 2**20))
    assert fault_of(client_of(forge, seconds=0)).meaning == Unavailable(reason="timeout")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [(Answer(cut=True), "no_answer"), (Answer(b"<html>"), "garbled"), (Answer(b"[" * 100_000), "garbled")],
)
def test_no_answer_and_a_garbled_one_are_later(forge: ForgeServer, answer: Answer, reason: str) -> None:
    forge.says("/x", answer)
    with pytest.raises(ForgeFault) as raised:
        client_of(forge).json("/x", HERE)
    assert isinstance(raised.value.meaning, Unavailable)
    assert raised.value.meaning.reason == reason


def test_nobody_at_home_is_later() -> None:
    connection = Connection(settings(api_url="http://127.0.0.1:9"))
    with closing(connection):
        meaning = fault_of(ForgeClient(connection, FixedToken(SECRET))).meaning
    assert meaning == Unavailable(reason="no_answer", words="Connection refused")


def test_an_endless_answer_is_not_taken(forge: ForgeServer) -> None:
    forge.says("/x", Answer(b" " * (33 * 2**20)))
    meaning = fault_of(client_of(forge)).meaning
    assert isinstance(meaning, Refused)
    assert meaning.reason == "unexpected"


def test_a_token_is_in_no_log_error_or_repr(forge: ForgeServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    forge.says("/x", Answer({"message": "no"}, 403), Answer(cut=True), Answer([]))
    client = client_of(forge)
    shown = [repr(FixedToken(SECRET)), repr(Token(SECRET, Credential.FIXED))]
    for _ in range(2):
        fault = fault_of(client, f"/x?secret={SECRET}")
        shown += [str(fault), repr(fault), repr(fault.__cause__), repr(fault.__context__)]
    shown.append(repr(client.get("/x", HERE)))
    assert not any(
        SECRET in text for text in [*shown, *(f"{one.message}" for one in caplog.records if "?" not in one.message)]
    )


def test_a_forge_that_repeats_the_token_is_not_quoted(forge: ForgeServer) -> None:
    forge.says("/x", Answer({"message": f"unknown token {SECRET}"}, 403))
    assert fault_of(client_of(forge)).meaning == Refused(reason="forbidden", words="unknown token (not shown)")


def test_whoever_takes_deliveries_in_loads_no_http_client() -> None:
    code = "import sys, notify.forges.connect, notify.forges.signatures; print({'httpx', 'jwt'} & set(sys.modules))"
    assert run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "set()\n"


def test_names_are_quoted_in_paths() -> None:
    assert repository_path("acme/a b?c#d") == "/repos/acme/a%20b%3Fc%23d"


def test_one_client_serves_many_threads(forge: ForgeServer) -> None:
    forge.says("/x", [1])
    client = client_of(forge)
    found: list[object] = []
    threads = [Thread(target=lambda: found.append(client.json("/x", APP))) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [[1]] * 16
