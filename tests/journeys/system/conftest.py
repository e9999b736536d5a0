"""The whole system, up for all tests of this folder: real servers, worker, API, Flower and catcher."""

import io
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest
from rich.console import Console

from notify.embedded.commands import COMMANDS
from notify.embedded.completion import as_string
from notify.embedded.mailbox import Email, read
from notify.embedded.ports import free_port
from notify.embedded.stack import EMAILS, Stack
from notify.http.person_tokens import issue_user_token
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import tokens
from notify.store.directory.tokens import Scope
from tests.support import servers
from tests.support.wait import until

EMAIL_SECONDS = 20
BODY = "The jitter comes *after* the cap."


@dataclass(frozen=True, slots=True)
class System:
    """A running system as its users see it: a program with a token, people with theirs, emails in inboxes."""

    stack: Stack
    program: httpx.Client
    database: Database

    @property
    def settings(self) -> Settings:
        return self.stack.settings

    def person(self, username: str) -> httpx.Client:
        """A client of the API with this person's token; the caller closes it."""
        token = issue_user_token(as_string(self.settings.jwt_secret), username, ttl=timedelta(minutes=5))
        return httpx.Client(base_url=self.stack.state.urls["api"], headers={"Authorization": f"Bearer {token}"})

    def emails(self, *, about: str) -> list[Email]:
        """The emails in the catcher about the event with this key, oldest first."""
        found = [read(path.read_bytes()) for path in sorted((self.settings.data_dir / EMAILS).glob("*.eml"))]
        return [email for email in found if f".{about}." in email.header("Message-ID")]

    def outcome(self, key: str) -> dict[str, tuple[str, str | None]]:
        """Each person's status and reason, once the event and all its jobs have ended."""

        def ended() -> dict[str, Any] | None:
            event: dict[str, Any] = self.program.get(f"/api/v1/events/{key}").raise_for_status().json()
            over = event["status"] in {"done", "dead"}
            return event if over and all(_over(one["status"]) for one in event["people"]) else None

        event = until(ended, seconds=EMAIL_SECONDS)
        assert event is not None
        return {one["username"]: (one["status"], one["why"]) for one in event["people"]}

    def town(self, *usernames: str) -> list[str]:
        """Put people with these names, made unique, into the directory."""
        unique = [f"{name}-{uuid4().hex[:6]}" for name in usernames]
        for name in unique:
            self.program.put(f"/api/v1/people/{name}", json={"email": f"{name}@example.com"}).raise_for_status()
        return unique

    def say(self, actor: str, *, body: str = BODY, **cl: Any) -> str:
        """Emit a comment over REST; the event's key."""
        key = uuid4().hex
        event = comment(actor, key=key, **cl) | {"comment": {"id": "1", "body": body}}
        self.program.post("/api/v1/events", json=event).raise_for_status()
        return key


def comment(actor: str, *, key: str, **cl: Any) -> dict[str, Any]:
    """An event as a program sends it."""
    return {
        "key": key,
        "type": "cl.comment.created",
        "actor": actor,
        "cl": {"link": f"CL-{key[:8]}", "title": "Cap the retry", **cl},
        "comment": {"id": "1", "body": BODY},
    }


@pytest.fixture(scope="package")
def system(database_server: str, broker_server: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[System]:
    """
    The system on the servers of this test session, in a database of its own.

    It ends with this folder: the worker would take other tests' doorbells out of the shared broker.
    """
    with servers.new_database(database_server) as url:
        settings = Settings(
            database_url=url,
            broker_url=broker_server,
            data_dir=tmp_path_factory.mktemp("system"),
            api_port=free_port(),
            flower_port=free_port(),
            catcher_port=free_port(),
            inbox_port=free_port(),
            forge_port=free_port(),
            webhook_networks="127.0.0.0/8",
        )
        output = io.StringIO()
        processes = [one for one in COMMANDS if one.name != "beat"]
        with Stack(settings, commands=processes, console=Console(file=output, width=200)) as stack:
            stack.wait_until_ready()
            yield from _used(stack)


def _used(stack: Stack) -> Iterator[System]:
    database = Database(as_string(stack.settings.database_url), pool_size=1)
    with database.begin() as connection:
        token = tokens.create(connection, "journeys", scopes=list(Scope))
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=stack.state.urls["api"], headers=headers) as program:
        yield System(stack, program, database)
    database.close()


def _over(status: str) -> bool:
    return status not in {"pending", "sending"}
