"""The embedded forge's pages show what it was told, and run nothing that was in it."""

from html.parser import HTMLParser

import httpx

from notify.embedded.forge.server import EmbeddedForge
from tests.embedded.forge.conftest import REPOSITORY


class Badges(HTMLParser):
    """The states on a page: how each looks, and its words."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []
        self._look, self._words, self._depth = "", "", 0
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "span" and self._depth:
            self._depth += 1
        elif tag == "span" and (looks := dict(attrs).get("class") or "").startswith("state "):
            self._look, self._words, self._depth = looks.removeprefix("state state-"), "", 1

    def handle_data(self, data: str) -> None:
        if self._depth:
            self._words += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "span" and self._depth:
            self._depth -= 1
            if not self._depth:
                self.found.append((self._look, self._words.split(maxsplit=1)[-1]))


def page(forge: EmbeddedForge, path: str) -> str:
    return httpx.get(f"{forge.url}{path}").raise_for_status().text


def test_the_page_shows_pull_requests_and_what_was_said(pulled: EmbeddedForge) -> None:
    pulled.state.open_pull(REPOSITORY, by="alice", title="Cap <the> delay", head="delay")
    pulled.state.comment(REPOSITORY, 2, by="carol", body="Why?")
    pulled.state.review(REPOSITORY, 2, by="bob", state="APPROVED", body="Fine.")
    assert "Cap &lt;the&gt; delay" in page(pulled, "/")
    shown = page(pulled, f"/{REPOSITORY}/pull/2")
    assert 0 < shown.index("Why?") < shown.index("Fine."), "in the order in which it was said"
    assert httpx.get(f"{pulled.url}/{REPOSITORY}/pull/3").status_code == 404


def test_a_status_is_shown_by_word_and_colour_on_every_page(pulled: EmbeddedForge, calls: httpx.Client) -> None:
    for state, look in (("error", "bad"), ("failure", "bad"), ("pending", "waiting"), ("success", "good")):
        sha = pulled.state.push(REPOSITORY, "cap", by="alice")
        body = {"state": state, "context": "ci/<unit>", "description": "3 < 4", "target_url": "https://ci.example/7"}
        calls.post(f"/statuses/{sha}", json=body).raise_for_status()
        assert Badges(page(pulled, "/")).found == [(look, "failure" if state == "error" else state)]
        assert Badges(page(pulled, f"/{REPOSITORY}/pull/1")).found == [(look, state)]
        on_commit = page(pulled, f"/{REPOSITORY}/commit/{sha}")
        assert Badges(on_commit).found == [(look, state), (look, state)], "what is shown, and the call"
        for words in ("ci/&lt;unit&gt;", "3 &lt; 4", 'href="https://ci.example/7"'):
            assert words in on_commit


def test_a_commits_page_shows_check_runs_with_their_words_and_all_calls(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    made = calls.post("/check-runs", json={"name": "lint", "head_sha": sha, "status": "in_progress"}).json()
    note = {"path": "a.py", "start_line": 3, "end_line": 5, "annotation_level": "failure", "message": "Too <slow>"}
    summary = (
        "**Two** are slow.\n\n<script>alert(1)</script> [click](javascript:alert(1)) ![pixel](https://t.example/p)"
    )
    output = {"title": "Slow", "summary": summary, "annotations": [note]}
    calls.patch(f"/check-runs/{made['id']}", json={"conclusion": "neutral", "output": output}).raise_for_status()
    shown = page(pulled, f"/{REPOSITORY}/commit/{sha}")
    assert f'id="check-run-{made["id"]}"' in shown, "where html_url leads"
    assert "<strong>Two</strong>" in shown
    assert "a.py:3–5" in shown
    assert "Too &lt;slow&gt;" in shown
    assert [one for one in ("<script>alert", 'href="javascript', "<img") if one in shown] == []
    assert Badges(shown).found == [
        ("neutral", "neutral"),
        ("neutral", "neutral"),
        ("bad", "failure"),
        ("neutral", "neutral"),
        ("waiting", "in progress"),
    ]
    assert httpx.get(f"{pulled.url}/{REPOSITORY}/commit/{'f' * 40}").status_code == 404


def test_earlier_commits_of_a_pull_request_keep_their_page(
    pulled: EmbeddedForge, calls: httpx.Client, sha: str
) -> None:
    calls.post(f"/statuses/{sha}", json={"state": "failure"}).raise_for_status()
    pulled.state.push(REPOSITORY, "cap", by="alice")
    shown = page(pulled, f"/{REPOSITORY}/pull/1")
    assert Badges(shown).found == []
    assert f'href="/{REPOSITORY}/commit/{sha}"' in shown
    assert Badges(page(pulled, f"/{REPOSITORY}/commit/{sha}")).found[0] == ("bad", "failure")
