"""The embedded forge misbehaves on demand: rarely, at intervals, late, and after it has done what it was asked."""

from socket import create_connection
from time import monotonic
from urllib.parse import urlsplit

import httpx
import pytest

from notify.embedded.forge.misbehaviour import LOST, Answer
from notify.embedded.forge.server import EmbeddedForge
from tests.embedded.forge.conftest import REPOSITORY
from tests.support.wait import until

PENDING = {"state": "pending"}


def states(forge: EmbeddedForge) -> list[str]:
    return [one.state for one in forge.state.statuses.calls]


def test_a_share_of_the_calls_fails_and_a_seed_says_which(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    def heard() -> list[int]:
        pulled.rest.behave()
        pulled.rest.misbehaviour.sometimes("/statuses/", answer=Answer(503), rate=0.1, seed=4, method="POST")
        return [calls.post(f"/statuses/{sha}", json=PENDING).status_code for _ in range(50)]

    first = heard()
    assert 1 <= first.count(503) <= 12
    assert heard() == first
    assert len(pulled.state.statuses.calls) == 2 * first.count(201), "what failed was not done"
    assert calls.get(f"/commits/{sha}/statuses").is_success, "only what is posted fails"


def test_an_answer_can_come_once_in_an_interval(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    pulled.rest.misbehaviour.every(0.2, "/statuses/", answer=Answer(401))
    began, refused = monotonic(), 0

    def twice() -> bool:
        nonlocal refused
        refused += calls.post(f"/statuses/{sha}", json=PENDING).status_code == 401
        return refused == 2

    until(twice)
    assert monotonic() - began >= 0.4
    assert len(pulled.state.statuses.calls) >= 1, "between them, statuses were set"


def test_a_pause_is_asked_for_with_its_length(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    pulled.rest.only("/check-runs", answer=Answer(403, {"Retry-After": "30"}), method="POST")
    body = {"name": "lint", "head_sha": sha}
    refused = calls.post("/check-runs", json=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (403, "30")
    assert calls.post("/check-runs", json=body).status_code == 201


@pytest.mark.parametrize("lost", [LOST, Answer(502, done=True)])
def test_a_check_run_is_made_though_its_answer_is_lost(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str, lost: Answer
) -> None:
    pulled.rest.only("/check-runs", answer=lost)
    body = {"name": "lint", "head_sha": sha, "external_id": "7"}
    if lost.hang_up:
        with pytest.raises(httpx.TransportError):
            calls.post("/check-runs", json=body)
    else:
        assert calls.post("/check-runs", json=body).status_code == 502
    (made,) = calls.get(f"/commits/{sha}/check-runs").json()["check_runs"]
    assert made["external_id"] == "7"
    posts = [status for method, _, status in pulled.rest.calls if method == "POST"]
    assert posts[1:] == [lost.status], "0: there was no answer"


def test_a_connection_can_be_cut_before_anything_is_done(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    pulled.rest.only("/statuses/", answer=Answer(0, hang_up=True))
    with pytest.raises(httpx.TransportError):
        calls.post(f"/statuses/{sha}", json=PENDING)
    assert states(pulled) == []
    assert calls.post(f"/statuses/{sha}", json=PENDING).status_code == 201


def test_a_late_answer_is_that_of_a_status_that_was_set_at_once(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    pulled.rest.only("/statuses/", answer=Answer(0, seconds=30, done=True))
    with pytest.raises(httpx.ReadTimeout):
        calls.post(f"/statuses/{sha}", json=PENDING, timeout=0.3)
    assert states(pulled) == ["pending"]


def test_a_redirect_can_be_given_to_what_is_written(pulled: EmbeddedForge, calls: httpx.Client, sha: str) -> None:
    there = f"{pulled.url}/api/v3/repositories/{pulled.state.repository(REPOSITORY).id}/statuses/{sha}"
    pulled.rest.only(f"/{REPOSITORY}/statuses/", answer=Answer(301, {"Location": there}))
    moved = calls.post(f"/statuses/{sha}", json=PENDING)
    assert moved.status_code == 301
    assert states(pulled) == []
    assert calls.post(moved.headers["location"], json=PENDING).status_code == 201


def test_a_client_that_vanishes_in_mid_call_is_heard_of_as_unanswered(pulled: EmbeddedForge, sha: str) -> None:
    address = urlsplit(pulled.url)
    path = f"/api/v3/repos/{REPOSITORY}/statuses/{sha}"
    with create_connection((address.hostname, address.port)) as line:
        line.sendall(
            f"POST {path} HTTP/1.1\r\nHost: forge\r\nAuthorization: token person_alice\r\n".encode()
            + b"Content-Length: 99\r\n\r\n{"
        )
    until(lambda: ("POST", path, 0) in pulled.rest.calls, seconds=10)
    assert states(pulled) == []
