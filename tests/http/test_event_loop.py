"""No request at any endpoint blocks the event loop for the others."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from json import dumps
from pathlib import Path
from socket import create_connection
from urllib.parse import urlsplit

import httpx

from notify.channels.links import SignedLinks
from notify.domain.events import COMMENT_CREATED
from notify.store.directory.tokens import Scope
from tests.support import event_loop_monitor, fork_server
from tests.support.api_server import TIMEOUT_SECONDS, served
from tests.support.callers import Person, Program

MOST_MILLISECONDS = 50.0
MEBIBYTE = 1024 * 1024
JSON = {"Content-Type": "application/json"}
FORM = {"Content-Type": "application/x-www-form-urlencoded"}
PARTS = {"Content-Type": "multipart/form-data; boundary=b"}
EVENT = {
    "type": COMMENT_CREATED,
    "actor": "dana",
    "cl": {"link": "CL-1", "author": "alice"},
    "comment": {"id": "1", "body": "Why?"},
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One malicious request."""

    name: str
    method: str
    path: str
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    chunked: bool = False

    @property
    def sent(self) -> bytes:
        """Its bytes on the wire."""
        lines = [f"{self.method} {self.path} HTTP/1.1", "Host: notify.test", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        lines += ["Transfer-Encoding: chunked" if self.chunked else f"Content-Length: {len(self.body)}"]
        head = "\r\n".join(lines).encode("latin-1") + b"\r\n\r\n"
        return head + (
            b"".join(b"1\r\n%c\r\n" % byte for byte in self.body) + b"0\r\n\r\n" if self.chunked else self.body
        )


JSON_BODIES = {
    "unknown fields": b"{" + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}",
    "unknown fields below": b'{"cl":{' + b",".join(b'"%d":0' % number for number in range(100_000)) + b"}}",
    "nothing in lists": b"[" + b",".join([b"[]"] * 340_000) + b"]",
    "nothing in objects": b"[" + b",".join([b"{}"] * 340_000) + b"]",
    "many empty names": b'{"reviewers":[' + b",".join([b'""'] * 340_000) + b"]}",
    "many empty names below": dumps([EVENT | {"cl": {"link": "a", "reviewers": [""] * 300}}] * 900).encode(),
    "many wrong events": b"[" + b",".join([b'{"a":1,"cl":{"b":2}}'] * 990) + b"]",
    "many choices": b'{"preferences":[' + b",".join([b'{"a":1}'] * 120_000) + b"]}",
    "deep lists": b"[" * 500_000 + b"]" * 500_000,
    "deep objects": b'{"cl":' * 170_000,
    "a long number": b'{"key":' + b"9" * MEBIBYTE,
    "a long fraction": b"[" + b"0." + b"9" * 1_000_000 + b"]",
    "an exponent": b"[1e" + b"9" * 1_000_000 + b"]",
    "many numbers": b"[" + b",".join([b"1e5"] * 250_000) + b"]",
    "escapes": b'{"actor":"' + rb"\ud83d\ude00" * 80_000 + b'"}',
    "open escapes": b'{"actor":"' + rb"\ud83d" * 160_000 + b'"}',
    "a long word": b'{"comment":{"body":"' + b"a" * 1_000_000 + b'"}}',
    "a long address": b'{"email":"' + b"a@" * 500_000 + b'","url":"http://' + b"<" * 40_000 + b'"}',
    "no text": b"\xff" * MEBIBYTE,
    "spaces": b" " * MEBIBYTE,
    "a full batch": dumps(
        [EVENT | {"key": str(n), "comment": {"id": "1", "body": "a" * 850}} for n in range(1_000)]
    ).encode(),
}
FORM_BODIES = {
    "many fields": (FORM, b"a&" * 500_000),
    "many values": (FORM, b"a=b&" * 250_000),
    "separators": (FORM, b"&" * MEBIBYTE),
    "escapes": (FORM, b"%41" * 340_000),
    "half escapes": (FORM, b"%" * MEBIBYTE),
    "plain text": ({"Content-Type": "text/plain"}, b"a&" * 500_000),
    "a disposition": (PARTS, b'--b\r\nContent-Disposition: form-data; name="' + b"a;" * 40_000 + b"\r\n\r\nx\r\n--b--"),
    "a large disposition": (PARTS, b'--b\r\nContent-Disposition: form-data; name="' + b"a;" * 300_000),
    "a small disposition": (
        PARTS,
        b'--b\r\nContent-Disposition: form-data; name="' + b"a;" * 7_000 + b"\r\n\r\nx\r\n--b--",
    ),
    "quotes": (PARTS, b"--b\r\nContent-Disposition: form-data" + b'; a*0="\\"' * 1_500 + b"\r\n\r\nx\r\n--b--"),
    "nested parts": (
        PARTS,
        b"--b\r\n"
        + b"".join(b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (n, n) for n in range(1_000)),
    ),
    "many parts": (PARTS, b"--b\r\n\r\n\r\n" * 90_000),
    "many small parts": (PARTS, b"--b\r\n\r\n\r\n" * 1_400),
    "half boundaries": (PARTS, b"--b\r\n\r\n" + b"\r\n--" * 4_000),
    "part headers": (PARTS, b"--b\r\n" + b"a:b\r\n" * 200_000),
    "a long boundary": ({"Content-Type": "multipart/form-data; boundary=" + "b" * 10_000}, b"-" * 16_000),
    "odd parameters": ({"Content-Type": 'multipart/form-data; boundary="' + "a;" * 5_000}, b"--a"),
    "twisted parameters": ({"Content-Type": "multipart/form-data" + ';a*0="\\"' * 1_000}, b"--a"),
}
WORST = ("unknown fields", "nothing in lists", "many empty names", "many numbers", "deep objects")
WORST_FORMS = (
    "many fields",
    "a disposition",
    "a large disposition",
    "a small disposition",
    "nested parts",
    "many parts",
)
EVERYTHING = ("/api/v1/events/batch",)


def heads(path: str, key: dict[str, str]) -> Iterator[Call]:
    """Malicious request heads."""
    odd = {
        "many headers": {f"a{number}": "" for number in range(1_500)},
        "far too many headers": {f"a{number}": "" for number in range(8_000)},
        "a long header": {"Cookie": "a" * 60_000},
        "odd languages": {"Accept-Language": "a;q=0.1," * 1_800},
        "odd trace": {"traceparent": "00-" + "a" * 15_000},
        "odd type": {"Content-Type": "application/json" + "; a=b" * 2_500},
        "odd addresses": {"X-Forwarded-For": "1.2.3.4, " * 1_500, "X-Forwarded-Proto": "https"},
        "a long key": {"Authorization": "Bearer ntf_" + "a" * 15_000},
        "a long JWT": {"Authorization": "Bearer " + "a" * 5_000 + "." + "b" * 5_000 + "." + "c" * 4_000},
        "dots": {"Authorization": "Bearer " + "." * 15_000},
        "odd scheme": {"Authorization": " " * 15_000},
    }
    for name, headers in odd.items():
        yield Call(name=name, method="GET", path=path, headers=key | headers)
    for name, query in {
        "many parameters": "&".join(f"a{n}=b" for n in range(2_000)),
        "far too many parameters": "a&" * 30_000,
        "escaped parameters": "username=" + "%41" * 5_000,
        "long numbers": "cursor=" + "9" * 15_000 + "&limit=1e9&created_from=" + "9" * 400,
    }.items():
        yield Call(name=name, method="GET", path=f"{path}?{query}", headers=key)
    for name, suffix in {"a long path": "/a" * 7_000, "an escaped path": "/" + "%C3%A9" * 2_500}.items():
        yield Call(name=name, method="GET", path=path + suffix, headers=key)


def worst_calls(keys: dict[str, dict[str, str]], pages: dict[str, str]) -> Iterator[Call]:
    """The worst known requests for every endpoint."""
    routes = [
        ("POST", "/api/v1/events", "program"),
        ("POST", "/api/v1/events/batch", "program"),
        ("PUT", "/api/v1/people/dana", "program"),
        ("PUT", "/api/v1/cls/CL-1", "program"),
        ("PUT", "/api/v1/user/notification/config", "person"),
        ("PUT", "/api/v1/user/notification/cls/CL-1", "person"),
        ("POST", "/api/v1/jobs/1/retry", "program"),
    ]
    for method, path, key in routes:
        for name in JSON_BODIES if path in EVERYTHING else WORST:
            body = JSON_BODIES[name]
            yield Call(name=name, method=method, path=path, headers=keys[key] | JSON, body=body)
    for path, headers in {
        pages["preferences"]: {},
        "/unsubscribe/anything": {},
        "/preferences/anything": {},
        "/preferences": keys["person"],
    }.items():
        for name in FORM_BODIES if path == pages["preferences"] else WORST_FORMS:
            kind, body = FORM_BODIES[name]
            yield Call(name=name, method="POST", path=path, headers=headers | kind, body=body)
    for path, headers in {
        "/api/v1/jobs": keys["program"],
        "/api/v1/people": {},
        "/unsubscribe/a": {},
        "/docs": {},
    }.items():
        yield from heads(path, headers)
    for path, headers in {"/api/v1/events": keys["program"] | JSON, pages["unsubscribe"]: FORM, "/livez": {}}.items():
        yield Call(name="a byte a chunk", method="POST", path=path, headers=headers, body=b" " * 20_000, chunked=True)


def test_no_request_at_any_endpoint_blocks_the_event_loop(
    environment: dict[str, str], program: Program, person: Person, tmp_path: Path
) -> None:
    links = SignedLinks(secrets=[environment["NOTIFY_SECRET_KEYS"]], public_url="")
    keys = {"program": program(*Scope), "person": person("dana")}
    pages = {"unsubscribe": links.stop_event_type("dana", COMMENT_CREATED), "preferences": links.preferences("dana")}
    environment["NOTIFY_API_CALLS_PER_MINUTE"] = "1000000"
    slow = []
    beating = "tests.support.event_loop_monitor:create_monitored"
    with (
        served(environment, tmp_path / "log", application=beating, start=fork_server.spawn) as url,
        httpx.Client(base_url=url, timeout=TIMEOUT_SECONDS) as api,
    ):
        for _ in range(3):
            warm_up(api, keys, pages)
        api.get(event_loop_monitor.PATH)
        for call in worst_calls(keys, pages):
            status = answer_to(url, call)
            worst = api.get(event_loop_monitor.PATH).json()
            if worst["loop"] > MOST_MILLISECONDS or worst["process"] > 4 * MOST_MILLISECONDS or status in {0, 500}:
                slow.append((call.name, call.method, call.path[:40], status, worst))
        assert api.get("/livez").status_code == 200

    assert slow == []


def warm_up(api: httpx.Client, keys: dict[str, dict[str, str]], pages: dict[str, str]) -> None:
    """Do everything that happens only once."""
    for path in ("/docs", "/openapi.json", "/metrics", "/readyz", "/livez", *pages.values(), "/unsubscribe/forged"):
        api.get(path)
    api.get("/api/v1/jobs", headers=keys["program"])
    api.put("/api/v1/people/dana", headers=keys["program"], json={"timezone": "Europe/Berlin"})
    api.post("/api/v1/events", headers=keys["program"], json=EVENT)
    api.put("/api/v1/user/notification/config", headers=keys["person"], json={"timezone": "Europe/Berlin"})
    api.post(pages["preferences"], files={"save": (None, "yes")})


def answer_to(url: str, call: Call) -> int:
    """The status of the answer; 0 if there was none."""
    address = urlsplit(url)
    with create_connection((address.hostname, address.port), timeout=TIMEOUT_SECONDS) as connection:
        try:
            connection.sendall(call.sent)
        except (BrokenPipeError, ConnectionResetError):
            """It was refused before it was read."""
        try:
            line = connection.makefile("rb").readline()
        except ConnectionResetError:
            return -1
    return int(line.split()[1]) if line else 0
