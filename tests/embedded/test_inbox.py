"""The inbox shows emails from anybody: everything is readable, nothing in them acts."""

import asyncio
from email.message import EmailMessage
from html.parser import HTMLParser
from pathlib import Path
from re import findall
from typing import Any

import httpx
import pytest

from notify.embedded.inbox import create_app
from notify.embedded.mailbox import Mailbox

RIGHTS = "allow-popups allow-popups-to-escape-sandbox"
SCRIPT = "<script>alert(1)</script><img src=x onerror=alert(1)>"
ATTRIBUTE = '" onmouseover="alert(1)'


class Page(HTMLParser):
    """The elements of a page and their attributes."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.feed(html)

    def handle_data(self, data: str) -> None:
        if self.cdata_elem == "script":
            self.scripts.append(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    @property
    def handlers(self) -> list[str]:
        return [name for _, attributes in self.elements for name in attributes if name.startswith("on")]


class Browser:
    """What a browser would get from the inbox over this mailbox."""

    def __init__(self, mailbox: Mailbox) -> None:
        self.transport = httpx.ASGITransport(create_app(mailbox))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("GET", path, **options))

    def post(self, path: str, **options: Any) -> httpx.Response:
        return asyncio.run(self._ask("POST", path, **options))

    async def _ask(self, method: str, path: str, **options: Any) -> httpx.Response:
        async with httpx.AsyncClient(transport=self.transport, base_url="http://127.0.0.1:8025") as client:
            return await client.request(method, path, follow_redirects=True, **options)


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path)


@pytest.fixture
def browser(mailbox: Mailbox) -> Browser:
    return Browser(mailbox)


def add(mailbox: Mailbox, *, text: str = "", html: str = "", **headers: str) -> str:
    email = EmailMessage()
    for name, value in headers.items():
        email[name.replace("_", "-")] = value
    email.set_content(text)
    if html:
        email.add_alternative(html, subtype="html")
    return mailbox.add(email.as_bytes(), sender="notify@example.com", recipients=["alice@example.com"])


def test_the_list_has_sender_recipient_subject_and_reason(browser: Browser, mailbox: Mailbox) -> None:
    add(mailbox, From="Dana <d@example.com>", To="alice@example.com", Subject="Cap it", X_Notify_Reason="reviewer")
    page = browser.get("/").text
    assert all(words in page for words in ("Dana", "alice@example.com", "Cap it", "reviewer"))


@pytest.mark.parametrize("view", ["", "?view=html", "?view=text", "?view=headers", "?view=raw"])
@pytest.mark.parametrize("hostile", [SCRIPT, ATTRIBUTE])
def test_a_hostile_email_cannot_script_the_inbox(browser: Browser, mailbox: Mailbox, hostile: str, view: str) -> None:
    address = f'"{hostile}" <a@example.com>'.replace('"" ', "")
    identifier = mailbox.add(
        f"From: {address}\r\nTo: {address}\r\nSubject: {hostile}\r\nX-Notify-Reason: {hostile}\r\n"
        f"{hostile}: {hostile}\r\n\r\n{hostile} http://example.com/{hostile}\r\n".encode(),
        sender=hostile,
        recipients=[hostile],
    )
    for answer in (browser.get("/"), browser.get(f"/emails/{identifier}{view}")):
        page = Page(answer.text)
        assert (page.all("img"), page.handlers) == ([], [])
        policy = answer.headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        (nonce,) = findall(r"script-src '(nonce-[\w-]+)'", policy)
        assert all(f"nonce-{script['nonce']}" == nonce for script in page.all("script"))
        assert "alert(1)" not in "".join(page.scripts)


def test_the_html_of_an_email_is_framed_and_may_only_open_links_in_new_tabs(browser: Browser, mailbox: Mailbox) -> None:
    identifier = add(mailbox, html=SCRIPT)
    (frame,) = Page(browser.get(f"/emails/{identifier}").text).all("iframe")
    assert frame["sandbox"] == RIGHTS
    email = browser.get(str(frame["src"]))
    assert {f"sandbox {RIGHTS}", "default-src 'none'"} <= set(email.headers["content-security-policy"].split("; "))
    assert SCRIPT in email.text


@pytest.mark.parametrize("head", ["", "<head>", '<!doctype html><html><HEAD lang="en"><base target="_top">'])
def test_links_in_the_html_open_in_a_new_tab_whatever_the_email_says(
    browser: Browser, mailbox: Mailbox, head: str
) -> None:
    identifier = add(mailbox, html=f'{head}<a href="https://review.example/CL-1">x</a>')
    page = Page(browser.get(f"/emails/{identifier}/html").text)
    assert page.all("base")[0] == {"target": "_blank"}
    assert page.all("a") == [{"href": "https://review.example/CL-1"}]


def test_the_list_shows_the_first_line_of_each_email_but_not_its_styles(browser: Browser, mailbox: Mailbox) -> None:
    html = "<title>t</title><style>p{}</style>\n<div hidden>Dana commented: 1 &lt; 2</div>\n<p>More.</p>"
    add(mailbox, text="Plain.", html=html)
    add(mailbox, text="Only\n\ntext.")
    found = findall(r'class="preview quiet">([^<]*)<', browser.get("/").text)
    assert found == ["Only", "Dana commented: 1 &lt; 2"]


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("cap", {"Cap it"}),
        ("CAROL", {"Tests"}),
        ("jitter", {"Cap it"}),
        ("dana example", {"Cap it", "Tests"}),
        ("dana nowhere", set()),
        ("", {"Cap it", "Tests"}),
        ('"><script>', set()),
    ],
)
def test_a_search_finds_the_emails_that_hold_all_its_words(
    browser: Browser, mailbox: Mailbox, query: str, found: set[str]
) -> None:
    add(mailbox, From="Dana <d@example.com>", To="alice@example.com", Subject="Cap it", text="The jitter.")
    add(mailbox, From="Dana <d@example.com>", To="carol@example.com", Subject="Tests", text="Where?")
    answer = browser.get("/", params={"q": query})
    assert {one for one in ("Cap it", "Tests") if one in answer.text} == found
    (box,) = [one for one in Page(answer.text).all("input") if one.get("name") == "q"]
    assert box["value"] == query


def test_links_in_the_text_can_be_followed(browser: Browser, mailbox: Mailbox) -> None:
    identifier = add(mailbox, text="See https://review.example/CL-1?a=1&b=2#c. Not javascript:alert(1).")
    links = [one["href"] for one in Page(browser.get(f"/emails/{identifier}?view=text").text).all("a")]
    assert "https://review.example/CL-1?a=1&b=2#c" in links
    assert not [link for link in links if link and link.startswith("javascript")]


def test_the_download_is_the_email_byte_for_byte(browser: Browser, mailbox: Mailbox) -> None:
    content = bytes(range(256))
    identifier = mailbox.add(content, sender="a@example.com", recipients=["b@example.com"])
    answer = browser.get(f"/emails/{identifier}/download")
    assert answer.content.endswith(b"\r\n" + content)
    assert answer.headers["content-disposition"].startswith("attachment")


def test_one_button_deletes_everything(browser: Browser, mailbox: Mailbox) -> None:
    add(mailbox)
    assert browser.post("/delete").is_success
    assert "No emails yet" in browser.get("/").text
    assert list(mailbox.folder.iterdir()) == []


def test_another_site_cannot_delete_the_emails(browser: Browser, mailbox: Mailbox) -> None:
    add(mailbox)
    for origin in ("http://evil.example", "null"):
        assert browser.post("/delete", headers={"origin": origin}).status_code == 403
    assert len(list(mailbox.newest_first())) == 1


def test_another_site_cannot_read_the_emails_by_rebinding_its_name(browser: Browser) -> None:
    assert browser.get("/", headers={"host": "evil.example:8025"}).status_code == 403
    for host in ("localhost:8025", "catcher:8025", "[::1]:8025"):
        assert browser.get("/", headers={"host": host}).is_success


@pytest.mark.parametrize("identifier", ["nothing", "..%2f..%2fetc%2fpasswd", "%00"])
def test_an_unknown_email_is_not_found(browser: Browser, identifier: str) -> None:
    for path in ("/emails/{}", "/emails/{}/html", "/emails/{}/download"):
        assert browser.get(path.format(identifier)).status_code == 404
