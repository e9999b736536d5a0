"""Behind a path prefix, pages stay pages, probes stay open and links are correct."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from re import findall
from threading import Thread
from urllib.parse import urljoin

import httpx
import pytest

from notify.api.app import build_app
from notify.channels.links import SignedLinks
from notify.http.context import Context
from notify.store.database import Database
from notify.store.directory import preferences
from tests.support.api_server import TIMEOUT_SECONDS, served
from tests.support.in_process import InProcess

PREFIX = "/notify"
FROM = "X-Forwarded-For"
CALLS_A_MINUTE = 2


@contextmanager
def proxy(server: str, *, strips: bool) -> Iterator[str]:
    """The address of a proxy that serves *server* under the prefix, and nothing else."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            path = self.path.removeprefix(PREFIX) if strips else self.path
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(502)
                return
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            kept = {name: value for name, value in self.headers.items() if name in {"Content-Type", FROM}}
            answer = client.request(self.command, server + path, content=body, headers=kept)
            self.send_response(answer.status_code)
            for name, value in answer.headers.multi_items():
                if name not in {"transfer-encoding", "connection", "content-encoding"}:
                    self.send_header(name, value)
            self.end_headers()
            self.wfile.write(answer.content)

        do_POST = do_GET

        def log_message(self, *_: object) -> None:
            """Log nothing."""

    with httpx.Client(timeout=TIMEOUT_SECONDS) as client, ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        Thread(target=listening.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        yield f"http://127.0.0.1:{listening.server_port}"
        listening.shutdown()


class Forms(HTMLParser):
    """The form actions of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.actions: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "form":
            self.actions.append(dict(attrs).get("action") or "")


@pytest.fixture(scope="module")
def server(lasting_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of an API behind the prefix."""
    limited = {**lasting_environment, "NOTIFY_API_CALLS_PER_MINUTE": str(CALLS_A_MINUTE)}
    with served(limited, tmp_path_factory.mktemp("api") / "log", options=("--root-path", PREFIX)) as at:
        yield at


@pytest.mark.parametrize(
    ("strips", "username", "network"),
    [(True, "dana", "203.0.113"), (False, "erin", "198.51.100")],
    ids=["stripped", "left on"],
)
def test_behind_a_prefix_every_url_is_correct(
    server: str, lasting_environment: Mapping[str, str], database: Database, strips: bool, username: str, network: str
) -> None:
    with (
        proxy(server, strips=strips) as outside,
        httpx.Client(timeout=TIMEOUT_SECONDS) as web,
    ):
        api = f"{outside}{PREFIX}"
        links = SignedLinks(secrets=[lasting_environment["NOTIFY_SECRET_KEYS"]], public_url=api)

        for probe in ("/livez", "/readyz", "/metrics"):
            from_outside = [web.get(api + probe).status_code for _ in range(CALLS_A_MINUTE + 2)]
            from_the_node = web.get(server + probe).status_code
            assert {*from_outside, from_the_node} == {200}

        page = web.get(links.preferences(username), headers={FROM: f"{network}.1"})
        assert (page.status_code, page.headers["Content-Type"][:9]) == (200, "text/html")
        (action,) = Forms(page.text).actions
        save = urljoin(str(page.url), action)
        assert web.post(save, data={"save": "yes"}, headers={FROM: f"{network}.1"}).status_code == 200
        refused = web.get(links.preferences(username), headers={FROM: f"{network}.1"})
        assert (refused.status_code, refused.headers["Content-Type"][:9]) == (429, "text/html")
        forged = web.get(f"{api}/preferences/forged", headers={FROM: f"{network}.2"})
        assert (forged.status_code, forged.headers["Content-Type"][:9]) == (404, "text/html")

        home = web.get(f"{api}/", headers={FROM: f"{network}.5"}, follow_redirects=True)
        assert (home.status_code, str(home.url)) == (200, f"{api}/docs")
        reference = web.get(f"{api}/docs", headers={FROM: f"{network}.3"})
        (described,) = findall(r"url: '([^']+)'", reference.text)
        document = web.get(urljoin(str(reference.url), described), headers={FROM: f"{network}.3"}).json()
        (root,) = document["servers"]
        assert urljoin(api, root["url"]) == api
        unknown = web.get(f"{api}/api/v1/people/dana", headers={FROM: f"{network}.4"})
        assert (unknown.status_code, unknown.json()["instance"]) == (401, f"{PREFIX}/api/v1/people/dana")
    with database.begin() as connection:
        assert not preferences.config(connection, username).enabled


@pytest.mark.parametrize("path", ["/notify/preferences/forged", "/preferences/forged"])
@pytest.mark.parametrize("root_path", ["/notify", "/notify/"])
def test_a_page_is_a_page_whether_or_not_the_server_includes_the_prefix_in_its_path(
    context: Context, path: str, root_path: str
) -> None:
    """Source: ASGI includes ``root_path`` in ``path``; not every server does."""
    transport = InProcess(build_app(context), root_path=root_path)
    with httpx.Client(transport=transport, base_url="http://notify.test") as api:
        answer = api.get(path.replace("/notify", root_path))
    assert (answer.status_code, answer.headers["Content-Type"][:9]) == (404, "text/html")
