"""The API on an empty database, and callers of every kind."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import cache

import httpx
import pytest
from fastapi import FastAPI

from notify import wiring
from notify.api.app import attach, build_app, context_of
from notify.channels.links import SignedLinks
from notify.domain import preferences as domain
from notify.http.context import Context
from notify.http.pages import Pages
from notify.http.person_tokens import issue_user_token, shared_secret
from notify.settings import Settings
from notify.store.database import Database
from notify.store.directory import directory, tokens
from notify.store.directory.tokens import Scope
from notify.work.forges import Forges
from tests.support.doorbell import RecordingDoorbell
from tests.support.emails import composer
from tests.support.in_process import InProcess
from tests.support.openapi import NOWHERE

JWT_SECRET = "j" * 32
Program = Callable[..., dict[str, str]]
Person = Callable[[str], dict[str, str]]


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()


@pytest.fixture
def links() -> SignedLinks:
    return SignedLinks(secrets=["s" * 32], public_url="http://notify.test")


@pytest.fixture
def context(database: Database, doorbell: RecordingDoorbell, links: SignedLinks) -> Context:
    """The API's context, complete but for a relay."""
    return Context(
        database=database,
        doorbell=doorbell,
        pages=Pages(),
        preview_composer=composer(),
        links=links,
        people=shared_secret(JWT_SECRET),
        keys=["k" * 32],
        forges=Forges(database, {}),
        queues=wiring.queues(Settings(database_url=database.url), database, doorbell=doorbell),
        no_mail="NOTIFY_SMTP_URL is not set: nothing is claimed",
    )


@cache
def _application() -> FastAPI:
    settings = Settings(_env_file=None, database_url=NOWHERE)
    return build_app(replace(context_of(settings), calls_per_minute=None))


def shared_app(context: Context) -> FastAPI:
    """The one application of all tests, on this context: making its routes takes longer than most of them."""
    attach(_application(), context)
    return _application()


@pytest.fixture
def app(context: Context) -> FastAPI:
    return shared_app(context)


@pytest.fixture
def api(app: FastAPI) -> Iterator[httpx.Client]:
    """A client without credentials."""
    with httpx.Client(transport=InProcess(app), base_url="http://notify.test") as client:
        yield client


@pytest.fixture
def program(database: Database) -> Program:
    """The headers of a program with these scopes."""

    def headers(*scopes: Scope) -> dict[str, str]:
        with database.begin() as connection:
            token = tokens.create(connection, "test", scopes=scopes)
        return {"Authorization": f"Bearer {token}"}

    return headers


@pytest.fixture
def person(database: Database) -> Person:
    """The headers of a person with this username, who is in the directory."""

    def headers(username: str) -> dict[str, str]:
        with database.begin() as connection:
            if directory.person(connection, username) is None:
                directory.put_person(connection, domain.Person(username=username))
        token = issue_user_token(JWT_SECRET, username, ttl=timedelta(hours=1))
        return {"Authorization": f"Bearer {token}"}

    return headers
