"""Webhook endpoints that do as they are told, and the stage that calls them, to be run step by step."""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from http.server import ThreadingHTTPServer
from threading import Event, Lock
from typing import Any, Self
from uuid import uuid4

from sqlalchemy import text

from notify import wiring
from notify.domain.webhook_signatures import StoredSecret, derive, new_secret, shown
from notify.domain.webhooks import TYPES
from notify.settings import Settings
from notify.store.database import Database
from notify.store.webhooks import endpoints
from notify.webhooks.stage import WebhookStage
from tests.support.doorbell import RecordingDoorbell
from tests.support.http_server import PATIENCE, QuietHandler, serving
from tests.support.smtp import Certificate
from tests.support.wait import until

KEY = "k" * 32
NAME = "build-bot"


@dataclass(frozen=True, slots=True)
class Called:
    """One call, as it arrived."""

    headers: Mapping[str, str]
    body: bytes

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def json(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.body)
        return found

    @property
    def data(self) -> dict[str, Any]:
        found: dict[str, Any] = self.json["data"]
        return found


@dataclass(frozen=True, slots=True)
class Says:
    """
    Args:
        waits: Until the test goes on, before the answer.
        endless: The body goes on until nobody reads it.
    """

    status: int = 204
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""
    waits: bool = False
    endless: bool = False


@dataclass
class ScriptedEndpoint:
    """
    The server and its script, which may change while it runs. A context manager.

    Args:
        answers: Given in turn; after that ``always``.
        certificate: Speaks TLS.
    """

    answers: list[Says] = field(default_factory=list)
    always: Says = field(default_factory=Says)
    calls: list[Called] = field(default_factory=list)
    certificate: Certificate | None = None
    at_once: int = 0
    most_at_once: int = 0

    def __enter__(self) -> Self:
        self.go_on, self.lock = Event(), Lock()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self._stops = ExitStack()
        self._stops.enter_context(serving(self._server, self.certificate))
        return self

    def __exit__(self, *_: object) -> None:
        self.go_on.set()
        self._stops.close()

    @property
    def port(self) -> int:
        port: int = self._server.server_address[1]
        return port

    @property
    def url(self) -> str:
        return f"{'https' if self.certificate else 'http'}://127.0.0.1:{self.port}/hooks"

    def outcomes(self) -> list[tuple[str, str]]:
        """Type and outcome of every call, sorted: their order is not promised."""
        return sorted((one.json["type"], one.data["outcome"]) for one in self.calls)


def _handler(endpoint: ScriptedEndpoint) -> type[QuietHandler]:
    class Handler(QuietHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True

        def do_POST(self) -> None:
            headers = {name.lower(): value for name, value in self.headers.items()}
            body = self.rfile.read(int(headers["content-length"]))
            with endpoint.lock:
                endpoint.calls.append(Called(headers, body))
                says = endpoint.answers.pop(0) if endpoint.answers else endpoint.always
                endpoint.at_once += 1
                endpoint.most_at_once = max(endpoint.most_at_once, endpoint.at_once)
            if says.waits:
                endpoint.go_on.wait(PATIENCE)
            with endpoint.lock:
                endpoint.at_once -= 1
            self.send_response_only(says.status)
            for name, value in says.headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(10**12 if says.endless else len(says.body)))
            self.end_headers()
            self.wfile.write(says.body)
            while says.endless and not endpoint.go_on.is_set():
                self.wfile.write(b"x" * 1024)

    return Handler


@dataclass
class WebhookHarness:
    """Operators who set up endpoints, and a worker's stage."""

    database: Database
    stage: WebhookStage

    def add(self, url: str, *types: str, name: str = NAME, include: Sequence[str] = (), key: str = KEY) -> str:
        """
        Add an endpoint; its secret.

        Args:
            types: None: all.
        """
        secret = new_secret(key, salt=uuid4().hex)
        with self.database.begin() as connection:
            endpoints.add(connection, name=name, url=url, types=types or TYPES, include=include, secret=str(secret))
        return shown(derive(secret, [key]))

    def rotate(self, *, keep: Any, name: str = NAME) -> str:
        """Its new secret."""
        secret = new_secret(KEY, salt=uuid4().hex)
        with self.database.begin() as connection:
            endpoints.rotate(connection, name, secret=str(secret), keep=keep)
        return shown(derive(StoredSecret.parse(str(secret)), [KEY]))

    def tell(self, *outcomes: str, types: str = "email.dead") -> None:
        """A call for each of these outcomes to every endpoint, as if it had just been recorded."""
        for outcome in outcomes:
            self.execute(_TELL, outcome=outcome, type=types)

    def drain(self) -> Mapping[str, float]:
        """Make what is due, to its end."""
        done = self.stage.drain()
        self.until_settled()
        return done

    def until_settled(self) -> None:
        until(lambda: not self.execute("SELECT FROM notify.work_items WHERE stage = 'webhooks' AND lane = 8"))

    def make_due(self) -> None:
        """As if every delay had passed."""
        self.execute("UPDATE notify.work_items SET due_at = now() WHERE stage = 'webhooks' AND lane < 8")
        self.execute("UPDATE notify.endpoints SET probe_at = now() WHERE state = 'open'")
        self.execute("UPDATE notify.webhook_endpoints SET paused_until = NULL")

    def execute(self, statement: str, **parameters: object) -> Sequence[Any]:
        with self.database.begin() as connection:
            found = connection.execute(text(statement), parameters)
            return [tuple(row) for row in found] if found.returns_rows else []

    def calls(self, *columns: str) -> Sequence[Any]:
        return self.execute(f"SELECT {', '.join(columns)} FROM notify.webhook_calls ORDER BY id")  # noqa: S608

    def items(self) -> Sequence[Any]:
        return self.execute(
            "SELECT lane, attempt, failures, reason FROM notify.work_items WHERE stage = 'webhooks' ORDER BY id"
        )


# About the newest email.
_TELL = """
    WITH made AS (
        INSERT INTO notify.webhook_calls (endpoint_id, type, subject_id, outcome)
        SELECT id, :type, (SELECT coalesce(max(id), 0) FROM notify.email_jobs), :outcome
        FROM notify.webhook_endpoints ORDER BY id RETURNING id
    )
    INSERT INTO notify.work_items (stage, id, lane, max_failures) SELECT 'webhooks', id, 1, 10 FROM made"""


@contextmanager
def webhook_stage(database: Database, **changes: Any) -> Iterator[WebhookHarness]:
    """
    Args:
        changes: Settings that differ from the usual ones; endpoints on loopback may be called.
    """
    usual = {"database_url": database.url, "secret_keys": KEY, "webhook_networks": "127.0.0.0/8"}
    settings = Settings(**{**usual, **changes})
    stage = wiring.webhooks(settings, database, doorbell=RecordingDoorbell(), worker=uuid4())
    try:
        yield WebhookHarness(database, stage)
    finally:
        stage.stop(at_most_seconds=5)
