"""Django, configured once in this process, on the databases of the test session."""

from collections.abc import Iterator
from typing import Any

import pytest
from django.conf import settings
from django.db import connections
from sqlalchemy import make_url

from notify.store.database import Database
from tests.support import django_project
from tests.support.doorbell import RecordingDoorbell


def parameters(url: str) -> dict[str, Any]:
    """A database of DATABASES."""
    parts = make_url(url)
    host = parts.query.get("host", parts.host)
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": parts.database,
        "USER": parts.username or "",
        "PASSWORD": parts.password or "",
        "HOST": host or "",
        "PORT": parts.port or "",
    }


@pytest.fixture(scope="session")
def configured(database_url: str) -> None:
    """Two aliases of one database, and SQLite."""
    if not settings.configured:
        own = parameters(database_url)
        sqlite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        django_project.configure({"default": own, "other": {**own, "ATOMIC_REQUESTS": True}, "sqlite": sqlite})


@pytest.fixture
def project(configured: None, database: Database) -> Iterator[Database]:  # noqa: ARG001 - Django has to be configured
    """The empty database of the project; Django's connections to it are closed at the end."""
    yield database
    connections.close_all()


@pytest.fixture
def doorbell() -> RecordingDoorbell:
    return RecordingDoorbell()
