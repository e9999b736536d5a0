"""The page about the API: complete, and nothing on any page comes from elsewhere."""

from re import findall, search

import httpx
import pytest
from fastapi import FastAPI

from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED


def test_every_call_and_every_shape_is_on_the_page(api: httpx.Client, app: FastAPI) -> None:
    text = api.get("/docs").text
    described = app.openapi()
    for path, operations in described["paths"].items():
        for method in operations:
            assert f"{method.upper()} {path}</code>" in text
    for name, schema in described["components"]["schemas"].items():
        assert f"<code>{name}</code>" in text
        for field in schema.get("properties", {}):
            assert f"<code>{field}</code>" in text


@pytest.mark.parametrize("page", ["docs", "unsubscribe", "preferences", "refusal"])
def test_a_page_asks_no_other_site_for_anything_and_runs_nothing(
    api: httpx.Client, links: SignedLinks, page: str
) -> None:
    url = {
        "docs": "/docs",
        "unsubscribe": links.stop_event_type("dana", COMMENT_CREATED, beside="CL-4821"),
        "preferences": links.preferences("dana"),
        "refusal": "/preferences/forged",
    }[page]
    answer = api.get(url)
    policy = answer.headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; style-src 'sha256-")
    assert "form-action 'self'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy
    assert not search(r"<(script|link|img|iframe|object)\b|\son\w+=|\sstyle=|url\(|@import", answer.text)
    assert not findall(r'(?:src|href|action)="(?:https?:)?//', answer.text)
    assert not search(r'<form(?! method="post")', answer.text)
