"""Whatever the bytes of a delivery are, reading them is cheap, raises nothing, and what comes out can be stored."""

import json
from resource import RUSAGE_SELF, getrusage
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notify.domain.forge import ForgeEvent, Ignored, Unreadable
from notify.domain.forge_settings import ForgeKind
from notify.forges.connect import parser
from tests.forges.shapes import GITEA, GITHUB, changed, settings

JSON, FORM = "application/json", "application/x-www-form-urlencoded"
PARSERS = {
    "pull_request": parser(settings()),
    "pull_request_comment": parser(settings(ForgeKind.GITEA)),
}
MIB = 2**20
# On an idle machine it is 0.6 s at most; other processes evict its data from the caches.
MOST_SECONDS = 2
LARGEST = 25 * MIB

HOSTILE = {
    "a million nested arrays": (b"[" * 1_000_000, JSON),
    "a million nested objects": (b'{"a":' * 1_000_000, JSON),
    "25 MiB of nested arrays": (b"[" * LARGEST, JSON),
    "25 MiB of small objects": (b"[" + b"{}," * (LARGEST // 3), JSON),
    "25 MiB of small numbers": (b"[" + b"0," * (LARGEST // 2), JSON),
    "25 MiB of digits": (b'{"number":' + b"1" * LARGEST + b"}", JSON),
    "a form of escapes": (b"payload=" + b"%7B" * (LARGEST // 3), FORM),
    "a form of fields": (b"&" * LARGEST, FORM),
    "a form without a payload": (b"a=b", FORM),
    "no UTF-8": (b'{"action":"\xff"}', JSON),
    "nothing": (b"", JSON),
    "null": (b"null", JSON),
}


@pytest.mark.parametrize(("body", "content_type"), HOSTILE.values(), ids=HOSTILE)
def test_a_hostile_body_costs_neither_memory_nor_time(body: bytes, content_type: str) -> None:
    memory, began = getrusage(RUSAGE_SELF).ru_maxrss, process_time()
    for name, one in PARSERS.items():
        assert isinstance(one.parse(name, body, content_type=content_type), Unreadable)
    assert (process_time() - began) / len(PARSERS) < MOST_SECONDS
    assert (getrusage(RUSAGE_SELF).ru_maxrss - memory) / 1024 < 200


def test_a_large_honest_body_is_read() -> None:
    files = [f"src/{number}.py" for number in range(5)]
    commits = [{"id": f"{number:040x}", "message": "m" * 200, "added": files} for number in range(40_000)]
    stated = GITHUB["push"] | {"repository": GITHUB["repository"], "sender": GITHUB["bob"], "commits": commits}
    body = json.dumps(stated).encode()
    assert len(body) > 10 * MIB
    assert not isinstance(parser(settings()).parse("push", body, content_type=JSON), Unreadable | Ignored)


WORDS = {
    "NUL": "a\x00b",
    "half a surrogate pair": "a\ud800b",
    "two lines": "a\r\nb\u2028c",
    "very long": "x" * 1_000_000,
}


@pytest.mark.parametrize("words", WORDS.values(), ids=WORDS)
def test_what_people_wrote_can_be_stored(words: str) -> None:
    pull = changed(GITHUB["pull_request"], title=words, body=words)
    stated = {"action": "opened", "pull_request": pull, "repository": GITHUB["repository"], "sender": GITHUB["bob"]}
    found = PARSERS["pull_request"].parse("pull_request", json.dumps(stated).encode(), content_type=JSON)
    assert isinstance(found, ForgeEvent)
    for text in (found.change.title, found.change.description):
        assert "\x00" not in text.encode("utf-8").decode()
    assert len(found.change.title) <= 1_000
    assert len(found.change.title.splitlines()) == 1
    assert len(found.change.description) <= 500_000


def test_a_change_without_a_title_has_its_number() -> None:
    pull = changed(GITHUB["pull_request"], title=" ")
    stated = {"action": "opened", "pull_request": pull, "repository": GITHUB["repository"], "sender": GITHUB["bob"]}
    found = PARSERS["pull_request"].parse("pull_request", json.dumps(stated).encode(), content_type=JSON)
    assert isinstance(found, ForgeEvent)
    assert found.change.title == "#7"


def test_an_address_that_no_email_can_link_to_is_left_out() -> None:
    pull = changed(GITHUB["pull_request"], html_url="javascript:alert(1)")
    stated = {"action": "opened", "pull_request": pull, "repository": GITHUB["repository"], "sender": GITHUB["bob"]}
    found = PARSERS["pull_request"].parse("pull_request", json.dumps(stated).encode(), content_type=JSON)
    assert isinstance(found, ForgeEvent)
    assert not found.change.url


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | st.just("2026-11-02T09:00:00"),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)
GITHUB_BODY = {
    "action": "submitted",
    "pull_request": GITHUB["pull_request"],
    "review": GITHUB["review"],
    "repository": GITHUB["repository"],
    "sender": GITHUB["bob"],
}
GITEA_BODY = {
    "action": "reviewed",
    "pull_request": GITEA["pull_request"],
    "review": {"type": "pull_request_review_comment", "content": "x"},
    "repository": GITEA["repository"],
    "sender": GITEA["bob"],
}


@given(data=st.data())
def test_no_value_in_a_body_raises(data: st.DataObject) -> None:
    kind, event, body = data.draw(
        st.sampled_from(
            [
                (ForgeKind.GITHUB, "pull_request_review", GITHUB_BODY),
                (ForgeKind.GITEA, "pull_request_review_comment", GITEA_BODY),
            ]
        )
    )
    stated: Any = json.loads(json.dumps(body))
    inside = stated
    while True:
        name = data.draw(st.sampled_from(sorted(inside)))
        if not isinstance(inside[name], dict) or data.draw(st.booleans()):
            break
        inside = inside[name]
    inside[name] = data.draw(VALUES)
    parser(settings(kind)).parse(event, json.dumps(stated).encode(), content_type=JSON, own_login="me")
