"""Who is let in: programs by scope, people with a valid token, nobody else."""

import asyncio
import json
import socket
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import cache, partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib.metadata import version
from threading import Thread
from typing import Any
from uuid import uuid4

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from fastapi import FastAPI

from notify.api.app import build_app
from notify.delivery.erasure import export
from notify.domain import preferences as domain
from notify.domain.events import COMMENT_CREATED
from notify.http.context import Context
from notify.http.person_tokens import published_keys, shared_secret
from notify.http.published_keys import KeysUnavailable, PublishedKeys
from notify.intake.receive import receive
from notify.intake.schema import parse
from notify.store.database import Database
from notify.store.directory import directory, preferences, tokens
from notify.store.directory.tokens import Scope
from tests.support.callers import JWT_SECRET, Person, Program
from tests.support.harness import WorkerHarness, comment
from tests.support.in_process import InProcess
from tests.support.wait import until

MINE = "/api/v1/user/notification/config"
OPEN = {"/livez", "/readyz", "/metrics", "/unsubscribe/{token}", "/preferences/{token}", "/webhooks/{forge}"}
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


@pytest.fixture(autouse=True)
def dana(database: Database) -> None:
    """The only person in the directory."""
    with database.begin() as connection:
        directory.put_person(connection, domain.Person(username="dana"))


def claims(**changed: object) -> dict[str, object]:
    """The claims of a valid token, with changes; None removes one."""
    genuine = {"sub": "dana", "exp": datetime.now(UTC) + timedelta(hours=1)}
    return {name: value for name, value in (genuine | changed).items() if value is not None}


def unsigned(header: dict[str, str], payload: dict[str, str | float]) -> str:
    parts = [urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in (header, payload)]
    return ".".join([*parts, ""])


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


@pytest.mark.parametrize(("method", "path"), SCOPES_OF)
def test_a_program_is_let_in_by_any_of_the_scopes_and_by_no_other(
    api: httpx.Client, program: Program, method: str, path: str
) -> None:
    enough = SCOPES_OF[method, path]
    for scope in Scope:
        answer = api.request(method, path, headers=program(scope), json={})

        assert (answer.status_code == 403) == (scope not in enough)
        if answer.status_code == 403:
            assert all(name in answer.json()["detail"] for name in enough)


def test_everything_but_health_and_the_signed_pages_requires_authentication(api: httpx.Client, app: FastAPI) -> None:
    for path, operations in app.openapi()["paths"].items():
        for method in operations:
            answer = api.request(method.upper(), path.replace("{job_id}", "1"), json={})

            assert (answer.status_code == 401) == (path not in OPEN), (method, path)


def test_a_refused_caller_is_told_how_to_authenticate(api: httpx.Client) -> None:
    assert api.get(MINE).headers["WWW-Authenticate"] == "Bearer"
    assert api.get(MINE, headers=bearer("x")).headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'


def test_a_revoked_token_grants_nothing(api: httpx.Client, program: Program, database: Database) -> None:
    headers = program(Scope.OPS)
    assert api.get("/api/v1/jobs", headers=headers).status_code == 200

    with database.begin() as connection:
        (token,) = tokens.issued(connection)
        tokens.revoke(connection, token.id)

    assert api.get("/api/v1/jobs", headers=headers).status_code == 401


def test_a_person_is_no_program_and_a_program_no_person(api: httpx.Client, program: Program, person: Person) -> None:
    assert api.get("/api/v1/jobs", headers=person("dana")).status_code == 403
    assert api.get(MINE, headers=program(*Scope)).status_code == 403


def test_a_valid_token_identifies_its_subject(api: httpx.Client) -> None:
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
def test_an_invalid_token_identifies_nobody(api: httpx.Client, token: str) -> None:
    answer = api.get(MINE, headers=bearer(token))

    assert answer.status_code == 401
    assert answer.headers["Content-Type"] == "application/problem+json"


def test_a_token_of_unknown_kind_is_refused_with_how_a_programs_token_begins(api: httpx.Client) -> None:
    answer = api.get("/api/v1/jobs", headers=bearer("wrong"))

    assert answer.status_code == 401
    assert tokens.PREFIX in answer.json()["detail"]


@contextmanager
def key_server(published: object, *, asked: list[str] | None = None) -> Iterator[str]:
    """
    The address of a server that publishes these keys, and refuses clients without a User-Agent.

    Args:
        asked: Collects the name of each client.
    """

    class Published(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            visitor = self.headers["User-Agent"]
            if asked is not None:
                asked.append(visitor)
            body = published if isinstance(published, bytes) else json.dumps(published).encode()
            self.send_response(403 if visitor.startswith("Python") else 200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Published) as server:
        Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/keys"
        server.shutdown()


@pytest.fixture
def trusting(context: Context) -> Iterator[Callable[..., httpx.Client]]:
    """The API, trusting the keys published at an address."""
    opened: list[httpx.Client] = []

    def client(url: str, claim: str = "sub") -> httpx.Client:
        app = build_app(replace(context, people=published_keys(url, claim=claim)))
        opened.append(httpx.Client(transport=InProcess(app), base_url="http://notify.test"))
        return opened[-1]

    yield client
    for one in opened:
        one.close()


def test_a_published_key_is_valid_for_its_own_algorithm_only(trusting: Callable[[str], httpx.Client]) -> None:
    rsa_key = rsa_pair()
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


@cache
def rsa_pair(_: int = 0) -> rsa.RSAPrivateKey:
    """One for each number, cached: creating one takes a tenth of a second."""
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def edwards_pair(_: int = 0) -> ed25519.Ed25519PrivateKey:
    return ed25519.Ed25519PrivateKey.generate()


def curve(kind: ec.EllipticCurve) -> Callable[[int], ec.EllipticCurvePrivateKey]:
    return lambda _: ec.generate_private_key(kind)


PAIRS: Mapping[str, Callable[[int], Any]] = {
    **dict.fromkeys(("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"), rsa_pair),
    "ES256": curve(ec.SECP256R1()),
    "ES384": curve(ec.SECP384R1()),
    "ES512": curve(ec.SECP521R1()),
    "EdDSA": edwards_pair,
}


def jwk(private: Any, algorithm: str, **more: object) -> dict[str, Any]:
    """The public half as its owner publishes it."""
    published = jwt.get_algorithm_by_name(algorithm).to_jwk(private.public_key(), as_dict=True)
    return {**published, "kid": "k", **more}


def of_key(private: Any, algorithm: str, kid: str | None = "k", **changed: object) -> dict[str, str]:
    """The header of dana's token, signed with this key."""
    headers = {"kid": kid} if kid else None
    return bearer(jwt.encode(claims(**changed), private, algorithm=algorithm, headers=headers))


@pytest.mark.parametrize("stated", [True, False], ids=["stated", "not stated"])
@pytest.mark.parametrize("algorithm", PAIRS)
def test_keys_of_every_usual_kind_verify_their_tokens(
    trusting: Callable[..., httpx.Client], algorithm: str, stated: bool
) -> None:
    private, other = PAIRS[algorithm](0), PAIRS[algorithm](1)
    more = {"alg": algorithm, "use": "sig"} if stated else {}
    with key_server({"keys": [jwk(private, algorithm, **more)]}) as url:
        api = trusting(url)
        assert api.get(MINE, headers=of_key(private, algorithm)).status_code == 200
        assert api.get(MINE, headers=of_key(other, algorithm)).status_code == 401


def test_a_key_is_used_only_for_what_its_owner_allows(trusting: Callable[..., httpx.Client]) -> None:
    private, secret = rsa_pair(), "s" * 32
    symmetric = {"kty": "oct", "k": urlsafe_b64encode(secret.encode()).decode().rstrip("="), "kid": "secret"}
    published = [
        jwk(private, "RS256", kid="k", alg="RS256"),
        jwk(private, "RS256", kid="encrypts", use="enc"),
        jwk(private, "RS256", kid="wraps", key_ops=["wrapKey"]),
        symmetric,
        symmetric | {"alg": "RS256", "kid": "lies"},
        {"kty": "RSA", "kid": "half"},
        "nonsense",
    ]
    with key_server({"keys": published}) as url:
        api = trusting(url)
        assert api.get(MINE, headers=of_key(private, "RS256")).status_code == 200
        refused = [
            of_key(private, "PS256"),
            of_key(private, "RS256", kid="encrypts"),
            of_key(private, "RS256", kid="wraps"),
            of_key(private, "RS256", kid="half"),
            of_key(private, "RS256", kid=None),
            of_key(secret, "HS256", kid="secret"),
            of_key(secret, "HS256", kid="lies"),
        ]
        assert [api.get(MINE, headers=headers).status_code for headers in refused] == [401] * len(refused)


def test_an_issuer_with_one_key_needs_no_key_id(trusting: Callable[..., httpx.Client]) -> None:
    private = rsa_pair()
    with key_server({"keys": [jwk(private, "RS256", kid=None)]}) as url:
        api = trusting(url)
        assert api.get(MINE, headers=of_key(private, "RS256", kid=None)).status_code == 200
        assert api.get(MINE, headers=of_key(rsa_pair(1), "RS256", kid=None)).status_code == 401


def test_a_request_for_keys_has_a_user_agent(trusting: Callable[..., httpx.Client]) -> None:
    private, asked = rsa_pair(), list[str]()
    with key_server({"keys": [jwk(private, "RS256")]}, asked=asked) as url:
        assert trusting(url).get(MINE, headers=of_key(private, "RS256")).status_code == 200
    assert asked == [f"notify/{version('notify-outbox')}"]


def test_tokens_with_invented_key_ids_cost_the_issuer_one_request(trusting: Callable[..., httpx.Client]) -> None:
    private, asked = edwards_pair(), list[str]()
    with key_server({"keys": [jwk(private, "EdDSA")]}, asked=asked) as url:
        api = trusting(url)
        for number in range(20):
            forged = of_key(private, "EdDSA", kid=f"made up {number}")
            assert api.get(MINE, headers=forged).status_code == 401
            assert api.get(MINE, headers=of_key(private, "EdDSA")).status_code == 200
    assert len(asked) == 1


def test_a_new_key_is_found_within_half_a_minute_and_an_old_one_outlives_its_issuer_by_a_day() -> None:
    now = 0.0
    old, new = edwards_pair(), edwards_pair()
    published = {"keys": [jwk(old, "EdDSA", kid="old")]}
    with key_server(published) as url:
        keys = PublishedKeys(url, clock=lambda: now)
        assert keys.find("old", "EdDSA")
        published["keys"].append(jwk(new, "EdDSA", kid="new"))
        assert keys.find("new", "EdDSA") is None
        now += 30
        assert keys.find("new", "EdDSA")
        published["keys"].pop(0)
        now += 301
        assert keys.find("old", "EdDSA"), "what is known is not waited for"
        until(lambda: keys.find("old", "EdDSA") is None)
    now += 12 * 3600
    assert keys.find("new", "EdDSA")
    now += 12 * 3600
    with pytest.raises(KeysUnavailable):
        keys.find("new", "EdDSA")


def test_an_issuer_that_never_answers_delays_no_other_caller(context: Context) -> None:
    headers = of_key(edwards_pair(), "EdDSA")

    async def answers(silent: socket.socket) -> list[int]:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/keys"
        app = build_app(replace(context, people=published_keys(url)))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notify.test") as api:
            waiting = [asyncio.create_task(api.get(MINE, headers=headers)) for _ in range(100)]
            connection, _ = await asyncio.to_thread(silent.accept)
            assert (await asyncio.wait_for(api.get("/livez"), 3)).status_code == 200
            assert not all(task.done() for task in waiting)
            connection.close()
            return [(await task).status_code for task in waiting]

    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert set(asyncio.run(answers(silent))) == {503}


@pytest.mark.parametrize("by", ["secret", "keys"])
def test_the_username_is_in_the_configured_claim(
    context: Context, trusting: Callable[..., httpx.Client], by: str
) -> None:
    private = edwards_pair()
    named: dict[str, Any] = {"sub": str(uuid4()), "preferred_username": "dana"}
    with key_server({"keys": [jwk(private, "EdDSA")]}) as url:
        if by == "keys":
            api, sign = trusting(url, "preferred_username"), partial(of_key, private, "EdDSA")
        else:
            people = shared_secret(JWT_SECRET, claim="preferred_username")
            api = httpx.Client(
                transport=InProcess(build_app(replace(context, people=people))), base_url="http://n.test"
            )
            sign = partial(of_key, JWT_SECRET, "HS256")
        with api:
            assert api.get(MINE, headers=sign(**named)).status_code == 200
            assert api.get(MINE, headers=sign(**named | {"sub": 4711})).status_code == 200
            for missing in (None, "", 7, ["dana"]):
                assert api.get(MINE, headers=sign(**named | {"preferred_username": missing})).status_code == 401


CALLS_OF_PEOPLE = (
    ("GET", MINE, None),
    ("PUT", MINE, {"enabled": False}),
    ("GET", "/api/v1/user/notification/types", None),
    ("GET", "/api/v1/user/notification/cls", None),
    ("PUT", "/api/v1/user/notification/cls/CL-1", {"muted": True}),
    ("DELETE", "/api/v1/user/notification/cls/CL-1", None),
    ("GET", "/api/v1/user/notification/history", None),
    ("GET", "/preferences", None),
    ("POST", "/preferences", None),
)


@pytest.mark.parametrize(("method", "path", "body"), CALLS_OF_PEOPLE)
def test_an_unknown_person_is_told_so_and_nothing_is_stored(
    api: httpx.Client, database: Database, method: str, path: str, body: object
) -> None:
    name = str(uuid4())
    stranger, known = (of_key(JWT_SECRET, "HS256", sub=sub) for sub in (name, "dana"))

    answer = api.request(method, path, json=body, headers=stranger)

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert name in answer.json()["detail"]
    assert api.request(method, path, json=body, headers=known).status_code != 404
    assert not any(export(database, name).values())


@pytest.mark.parametrize("stored", ["setting", "preference", "mute", "subscription", "email"])
def test_a_person_with_any_stored_data_is_known(api: httpx.Client, database: Database, stored: str) -> None:
    with database.begin() as connection:
        if stored == "setting":
            preferences.put_config(connection, "ann", settings={"enabled": False}, preferences={})
        elif stored == "preference":
            preferences.set_preference(connection, "ann", COMMENT_CREATED, enabled=False)
        elif stored == "mute":
            preferences.mute(connection, "ann", "CL-1")
        elif stored == "subscription":
            preferences.subscribe(connection, "ann", "CL-1")
        else:
            receive(connection, [parse(comment(reviewers=["ann"]))])
    if stored == "email":
        WorkerHarness(database, relay_url=None).fan_out()

    assert api.get(MINE, headers=of_key(JWT_SECRET, "HS256", sub="ann")).status_code == 200
    assert api.get(MINE, headers=of_key(JWT_SECRET, "HS256", sub="Ann")).status_code == 404


def signed_with_the_public_key(public: bytes) -> str:
    """A token whose HS256 secret is the published key, as a confused verifier would accept it."""
    algorithm = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signed = unsigned({"alg": "HS256", "typ": "JWT", "kid": "r"}, {"sub": "dana", "exp": 2e9}).rstrip(".")
    signature = algorithm.sign(signed.encode(), public)
    return f"{signed}.{urlsafe_b64encode(signature).decode().rstrip('=')}"


def test_unavailable_keys_are_reported_as_a_fault_of_the_service(
    trusting: Callable[[str], httpx.Client],
) -> None:
    key = rsa_pair()
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
