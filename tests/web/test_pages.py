"""Nothing on any page comes from elsewhere."""

from re import findall, search

import httpx
import pytest

from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED


@pytest.mark.parametrize("page", ["unsubscribe", "preferences", "refusal"])
def test_a_page_loads_nothing_from_other_sites_and_runs_no_script(
    api: httpx.Client, links: SignedLinks, page: str
) -> None:
    url = {
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
