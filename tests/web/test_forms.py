"""Forms are read once their link is verified, in every encoding that senders use, up to a size."""

from collections.abc import Iterator

import httpx
import pytest

from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED
from notify.store.database import Database
from notify.store.directory import preferences
from notify.web.forms import fields

CLICK = ("List-Unsubscribe", "One-Click")
URL_ENCODED = "application/x-www-form-urlencoded"
PART = 'Content-Disposition: form-data; name="List-Unsubscribe"'


@pytest.fixture
def link(links: SignedLinks) -> str:
    """A valid link from one of dana's emails."""
    return links.stop_event_type("dana", COMMENT_CREATED)


def stopped(database: Database) -> bool:
    with database.begin() as connection:
        return preferences.config(connection, "dana").preferences.get(COMMENT_CREATED) is False


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        pytest.param(URL_ENCODED, "List-Unsubscribe=One-Click", id="url-encoded"),
        pytest.param(f"{URL_ENCODED}; charset=UTF-8", "List-Unsubscribe=One%2DClick&a=b", id="escaped"),
        pytest.param(None, "List-Unsubscribe=One-Click", id="no-type"),
        pytest.param("text/plain", "List-Unsubscribe=One-Click\r\n", id="plain-text"),
        pytest.param("multipart/form-data; boundary=b", f"--b\r\n{PART}\r\n\r\nOne-Click\r\n--b--\r\n", id="multipart"),
        pytest.param(
            'Multipart/Form-Data; charset=utf-8; BOUNDARY="b b"',
            f"preamble\n--b b\n{PART.lower().replace('list-u', 'List-U').replace('uns', 'Uns')}; filename=x\n"
            "Content-Type: text/plain\n\nOne-Click\n--b b--",
            id="multipart-as-odd-as-it-may-be",
        ),
    ],
)
def test_one_click_stops_the_emails_in_every_encoding_that_senders_use(
    api: httpx.Client, database: Database, link: str, content_type: str | None, body: str
) -> None:
    headers = {} if content_type is None else {"Content-Type": content_type}

    assert api.post(link, content=body, headers=headers).status_code == 200
    assert stopped(database)


def test_a_body_that_is_no_form_is_refused(api: httpx.Client, database: Database, link: str) -> None:
    headers = {"Content-Type": "application/json"}

    assert api.post(link, content='{"List-Unsubscribe": "One-Click"}', headers=headers).status_code == 415
    assert not stopped(database)


@pytest.mark.parametrize("announced", [True, False])
def test_a_form_larger_than_one_click_needs_is_refused_and_changes_nothing(
    api: httpx.Client, database: Database, link: str, announced: bool
) -> None:
    body = b"List-Unsubscribe=One-Click&a=" + b"b" * 10_000
    content = body if announced else iter([body[:5_000], body[5_000:]])

    assert api.post(link, content=content, headers={"Content-Type": URL_ENCODED}).status_code == 413
    assert not stopped(database)


@pytest.mark.parametrize("path", ["/unsubscribe/forged", "/preferences/forged", "/preferences"])
def test_a_form_without_a_valid_link_is_not_read(api: httpx.Client, path: str) -> None:
    read = []

    def body() -> Iterator[bytes]:
        read.append("something")
        yield b"save=yes"

    assert api.post(path, content=body(), headers={"Content-Type": URL_ENCODED}).status_code in {401, 404}
    assert read == []


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data", f"--\r\n{PART}\r\n\r\nOne-Click\r\n----"),
        ("multipart/form-data; boundary=" + "b" * 71, f"--{'b' * 71}\r\n{PART}\r\n\r\nOne-Click\r\n"),
        ("multipart/form-data; boundary=b", f"--c\r\n{PART}\r\n\r\nOne-Click\r\n"),
        ("multipart/form-data; boundary=b", f"--b--\r\n--b\r\n{PART}\r\n\r\nOne-Click\r\n"),
        ("multipart/form-data; boundary=b", "--b\r\nContent-Type: text/plain\r\n\r\nOne-Click\r\n--b--"),
        ("multipart/form-data; boundary=b", f"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n{PART}"),
    ],
)
def test_content_outside_the_parts_of_a_form_is_ignored(content_type: str, body: str) -> None:
    assert CLICK not in fields(content_type, body)


def test_parts_keep_their_order_and_their_lines() -> None:
    parts = "".join(f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n1\r\n\r\n2\r\n' for name in "aba")

    assert fields("multipart/form-data; boundary=b", f"{parts}--b--") == [
        ("a", "1\n\n2"),
        ("b", "1\n\n2"),
        ("a", "1\n\n2"),
    ]
