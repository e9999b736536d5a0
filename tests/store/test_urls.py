"""Every spelling of a database URL that people use."""

from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from sqlalchemy import make_url, text
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg

from notify.store.database import Database
from notify.store.urls import with_our_driver

TWO = {"host": "pg1,pg2", "port": "5432,5433", "user": "u", "password": "x", "dbname": "db"}
SOCKET = {"host": "/var/run/postgresql", "user": "u", "dbname": "db"}
READ_WRITE = {"target_session_attrs": "read-write"}


@pytest.mark.parametrize(
    ("url", "meant"),
    [
        ("postgresql://u:p%40ss@pg1:5433/db", {**TWO, "host": "pg1", "port": "5433", "password": "p@ss"}),
        ("postgres://u:50%off@pg1/db", {"host": "pg1", "user": "u", "password": "50%off", "dbname": "db"}),
        ("postgresql+psycopg2://u:x@pg1:5432,pg2:5433/db?target_session_attrs=read-write", {**TWO, **READ_WRITE}),
        ("postgresql://u:x@/db?host=pg1:5432&host=pg2:5433", TWO),
        ("postgresql://u:x@/db?host=pg1&host=pg2&port=5432&port=5433", TWO),
        ("postgresql://u:x@/db?host=pg1,pg2&port=5432,5433", TWO),
        ("postgresql://u@pg1,pg2/db", {"host": "pg1,pg2", "port": ",", "user": "u", "dbname": "db"}),
        ("postgresql://u@pg1,pg2:5433/db", {"host": "pg1,pg2", "port": ",5433", "user": "u", "dbname": "db"}),
        ("postgresql://[::1]:5432,[fe80::2]:5433/db", {"host": "::1,fe80::2", "port": "5432,5433", "dbname": "db"}),
        ("postgresql://[::1]:5432/db", {"host": "::1", "port": "5432", "dbname": "db"}),
        ("postgresql://u@/db?host=/var/run/postgresql", SOCKET),
        ("postgresql://u@/db?host=%2Fvar%2Frun%2Fpostgresql", SOCKET),
        ("postgresql://u@%2Fvar%2Frun%2Fpostgresql/db", SOCKET),
        ("postgresql://u@%2Fa:5433,%2Fb:5434/db", {"host": "/a,/b", "port": "5433,5434", "user": "u", "dbname": "db"}),
        ("postgresql:///db", {"dbname": "db"}),
        ("postgresql:///?service=notify", {"service": "notify"}),
        ("postgresql://pg1/db?sslmode=verify-full&sslrootcert=/ca.pem&passfile=/pass&options=-c%20a.b%3D1",
         {"host": "pg1", "dbname": "db", "sslmode": "verify-full", "sslrootcert": "/ca.pem", "passfile": "/pass",
          "options": "-c a.b=1"}),
    ],
)  # fmt: skip
def test_libpq_gets_what_the_url_says(url: str, meant: dict[str, str]) -> None:
    _, told = PGDialect_psycopg().create_connect_args(with_our_driver(url))  # type: ignore[no-untyped-call]
    assert conninfo_to_dict(make_conninfo("", **told)) == meant


@pytest.mark.parametrize(
    "url",
    [
        "host=db dbname=notify password=hunter2",
        "mysql://me:hunter2@db/notify",
        "postgresql://",
        "postgresql:/me:hunter2@db/notify",
        "postgresql://me:hunter2@db:five/notify",
        "postgresql://me:hunter2@db:99999/notify",
        "postgresql://me:hunter2@pg1:5432,pg2:five/notify",
        "postgresql://me:hunter2@pg1:5432,pg2:5432:1/notify",
        "postgresql://me:hunter2@/notify?host=a,b,c&port=1,2",
        "postgresql://me:hunter2@db/notify?ssl_mode=require",
        "postgresql://me:hunter2@db/notify?sslmode=yes",
        "postgresql://me:hunter2@pg1,pg2/notify?target_session_attrs=read_write",
        "postgresql://me:hunter2@db/notify?prepare_threshold=0",
    ],
)
def test_an_unusable_url_is_refused_in_a_sentence_without_its_password(url: str) -> None:
    with pytest.raises(ValueError, match=r"^expected ") as refused:
        with_our_driver(url)
    assert "hunter2" not in str(refused.value)
    assert "\n" not in str(refused.value)


Spell = Callable[[dict[str, str], Path], str]


def by_service(server: dict[str, str], folder: Path) -> str:
    (folder / "services").write_text("[ours]\n" + "".join(f"{name}={value}\n" for name, value in server.items()))
    return "postgresql:///?service=ours"


def behind_a_dead_one(server: dict[str, str], _: Path) -> str:
    hosts = f"127.0.0.1:1,{quote(server['host'], safe='')}:{server['port']}"
    return f"postgresql://{server['user']}@{hosts}/{server['dbname']}?target_session_attrs=read-write"


def in_the_query(server: dict[str, str], _: Path) -> str:
    return f"postgresql+psycopg://{server['user']}@/{server['dbname']}?host={server['host']}&port={server['port']}"


@pytest.mark.parametrize("spell", [by_service, behind_a_dead_one, in_the_query])
def test_a_database_is_reached_by_every_kind_of_url(
    database_url: str, tmp_path: Path, spell: Spell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGSERVICEFILE", str(tmp_path / "services"))
    _, known = PGDialect_psycopg().create_connect_args(make_url(database_url))  # type: ignore[no-untyped-call]
    if known.get("password"):
        pytest.skip("the server named by NOTIFY_TEST_DATABASE_URL asks for a password")
    server = {"port": "5432", **{name: str(value) for name, value in known.items()}}
    with closing(Database(spell(server, tmp_path))) as opened, opened.begin() as connection:
        assert connection.scalar(text("SELECT current_database()")) == server["dbname"]
