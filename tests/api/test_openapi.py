"""The OpenAPI document changes on purpose only, and names every operation."""

import json
from collections import Counter

import httpx

from tests.support.openapi import COMMITTED, served


def test_the_committed_document_is_the_one_that_the_api_serves() -> None:
    assert COMMITTED.read_text(encoding="utf-8") == served(), (
        "the API changed; if that is meant, run: .venv/bin/python -m tests.support.openapi"
    )


def test_every_operation_has_a_name_of_its_own_a_summary_and_a_described_tag() -> None:
    document = json.loads(served())
    operations = [one for path in document["paths"].values() for one in path.values()]
    names = Counter(one["operationId"] for one in operations)

    assert set(names.values()) == {1}
    assert all(name.isalpha() for name in names)
    assert all(one["summary"] for one in operations)
    assert {tag for one in operations for tag in one["tags"]} == {tag["name"] for tag in document["tags"]}


def test_without_a_network_the_reference_still_leads_to_the_document(api: httpx.Client) -> None:
    page = api.get("/", follow_redirects=True).text

    assert '<div id="swagger-ui"><p>' in page
    assert 'href="/openapi.json"' in page
