"""One caller cannot take the API away from the others."""

from dataclasses import replace

import httpx
import pytest

from notify.api.app import build_app
from notify.api.context import Context
from notify.api.rates import MOST_CALLERS, WRONG_KEYS_PER_MINUTE, Allowance, Rates
from notify.channels.links import SignedLinks
from notify.store.tokens import Scope
from tests.api.conftest import Person, Program
from tests.api.in_process import InProcess

FEW = 5
TYPES = "/api/v1/user/notification/types"
LETTERS = "/api/v1/jobs"


class Clock:
    """Stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def api(context: Context, clock: Clock) -> httpx.Client:
    """An API that answers few calls, in a minute that does not pass by itself."""
    app = build_app(context)
    app.add_middleware(Rates, per_minute=FEW, clock=clock)
    return httpx.Client(transport=InProcess(app), base_url="http://notify.test")


def test_a_caller_beyond_the_limit_is_told_when_to_come_back_and_the_others_are_answered(
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


def test_those_who_bring_no_token_are_counted_by_their_address_and_are_refused_with_a_page(
    api: httpx.Client, links: SignedLinks
) -> None:
    page = links.preferences("ann")
    answers = [api.get(page, headers={"Accept-Language": "de"}) for _ in range(FEW + 1)]

    assert [one.status_code for one in answers] == [200] * FEW + [429]
    assert answers[-1].headers["Content-Type"].startswith("text/html")
    assert "in einer Minute" in answers[-1].text
    assert int(answers[-1].headers["Retry-After"]) == 60 / FEW


def test_health_is_always_answered(api: httpx.Client) -> None:
    assert {api.get("/livez").status_code for _ in range(3 * FEW)} == {200}


def test_who_tries_many_keys_is_refused_even_with_the_right_one_until_time_has_passed(
    api: httpx.Client, program: Program, clock: Clock
) -> None:
    right = program(Scope.OPS)
    assert api.get(LETTERS, headers=right).status_code == 200
    tried = [
        api.get(LETTERS, headers={"Authorization": f"Bearer ntf_{number}"}).status_code
        for number in range(WRONG_KEYS_PER_MINUTE)
    ]
    assert set(tried) == {401}

    assert api.get(LETTERS, headers={"Authorization": "Bearer ntf_other"}).status_code == 429
    assert api.get(LETTERS, headers=right).status_code == 429
    clock.now += 60 / WRONG_KEYS_PER_MINUTE
    assert api.get(LETTERS, headers=right).status_code == 200


def test_the_limit_is_that_of_the_settings(context: Context) -> None:
    app = build_app(replace(context, calls_per_minute=1))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as client:
        assert [client.get("/openapi.json").status_code for _ in range(2)] == [200, 429]


def test_what_was_spent_comes_back_as_the_minute_passes() -> None:
    clock = Clock()
    allowance = Allowance(FEW, clock=clock)
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


def test_inventing_callers_fills_no_memory() -> None:
    allowance = Allowance(1, clock=Clock())
    for number in range(MOST_CALLERS + 1):
        allowance.spend(str(number))

    assert allowance.wait("0") == 0
    assert allowance.wait("1") > 0
