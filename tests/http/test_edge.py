"""With limited host names, the API answers only to its own and to no site that rebinds its name to it."""

from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest

from notify.api.app import build_app
from notify.http.context import Context
from tests.support.in_process import InProcess


@pytest.fixture
def limited(context: Context) -> Iterator[httpx.Client]:
    """The API, called notify.test."""
    app = build_app(replace(context, names=("notify.test",)))
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as client:
        yield client


@pytest.mark.parametrize(
    "host", ["notify.test", "NOTIFY.test:8000", "127.0.0.1:8000", "[::1]:8000", "localhost", "api"]
)
def test_the_api_answers_to_its_names_and_to_local_ones(limited: httpx.Client, host: str) -> None:
    assert limited.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize("host", ["site.example", "notify.test.site.example", "127.0.0.1.site.example"])
def test_a_site_that_rebinds_its_name_to_the_api_reads_nothing(limited: httpx.Client, host: str) -> None:
    answer = limited.get("/openapi.json", headers={"Host": host})

    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"


def test_the_api_answers_to_every_name_unless_names_are_limited(context: Context) -> None:
    with httpx.Client(transport=InProcess(build_app(context)), base_url="http://any.example") as client:
        assert client.get("/livez").status_code == 200
