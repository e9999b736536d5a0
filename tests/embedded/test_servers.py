"""The embedded PostgreSQL and Valkey keep data, and restart after any kill."""

import os
from contextlib import suppress
from pathlib import Path
from signal import SIGKILL
from stat import S_IMODE

import psutil
import psycopg
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from notify.embedded.postgres import PostgresServer
from notify.embedded.processes import ServerDidNotStart
from notify.embedded.valkey import ValkeyServer


def write(server: PostgresServer, word: str) -> None:
    with psycopg.connect(server.url) as connection:
        connection.execute("DROP TABLE IF EXISTS words")
        connection.execute("CREATE TABLE words (word text)")
        connection.execute("INSERT INTO words VALUES (%s)", [word])


def words(server: PostgresServer) -> list[str]:
    with psycopg.connect(server.url) as connection:
        return [word for (word,) in connection.execute("SELECT word FROM words")]


def processes_on(server: PostgresServer) -> list[int]:
    found = []
    for one in psutil.process_iter():
        with suppress(psutil.Error):
            if one.name() == "postgres" and server.name in " ".join(one.cmdline()):
                found.append(one.pid)
    return found


def test_a_server_has_given_options_beside_its_own(tmp_path: Path) -> None:
    with PostgresServer(tmp_path, options=["shared_buffers=32MB"]) as server, psycopg.connect(server.url) as connection:
        assert connection.execute("SHOW shared_buffers").fetchone() == ("32MB",)
        assert connection.execute("SHOW listen_addresses").fetchone() == ("",)


def test_data_survives_a_restart(data_dir: Path) -> None:
    with PostgresServer(data_dir) as server:
        write(server, "restarted")
    with PostgresServer(data_dir) as server:
        assert words(server) == ["restarted"]


def test_a_stopped_server_leaves_no_process(data_dir: Path) -> None:
    with PostgresServer(data_dir) as server, psycopg.connect(server.url):
        assert processes_on(server)
    assert not processes_on(server)


def test_committed_data_survives_the_kill_of_every_server_process(data_dir: Path) -> None:
    killed = PostgresServer(data_dir)
    killed.start()
    write(killed, "killed")
    for pid in processes_on(killed):
        with suppress(ProcessLookupError):  # it ended when the first of them did
            os.kill(pid, SIGKILL)
    with PostgresServer(data_dir) as server:
        assert words(server) == ["killed"]
    killed.stop()


def test_a_server_whose_owner_died_is_replaced(data_dir: Path) -> None:
    orphan = PostgresServer(data_dir)
    orphan.start()
    write(orphan, "orphaned")
    with PostgresServer(data_dir) as server:
        assert words(server) == ["orphaned"]
        assert orphan.process is not None
        assert orphan.process.poll() is not None
    orphan.stop()


def test_a_session_that_outlived_its_server_does_not_prevent_a_restart(data_dir: Path) -> None:
    killed = PostgresServer(data_dir)
    killed.start()
    write(killed, "outlived")
    with psycopg.connect(killed.url, autocommit=True) as connection:
        backend = psutil.Process(connection.info.backend_pid)
        backend.suspend()
        assert killed.process is not None
        os.kill(killed.process.pid, SIGKILL)
        with PostgresServer(data_dir) as server:
            assert words(server) == ["outlived"]
            assert backend.pid not in processes_on(server)
    killed.stop()


def test_an_interrupted_first_start_leaves_no_partial_cluster(tmp_path: Path) -> None:
    half = tmp_path / "postgres.unfinished"
    half.mkdir()
    (half / "PG_VERSION").write_text("18\n")
    with PostgresServer(tmp_path) as server:
        write(server, "kept")
        assert words(server) == ["kept"]
    assert not half.exists()


def test_a_path_too_long_for_a_socket_is_no_obstacle(tmp_path: Path) -> None:
    with PostgresServer(tmp_path / ("long" * 30)) as server:
        write(server, "kept")
        assert words(server) == ["kept"]
        assert S_IMODE(server.sockets.stat().st_mode) == 0o700
    assert not server.sockets.exists()


def test_only_the_owner_may_enter_the_folder_of_the_socket(data_dir: Path) -> None:
    with PostgresServer(data_dir) as server:
        assert S_IMODE(server.sockets.stat().st_mode) == 0o700


def test_variables_for_another_postgresql_do_not_reach_this_one(
    data_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGPORT", "1")
    monkeypatch.setenv("PGDATA", "/nonexistent")
    with PostgresServer(data_dir) as server:
        write(server, "foreign")
        assert words(server) == ["foreign"]


def test_a_broken_cluster_is_reported_with_its_log(own_data_dir: Path) -> None:
    with PostgresServer(own_data_dir) as server:
        pass
    (server.cluster / "PG_VERSION").write_text("9.6\n")
    with pytest.raises(ServerDidNotStart) as refused:
        server.start()
    assert "9.6" in refused.value.last_lines
    assert not processes_on(server)


def test_a_cluster_that_cannot_be_created_is_reported_with_its_log(tmp_path: Path) -> None:
    (tmp_path / "postgres.unfinished").write_text("no folder")
    with pytest.raises(ServerDidNotStart) as refused:
        PostgresServer(tmp_path).start()
    assert "postgres.unfinished" in refused.value.last_lines
    assert refused.value.facts["exit_code"] == 1
    assert not (tmp_path / "postgres").exists()


def test_valkey_answers_and_leaves_no_process(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        assert server.process is not None
        pid = server.process.pid
    assert not psutil.pid_exists(pid)


def test_a_valkey_with_a_password_requires_it_and_shows_it_to_nobody(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path, password="a word of its own") as server:
        assert redis.Redis.from_url(server.url).ping()
        with pytest.raises(redis.AuthenticationError):
            redis.Redis(port=server.port, retry=Retry(NoBackoff(), 0)).ping()
        assert server.process is not None
        assert "a word" not in " ".join(psutil.Process(server.process.pid).cmdline())
        assert S_IMODE((tmp_path / "valkey.conf").stat().st_mode) == 0o600


def test_a_valkey_whose_port_is_taken_is_reported(tmp_path: Path) -> None:
    with ValkeyServer(tmp_path / "first") as first, pytest.raises(ServerDidNotStart):
        ValkeyServer(tmp_path / "second", port=first.port).start()
