"""An app's tokens: made as GitHub wants them, looked up once, exchanged once, kept until shortly before their end."""

import asyncio
from contextlib import closing, suppress
from copy import copy
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from itertools import count
from threading import Barrier, Thread
from typing import Any

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    KeySerializationEncryption,
    NoEncryption,
    PrivateFormat,
)
from gidgethub import apps
from gidgethub.httpx import GitHubAPI
from httpx import AsyncClient

from notify.domain.errors import InvalidSettings
from notify.domain.forge_answers import ForgeFault, Misconfigured, RateLimited, Refused, Unavailable
from notify.domain.forge_settings import Secret
from notify.forges.answers import Credential
from notify.forges.app_auth import AppCredentials
from notify.forges.client import APP, ForgeClient, Scope
from notify.forges.connect import connected
from tests.forges.server import Answer, Asked, ForgeServer
from tests.forges.shapes import settings
from tests.support.wait import until

KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)
NOW = 1_793_606_400.0
HERE, APP_ID = Scope("acme/app"), 12345
EXCHANGE = "/app/installations/7/access_tokens"


def pem(key: Any = KEY, encryption: KeySerializationEncryption | None = None) -> str:
    made: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, encryption or NoEncryption())
    return made.decode()


def asked_in_vain(credentials: AppCredentials, scope: Scope) -> None:
    with suppress(ForgeFault):
        credentials.token(scope)


class Clock:
    """Monotonic seconds that the test moves on."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def forge(forge: ForgeServer) -> ForgeServer:
    """Two repositories of one installation; every token lasts an hour by the forge's clock, which is not ours."""
    numbers = count()

    def exchanged(_: Asked) -> Answer:
        here = datetime(2031, 1, 1, tzinfo=UTC)
        ends = (here + timedelta(hours=1)).strftime("%Y-%m-%dT%H:%M:%SZ")
        token = {"token": f"ghs_{next(numbers)}", "expires_at": ends}
        headers = {"Date": format_datetime(here, usegmt=True), "Content-Type": "application/json; charset=utf-8"}
        return Answer(token, 201, headers)

    forge.says("/repos/acme/app/installation", {"id": 7})
    forge.says("/repos/acme/other/installation", {"id": 7})
    forge.scripts[EXCHANGE] = exchanged
    return forge


def credentials_of(forge: ForgeServer, clock: Clock, *, now: float = NOW, **more: Any) -> AppCredentials:
    stated = settings(api_url=forge.url, token=None, app_id=APP_ID, private_key=Secret("env:PEM", pem()), **more)
    return AppCredentials(stated, forge.connection(), clock=clock, now=lambda: now)


def test_gidgethub_makes_the_same_claims(forge: ForgeServer, clock: Clock) -> None:
    theirs = apps.get_jwt(app_id=str(APP_ID), private_key=pem(), expiration=10 * 60)
    its = jwt.decode(theirs, KEY.public_key(), algorithms=["RS256"])
    ours = credentials_of(forge, clock, now=its["iat"] + 60).token(APP)
    assert jwt.decode(ours.text, KEY.public_key(), algorithms=["RS256"]) == its
    assert jwt.get_unverified_header(ours.text) == jwt.get_unverified_header(theirs)
    assert ours.credential is Credential.APP


def test_the_claims_are_those_that_github_asks_for(forge: ForgeServer, clock: Clock) -> None:
    claims = jwt.decode(credentials_of(forge, clock).token(APP).text, options={"verify_signature": False})
    assert claims == {"iat": int(NOW) - 60, "exp": int(NOW) + 540, "iss": str(APP_ID)}


def test_gidgethub_exchanges_a_token_by_the_same_call(forge: ForgeServer, clock: Clock) -> None:
    async def theirs() -> Any:
        async with AsyncClient(trust_env=False) as http:
            api = GitHubAPI(http, "notify", base_url=forge.url)
            return await apps.get_installation_access_token(
                api, installation_id="7", app_id=str(APP_ID), private_key=pem()
            )

    assert asyncio.run(theirs())["token"] == "ghs_0"
    assert credentials_of(forge, clock, installation_id=7).token(HERE).text == "ghs_1"
    its, ours = forge.asked
    assert (its.method, its.path) == (ours.method, ours.path) == ("POST", EXCHANGE)
    assert its.headers["authorization"].startswith("bearer ey")
    assert ours.headers["authorization"].startswith("Bearer ey")


def test_a_token_is_looked_up_and_exchanged_once_for_all_repositories(forge: ForgeServer, clock: Clock) -> None:
    credentials = credentials_of(forge, clock)
    tokens = {credentials.token(Scope(name)).text for name in ("acme/app", "ACME/App", "acme/other")}
    assert tokens == {"ghs_0"}
    assert forge.counts == {
        "GET /repos/acme/app/installation": 1,
        "GET /repos/acme/other/installation": 1,
        f"POST {EXCHANGE}": 1,
    }


def test_a_configured_installation_is_not_looked_up(forge: ForgeServer, clock: Clock) -> None:
    credentials_of(forge, clock, installation_id=7).token(HERE)
    assert forge.counts == {f"POST {EXCHANGE}": 1}


def test_a_token_is_kept_until_five_minutes_before_its_end(forge: ForgeServer, clock: Clock) -> None:
    credentials = credentials_of(forge, clock)
    assert credentials.token(HERE).text == "ghs_0"
    clock.seconds += 54 * 60
    assert credentials.token(HERE).text == "ghs_0"
    clock.seconds += 2 * 60
    assert credentials.token(HERE).text == "ghs_1"


def test_not_installed_is_remembered_for_a_minute_only(forge: ForgeServer, clock: Clock) -> None:
    lookup = "/repos/acme/new/installation"
    forge.says(lookup, Answer({"message": "Not Found"}, 404), {"id": 7})
    credentials = credentials_of(forge, clock)
    for _ in range(3):
        with pytest.raises(ForgeFault) as raised:
            credentials.token(Scope("acme/new"))
        assert isinstance(raised.value.meaning, Refused)
        assert raised.value.meaning.reason == "not_installed"
    assert forge.count(lookup) == 1
    clock.seconds += 61
    assert credentials.token(Scope("acme/new")).text == "ghs_0"


def test_a_suspended_installation_is_asked_for_once_a_minute_and_no_other_waits_for_it(
    forge: ForgeServer, clock: Clock
) -> None:
    forge.scripts["/app/installations/8/access_tokens"] = forge.scripts[EXCHANGE]
    forge.says(EXCHANGE, Answer({"message": "This installation has been suspended"}, 403))
    credentials = credentials_of(forge, clock)
    for _ in range(3):
        with pytest.raises(ForgeFault) as raised:
            credentials.token(HERE)
        assert isinstance(raised.value.meaning, Refused)
        assert raised.value.meaning.reason == "suspended"
    assert (forge.count("/repos/acme/app/installation"), forge.count(EXCHANGE)) == (1, 1)
    assert credentials.token(Scope(installation=8)).text == "ghs_0"
    clock.seconds += 61
    forge.scripts[EXCHANGE] = forge.scripts["/app/installations/8/access_tokens"]
    assert credentials.token(HERE).text == "ghs_1"


def test_a_forge_that_is_down_is_not_taken_for_not_installed(forge: ForgeServer, clock: Clock) -> None:
    lookup = "/repos/acme/new/installation"
    forge.says(lookup, Answer(status=503), {"id": 7})
    credentials = credentials_of(forge, clock)
    with pytest.raises(ForgeFault) as raised:
        credentials.token(Scope("acme/new"))
    assert isinstance(raised.value.meaning, Unavailable)
    assert credentials.token(Scope("acme/new")).text == "ghs_0"


def test_an_app_that_was_installed_anew_is_found(forge: ForgeServer, clock: Clock) -> None:
    forge.says("/repos/acme/app/installation", {"id": 6}, {"id": 7})
    credentials = credentials_of(forge, clock)
    with pytest.raises(ForgeFault) as raised:
        credentials.token(HERE)
    assert isinstance(raised.value.meaning, Refused)
    assert credentials.token(HERE).text == "ghs_0"


@pytest.mark.parametrize("status", [401, 403])
def test_a_refused_exchange_is_about_the_configuration(forge: ForgeServer, clock: Clock, status: int) -> None:
    forge.says(EXCHANGE, Answer({"message": "A JSON web token could not be decoded"}, status))
    with pytest.raises(ForgeFault) as raised:
        credentials_of(forge, clock).token(HERE)
    assert raised.value.meaning == Misconfigured(reason="app_refused", words="A JSON web token could not be decoded")


@pytest.mark.parametrize("answer", [{"token": "x"}, {"token": "a b", "expires_at": "2031-01-01T00:00:00Z"}, [], b"<"])
def test_an_exchange_without_a_token_is_later(forge: ForgeServer, clock: Clock, answer: Any) -> None:
    forge.says(EXCHANGE, Answer(answer, 201))
    with pytest.raises(ForgeFault) as raised:
        credentials_of(forge, clock).token(HERE)
    assert isinstance(raised.value.meaning, Unavailable)


def test_threads_that_ask_at_once_share_one_exchange(forge: ForgeServer, clock: Clock) -> None:
    credentials, together = credentials_of(forge, clock), Barrier(12)
    found: list[str] = []

    def ask() -> None:
        together.wait(30)
        found.append(credentials.token(HERE).text)

    threads = [Thread(target=ask) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == ["ghs_0"] * 12
    assert forge.count(EXCHANGE) == 1


def test_threads_whose_token_expired_share_the_next_one(forge: ForgeServer, clock: Clock) -> None:
    forge.scripts["/x"] = lambda asked: Answer({}, 401 if asked.token == "ghs_0" else 200)
    client, together = ForgeClient(forge.connection(), credentials_of(forge, clock)), Barrier(8)
    found: list[object] = []

    def ask() -> None:
        together.wait(30)
        found.append(client.json("/x", HERE))

    threads = [Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert found == [{}] * 8
    assert forge.count(EXCHANGE) == 2


def test_a_good_token_does_not_wait_for_the_exchange_of_another_installation(forge: ForgeServer, clock: Clock) -> None:
    forge.says("/repos/other/app/installation", {"id": 8})
    forge.says("/app/installations/8/access_tokens", Answer({}, 201, waits=True))
    credentials = credentials_of(forge, clock)
    assert credentials.token(HERE).text == "ghs_0"
    slow = Thread(target=asked_in_vain, args=(credentials, Scope("other/app")))
    slow.start()
    until(lambda: forge.count("/app/installations/8/access_tokens") == 1)
    assert credentials.token(HERE).text == "ghs_0"
    assert slow.is_alive()
    forge.go_on.set()
    slow.join(30)


def test_a_fault_names_the_installation_that_the_call_was_made_for(forge: ForgeServer, clock: Clock) -> None:
    limited = Answer({"message": "API rate limit exceeded"}, 403, {"X-RateLimit-Remaining": "0"})
    forge.says("/x", limited, Answer(cut=True))
    credentials = credentials_of(forge, clock)
    client = ForgeClient(forge.connection(), credentials)
    found = []
    for scope in (HERE, HERE, APP, Scope("acme/gone")):
        with pytest.raises(ForgeFault) as raised:
            client.get("/x" if scope == HERE else "/y", scope)
        found.append((raised.value.installation, copy(raised.value).installation))
    assert found == [(7, 7), (7, 7), (None, None), (None, None)]


def test_a_limit_on_the_exchange_is_its_installations(forge: ForgeServer, clock: Clock) -> None:
    forge.says(EXCHANGE, Answer({"message": "slow"}, 403, {"Retry-After": "60"}))
    with pytest.raises(ForgeFault) as raised:
        credentials_of(forge, clock).token(HERE)
    assert raised.value.meaning == RateLimited(wait=timedelta(seconds=60), words="slow")
    assert raised.value.installation == 7


def test_which_installation_a_repository_has_is_told_without_an_exchange(forge: ForgeServer, clock: Clock) -> None:
    credentials = credentials_of(forge, clock)
    assert [credentials.installation(one) for one in (HERE, HERE, Scope(installation=9), APP)] == [7, 7, 9, None]
    assert credentials_of(forge, clock, installation_id=5).installation(HERE) == 5
    assert forge.counts == {"GET /repos/acme/app/installation": 1}


def test_what_reads_and_what_writes_share_one_token(forge: ForgeServer) -> None:
    forge.says("/repos/acme/app", {"id": 700, "full_name": "acme/app"})
    forge.says(f"/repos/acme/app/commits/{'a' * 40}/pulls", [])
    made = connected(settings(api_url=forge.url, token=None, app_id=APP_ID, private_key=Secret("env:PEM", pem())))
    with closing(made.reader) as reader:
        reader.repository("acme/app")
        made.writer.add_label("acme/app", "a" * 40, "status unknown")
    assert [one.token for one in forge.asked if "installation" not in one.path] == ["ghs_0", "ghs_0"]
    assert forge.count(EXCHANGE) == 1


NO_KEYS = {
    "rubbish": "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----",
    "another kind": pem(ec.generate_private_key(ec.SECP256R1())),
    "under a password": pem(encryption=BestAvailableEncryption(b"x")),
}


@pytest.mark.parametrize("key", NO_KEYS.values(), ids=NO_KEYS)
def test_a_key_that_cannot_sign_is_refused_at_the_start_and_not_shown(forge: ForgeServer, key: str) -> None:
    stated = settings(app_id=APP_ID, private_key=Secret("file:/run/app.pem", key))
    with pytest.raises(InvalidSettings) as refused:
        AppCredentials(stated, forge.connection())
    assert "forges.github.private_key is file:/run/app.pem: expected an RSA private key" in str(refused.value)
    assert key.splitlines()[1] not in str(refused.value)


def test_no_token_is_in_a_fault(forge: ForgeServer, clock: Clock) -> None:
    forge.says("/x", Answer({"message": "no"}, 403))
    client = ForgeClient(forge.connection(), credentials_of(forge, clock))
    with pytest.raises(ForgeFault) as raised:
        client.get("/x", HERE)
    assert "ghs_0" not in f"{raised.value!s}{raised.value!r}"
