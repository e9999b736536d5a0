"""Statements of ours on an application's connection."""

from typing import Any

import psycopg
import pytest

from notify.domain.errors import UnsupportedConnection
from notify.store.callers import run
from notify.store.database import Database
from tests.support.applications import execute, one
from tests.support.servers import in_words


@pytest.mark.parametrize("caller", [None, "postgresql://db", object()])
def test_something_that_is_no_connection_is_refused_with_its_type(caller: Any) -> None:
    with pytest.raises(UnsupportedConnection) as refused:
        run(caller, one("SELECT 1"))
    assert refused.value.facts == {"given": type(caller).__name__}


def test_a_statement_without_a_result_returns_no_rows_on_psycopg(database: Database) -> None:
    with psycopg.connect(in_words(database.engine.url)) as connection:
        assert execute(connection, "SET LOCAL lock_timeout = '1s'") == []
