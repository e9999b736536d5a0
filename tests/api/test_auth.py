"""Who is let in: programs by scope, people by a genuine token, nobody else."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from notify.api.app import build_app
from notify.api.context import Context
from notify.api.person_tokens import published_keys
from notify.store import tokens
from notify.store.database import Database
from notify.store.tokens import Scope
from tests.api.conftest import JWT_SECRET, Person, Program
from tests.api.in_process import InProcess

MINE = "/api/v1/user/notification/config"
OPEN = {"/livez", "/readyz", "/metrics", "/unsubscribe/{token}", "/preferences/{token}"}
SCOPES_OF = {
    ("POST", "/api/v1/events"): {Scope.EVENTS_WRITE},
    ("POST", "/api/v1/events/batch"): {Scope.EVENTS_WRITE},
    ("GET", "/api/v1/events/key"): {Scope.EVENTS_WRITE, Scope.OPS},
    ("PUT", "/api/v1/people/dana"): {Scope.DIRECTORY_WRITE},
    ("GET", "/api/v1/people/dana"): {Scope.DIRECTORY_WRITE},
    ("PUT", "/api/v1/cls/CL-1"): {Scope.DIRECTORY_WRITE},
    ("GET", "/api/v1/cls/CL-1"): {Scope.DIRECTORY_WRITE},
    ("GET", "/api/v1/jobs"): {Scope.OPS},
    ("GET", "/api/v1/jobs/1"): {Scope.OPS},
    ("POST", "/api/v1/jobs/1/retry"): {Scope.OPS},
    ("POST", "/api/v1/jobs/1/cancel"): {Scope.OPS},
    ("POST", "/api/v1/jobs/1/replay"): {Scope.OPS},
}


def claims(**changed: object) -> dict[str, object]:
    """The claims of a genuine token, but for what is changed; None leaves one out."""
    genuine = {"sub": "dana", "exp": datetime.now(UTC) + timedelta(hours=1)}
    return {name: value for name, value in (genuine | changed).items() if value is not None}


def unsigned(header: dict[str, str], payload: dict[str, str | float]) -> str:
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, payload)]
    return ".".join([*parts, ""])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path"), SCOPES_OF)
def test_a_program_is_let_in_by_one_of_the_scopes_and_by_no_other(
    api: httpx.Client, program: Program, method: str, path: str
) -> None:
    enough = SCOPES_OF[method, path]
    for scope in Scope:
        answer = api.request(method, path, headers=program(scope), json={})

        assert (answer.status_code == 403) == (scope not in enough)
        if answer.status_code == 403:
            assert all(name in answer.json()["detail"] for name in enough)


def test_everything_but_health_and_the_signed_pages_asks_who_is_calling(api: httpx.Client, app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            answer = api.request(method.upper(), path.replace("{job_id}", "1"), json={})

            assert (answer.status_code == 401) == (path not in OPEN), (method, path)


def test_a_refused_caller_is_told_how_to_authenticate(api: httpx.Client) -> None:
    assert api.get(MINE).headers["WWW-Authenticate"] == "Bearer"
    assert api.get(MINE, headers=bearer("x")).headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_revoked_token_opens_nothing_any_more(api: httpx.Client, program: Program, database: Database) -> None:
    headers = program(Scope.OPS)
    assert api.get("/api/v1/jobs", headers=headers).status_code == 200

    with database.begin() as connection:
        (token,) = tokens.issued(connection)
        tokens.revoke(connection, token.id)

    assert api.get("/api/v1/jobs", headers=headers).status_code == 401


def test_a_person_is_no_program_and_a_program_no_person(api: httpx.Client, program: Program, person: Person) -> None:
    assert api.get("/api/v1/jobs", headers=person("dana")).status_code == 403
    assert api.get(MINE, headers=program(*Scope)).status_code == 403


def test_a_genuine_token_speaks_for_its_subject(api: httpx.Client) -> None:
    token = jwt.encode(claims(), JWT_SECRET, algorithm="HS256")

    assert api.get(MINE, headers=bearer(token)).status_code == 200


@pytest.mark.parametrize(
    "token",
    [
        pytest.param(jwt.encode(claims(), "another secret of enough length.", algorithm="HS256"), id="other-secret"),
        pytest.param(jwt.encode(claims(), JWT_SECRET * 2, algorithm="HS512"), id="other-algorithm"),
        pytest.param(
            jwt.encode(claims(exp=datetime.now(UTC) - timedelta(minutes=5)), JWT_SECRET, algorithm="HS256"),
            id="expired",
        ),
        pytest.param(jwt.encode(claims(exp=None), JWT_SECRET, algorithm="HS256"), id="never-expires"),
        pytest.param(jwt.encode(claims(sub=None), JWT_SECRET, algorithm="HS256"), id="nobody"),
        pytest.param(jwt.encode(claims(sub=""), JWT_SECRET, algorithm="HS256"), id="empty-name"),
        pytest.param(jwt.encode(claims(sub="da\x00na"), JWT_SECRET, algorithm="HS256"), id="nul-in-name"),
        pytest.param(jwt.encode(claims(aud="another service"), JWT_SECRET, algorithm="HS256"), id="for-another"),
        pytest.param(unsigned({"alg": "none", "typ": "JWT"}, {"sub": "dana", "exp": 2e9}), id="alg-none"),
        pytest.param(unsigned({"alg": "NONE", "typ": "JWT"}, {"sub": "dana", "exp": 2e9}), id="alg-none-loud"),
        pytest.param(urlsafe_b64encode(b"[" * 30_000).decode() + ".e30.eA", id="deep-header"),
        pytest.param("not.a.token", id="garbage"),
        pytest.param("ntf_unknown", id="unknown-program"),
    ],
)
def test_a_token_that_is_not_genuine_speaks_for_nobody(api: httpx.Client, token: str) -> None:
    answer = api.get(MINE, headers=bearer(token))

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


@contextmanager
def key_server(published: object) -> Iterator[str]:
    """The address of a server that publishes this."""

    class Published(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = published if isinstance(published, bytes) else json.dumps(published).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys"
        server.shutdown()


@pytest.fixture
def trusting(context: Context) -> Iterator[Callable[[str], httpx.Client]]:
    """The API, trusting the keys published at an address."""
    opened: list[httpx.Client] = []

    def client(url: str) -> httpx.Client:
        app = build_app(replace(context, people=published_keys(url)))
        opened.append(httpx.Client(transport=InProcess(app), base_url="http://notify.test"))
        return opened[-1]

    yield client
    for one in opened:
        one.close()


def test_a_published_key_vouches_for_its_own_algorithm_only(trusting: Callable[[str], httpx.Client]) -> None:
    rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    ec_key = ec.generate_private_key(ec.SECP256R1())
    public = rsa_key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    published = [
        jwt.algorithms.RSAAlgorithm.to_jwk(rsa_key.public_key(), as_dict=True) | {"kid": "r"},
        jwt.algorithms.ECAlgorithm.to_jwk(ec_key.public_key(), as_dict=True) | {"kid": "e"},
    ]
    genuine = [
        jwt.encode(claims(), rsa_key, algorithm="RS256", headers={"kid": "r"}),
        jwt.encode(claims(), ec_key, algorithm="ES256", headers={"kid": "e"}),
    ]
    confused = [
        jwt.encode(claims(), rsa_key, algorithm="RS256", headers={"kid": "e"}),
        jwt.encode(claims(), ec_key, algorithm="ES256", headers={"kid": "r"}),
        jwt.encode(claims(), rsa_key, algorithm="RS256", headers={"kid": "unknown"}),
        jwt.encode(claims(), rsa_key, algorithm="RS256"),
        signed_with_the_public_key(public),
    ]

    with key_server({"keys": published}) as url:
        api = trusting(url)

        assert [api.get(MINE, headers=bearer(token)).status_code for token in genuine] == [200] * 2
        assert [api.get(MINE, headers=bearer(token)).status_code for token in confused] == [401] * 5


def signed_with_the_public_key(public: bytes) -> str:
    """A token whose HS256 secret is the published key, as a confused verifier would accept it."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = unsigned({"alg": "HS256", "typ": "JWT", "kid": "r"}, {"sub": "dana", "exp": 2e9}).rstrip(".")
    signature = algorithm.sign(signed.encode(), public)
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


def test_keys_that_cannot_be_fetched_are_nobodys_fault_but_the_services(
    trusting: Callable[[str], httpx.Client],
) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    token = jwt.encode(claims(), key, algorithm="RS256", headers={"kid": "r"})
    answers: list[object] = [b"<html>", {"keys": []}]
    for published in answers:
        with key_server(published) as url:
            assert trusting(url).get(MINE, headers=bearer(token)).status_code == 503
        assert trusting(url).get(MINE, headers=bearer(token)).status_code == 503


def test_without_a_secret_no_person_is_let_in(context: Context, person: Person) -> None:
    app = build_app(replace(context, people=None))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        assert api.get(MINE, headers=person("dana")).status_code == 401
