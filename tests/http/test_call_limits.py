"""No caller can overload the API for the others."""

import asyncio
import threading
from dataclasses import fields, replace

import httpx
import pytest

from notify.api.app import build_app
from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED
from notify.domain.measures import CallOrigin
from notify.http.call_limits import MAX_CALLERS, WRONG_KEYS_PER_MINUTE, CallLimit, CallLimiter
from notify.http.context import Context
from notify.http.person_tokens import BadToken, PersonTokens
from notify.store.database import Database
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope
from tests.support.callers import Person, Program
from tests.support.in_process import InProcess

FEW = 5
TYPES = "/api/v1/user/notification/types"
JOBS = "/api/v1/jobs"


class Clock:
    """A clock that moves only when told to."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(context: Context, clock: Clock) -> httpx.Client:
    """An API with a low limit, in a minute that does not pass by itself."""
    app = build_app(context)
    app.add_middleware(CallLimiter, per_minute=FEW, clock=clock)
    return httpx.Client(transport=InProcess(app), base_url="http://notify.test")


def test_a_caller_over_the_limit_is_told_when_to_retry_and_others_are_answered(
    api: httpx.Client, person: Person
) -> None:
    eager, patient = person("ann"), person("bob")
    answers = [api.get(TYPES, headers=eager) for _ in range(FEW + 1)]

    assert [one.status_code for one in answers] == [200] * FEW + [429]
    refusal = answers[-1]
    assert refusal.headers["Content-Type"] == "application/problem+json"
    assert refusal.json()["status"] == 429
    assert int(refusal.headers["Retry-After"]) == 60 / FEW
    assert api.get(TYPES, headers=patient).status_code == 200


def test_a_signed_link_has_its_own_limit_and_is_refused_with_a_page(api: httpx.Client, links: SignedLinks) -> None:
    page = links.preferences("ann")
    answers = [api.get(page, headers={"Accept-Language": "de"}) for _ in range(FEW + 1)]

    assert [one.status_code for one in answers] == [200] * FEW + [429]
    assert answers[-1].headers["Content-Type"].startswith("text/html")
    assert "in einer Minute" in answers[-1].text
    assert int(answers[-1].headers["Retry-After"]) == 60 / FEW


def test_health_is_always_answered(api: httpx.Client) -> None:
    assert {api.get("/livez").status_code for _ in range(3 * FEW)} == {200}


@pytest.fixture
def after_wrong_keys(context: Context, clock: Clock) -> httpx.Client:
    """An API to which our address has sent as many wrong keys as allowed in a minute, with a low limit."""
    app = build_app(context)
    app.add_middleware(CallLimiter, per_minute=10 * WRONG_KEYS_PER_MINUTE, clock=clock)
    api = httpx.Client(transport=InProcess(app), base_url="http://notify.test")
    answers = {api.get(JOBS, headers=wrong(f"ntf_{one}")).status_code for one in range(WRONG_KEYS_PER_MINUTE)}
    assert answers == {401}
    return api


def wrong(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {name}"}


def test_a_caller_that_tries_many_keys_must_wait(
    after_wrong_keys: httpx.Client, links: SignedLinks, clock: Clock
) -> None:
    forged = links.preferences("ann")[:-1]
    assert [after_wrong_keys.get(JOBS, headers=wrong(key)).status_code for key in ("ntf_other", "a.b.c")] == [429, 429]
    assert after_wrong_keys.get(forged).status_code == 429
    refusal = after_wrong_keys.get(JOBS, headers=wrong("ntf_another"))
    assert int(refusal.headers["Retry-After"]) == 60 / WRONG_KEYS_PER_MINUTE

    clock.now += 60 / WRONG_KEYS_PER_MINUTE
    assert after_wrong_keys.get(JOBS, headers=wrong("ntf_other")).status_code == 401


def test_invented_links_count_as_wrong_keys(after_wrong_keys: httpx.Client, clock: Clock) -> None:
    clock.now += 60 / WRONG_KEYS_PER_MINUTE
    answers = [after_wrong_keys.get(f"/unsubscribe/{number}").status_code for number in range(2)]

    assert answers == [404, 429]


def test_a_valid_key_is_accepted_however_many_wrong_ones_its_address_has_sent(
    after_wrong_keys: httpx.Client, links: SignedLinks, program: Program, person: Person
) -> None:
    stop = links.stop_event_type("ann", COMMENT_CREATED)

    assert after_wrong_keys.get(JOBS, headers=program(Scope.OPS)).status_code == 200
    assert after_wrong_keys.get(JOBS, headers=program(Scope.EVENTS_WRITE)).status_code == 403
    assert after_wrong_keys.get(TYPES, headers=person("ann")).status_code == 200
    assert after_wrong_keys.post(stop, data={"List-Unsubscribe": "One-Click"}).status_code == 200
    assert after_wrong_keys.get(links.preferences("ann")).status_code == 200


def test_calls_without_any_key_lock_out_nobody(
    api: httpx.Client, links: SignedLinks, program: Program, person: Person
) -> None:
    answers = [api.get(JOBS).status_code for _ in range(FEW + 1)]

    assert answers == [401] * FEW + [429]
    assert api.get("/openapi.json").status_code == 429
    assert api.get(JOBS, headers=wrong("ntf_other")).status_code == 429
    assert api.get(JOBS, headers=program(Scope.OPS)).status_code == 200
    assert api.get(TYPES, headers=person("ann")).status_code == 200
    assert api.get(links.preferences("ann")).status_code == 200


def test_a_revoked_token_counts_as_a_wrong_key(api: httpx.Client, program: Program, database: Database) -> None:
    headers = program(Scope.OPS)
    assert api.get(JOBS, headers=headers).status_code == 200
    with database.begin() as connection:
        (token,) = tokens.issued(connection)
        tokens.revoke(connection, token.id)

    answers = [api.get(JOBS, headers=headers).status_code for _ in range(FEW + 1)]
    assert answers == [401] * FEW + [429]


def test_keys_from_an_address_with_many_wrong_ones_are_checked_one_at_a_time(context: Context) -> None:
    class Watched(PersonTokens):
        """Records how many tokens were checked at once."""

        now = most = 0

        def username(self, token: str) -> str:
            Watched.now += 1
            Watched.most = max(Watched.most, Watched.now)
            met.wait(0.2)
            Watched.now -= 1
            raise BadToken(reason=token)

    async def concurrently(calls: int) -> list[int]:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://notify.test") as api:
            asked = (api.get(TYPES, headers=wrong(f"{number}.b.c")) for number in range(calls))
            return [one.status_code for one in await asyncio.gather(*asked)]

    met = threading.Event()
    met.set()
    known = context.people
    assert known is not None
    people = Watched(**{one.name: getattr(known, one.name) for one in fields(known)})
    app = build_app(replace(context, people=people))
    app.add_middleware(CallLimiter, per_minute=1_000, clock=Clock())
    assert set(asyncio.run(concurrently(WRONG_KEYS_PER_MINUTE))) == {401}

    met.clear()
    Watched.most = 0
    assert set(asyncio.run(concurrently(3))) == {429}
    assert Watched.most == 1


def test_calls_through_an_untrusted_proxy_are_counted(context: Context) -> None:
    counted: list[str] = []
    app = build_app(context)
    app.add_middleware(CallLimiter, per_minute=FEW, count=lambda _, way, _seconds=0.0: counted.append(way))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as api:
        api.get(JOBS)
        api.get(JOBS, headers={"X-Forwarded-For": "203.0.113.7, 198.51.100.2"})
        api.get(JOBS, headers={"X-Forwarded-For": "127.0.0.1"})

    assert counted == [CallOrigin.DIRECT, CallOrigin.UNTRUSTED, CallOrigin.FORWARDED]


def test_the_limit_is_that_of_the_settings(context: Context) -> None:
    app = build_app(replace(context, calls_per_minute=1))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as client:
        assert [client.get("/openapi.json").status_code for _ in range(2)] == [200, 429]


def test_the_allowance_refills_during_the_minute() -> None:
    clock = Clock()
    allowance = CallLimit(FEW, clock=clock)
    for _ in range(FEW):
        assert allowance.wait("ann") == 0
        allowance.spend("ann")
    assert allowance.wait("ann") == pytest.approx(60 / FEW)
    assert allowance.wait("bob") == 0

    clock.now += 60 / FEW
    assert allowance.wait("ann") == 0
    allowance.spend("ann")
    assert allowance.wait("ann") == pytest.approx(60 / FEW)

    clock.now += 60
    for _ in range(FEW):
        assert allowance.wait("ann") == 0
        allowance.spend("ann")
    assert allowance.wait("ann") > 0


def test_invented_callers_do_not_fill_memory() -> None:
    allowance = CallLimit(1, clock=Clock())
    for number in range(MAX_CALLERS + 1):
        allowance.spend(str(number))

    assert allowance.wait("0") == 0
    assert allowance.wait("1") > 0
