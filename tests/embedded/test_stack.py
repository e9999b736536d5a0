"""The supervisor: everything starts in order, stops in order, and the next start cleans up after a kill."""

import os
import re
import smtplib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from signal import SIGKILL, SIGTERM
from socket import socket
from stat import S_IMODE

import httpx
import psutil
import psycopg
import pytest
import redis
from rich.console import Console
from sqlalchemy import make_url

from notify import forges_file
from notify.embedded.commands import Command
from notify.embedded.completion import as_string
from notify.embedded.data_folder import AlreadyRunning, DataFolderBusy, RunningStack, locked, running
from notify.embedded.forge.server import FORGE
from notify.embedded.ports import LOOPBACK, listen
from notify.embedded.stack import OldDataFolder, Stack, stack_settings
from notify.settings import Settings
from tests.support.supervisor import REAL, WATCHED, WEB, WITHOUT_WEB, Supervisor, supervised
from tests.support.wait import until

MADE_UP = {"mail_from": "notify@example.com", "public_url": "https://notify.example.com", "secret_keys": "k" * 32}


@pytest.fixture
def new_data_dir(tmp_path: Path) -> Path:
    """A data folder that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def outside(database_url: str, broker_url: str) -> dict[str, str]:
    """The settings of a stack that needs no server of its own."""
    return {"database_url": database_url, "broker_url": broker_url, "smtp_url": "smtp://127.0.0.1:9"}


@pytest.fixture(scope="module")
def supervisor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Supervisor]:
    """A supervisor that every test of this module finds running and leaves running."""
    with supervised(tmp_path_factory.mktemp("stack") / "data", "obeys") as up:
        yield up


def settings(data_dir: Path, **values: object) -> Settings:
    return Settings(data_dir=data_dir, **values)


@dataclass(frozen=True, slots=True)
class StartedStack:
    """A stack in this process, and what it wrote."""

    state: RunningStack
    output: str


@contextmanager
def started(given: Settings, *commands: Command) -> Iterator[StartedStack]:
    output = StringIO()
    with Stack(given, commands=commands, console=Console(file=output, width=200)) as stack:
        stack.wait_until_ready()
        yield StartedStack(stack.state, output.getvalue())


def add_person(url: str, username: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute("INSERT INTO notify.people (username) VALUES (%s)", [username])


def people(url: str) -> list[str]:
    with psycopg.connect(url) as connection:
        return [username for (username,) in connection.execute("SELECT username FROM notify.people")]


def answers(url: str) -> bool:
    try:
        return httpx.get(url).is_success
    except httpx.TransportError:
        return False


@contextmanager
def replaced_by_a_listener(process: psutil.Process, port: int) -> Iterator[None]:
    """Replace the process by a listener on its port. The supervisor is stopped until the port is taken."""
    supervisor = process.parent()
    assert supervisor is not None
    supervisor.suspend()
    process.kill()
    with taken_as_soon_as_free(port):
        supervisor.resume()
        yield


def taken_as_soon_as_free(port: int) -> socket:
    """A listener on the port. A killed process may be a zombie while another of its threads still has the socket."""
    found: list[socket] = []

    def take() -> bool:
        with suppress(OSError):
            found.append(listen(LOOPBACK, port))
        return bool(found)

    until(take)
    return found[0]


def test_every_part_answers_once_the_stack_is_up(supervisor: Supervisor) -> None:
    stack = supervisor.stack
    add_person(stack.settings["database_url"], "erin")
    assert "erin" in people(stack.settings["database_url"])
    assert redis.Redis.from_url(stack.settings["broker_url"]).ping()
    assert httpx.get(stack.urls["api"]).is_success
    with smtplib.SMTP(LOOPBACK, int(stack.settings["catcher_port"])) as session:
        session.sendmail("a@example.com", "b@example.com", b"Subject: Hello\r\n\r\n")
    assert "Hello" in httpx.get(stack.urls["inbox"]).text


def test_notify_itself_starts_and_stops_without_leaving_anything(data_dir: Path) -> None:
    with supervised(data_dir, REAL) as up:
        stack = up.stack
        assert httpx.get(f"{stack.urls['api']}/livez").is_success
        assert httpx.get(f"{stack.urls['api']}/livez", headers={"Host": "site.example"}).status_code == 421
        assert httpx.get(f"{stack.urls['flower']}/api/workers").is_success
        until(lambda: "worker@notify ready" in up.output, seconds=30)
        worker = psutil.Process(up.pid("worker")).environ()
        assert worker["NOTIFY_WORKER_HEALTH_HOST"] == LOOPBACK
        assert httpx.get(f"http://{LOOPBACK}:{worker['NOTIFY_WORKER_HEALTH_PORT']}/livez").is_success
        flower = stack.urls["flower"]
        assert httpx.post(f"{flower}/api/worker/shutdown/worker@notify").status_code == 403
        assert up.end() == 0
        assert up.helpers() == []


def test_sigterm_ends_everything_and_leaves_no_process(data_dir: Path) -> None:
    with supervised(data_dir, "obeys") as up:
        assert len(up.helpers()) > len(up.stack.children)
        assert up.end(SIGTERM) == 0
        assert up.helpers() == []
        assert running(data_dir) is None


def test_data_and_secrets_survive_a_restart(data_dir: Path) -> None:
    with supervised(data_dir) as first:
        before = first.stack.settings
        add_person(before["database_url"], "restarted")
        first.end()
    with supervised(data_dir) as second:
        after = second.stack.settings
        assert "restarted" in people(after["database_url"])
        assert (after["secret_keys"], after["jwt_secret"]) == (before["secret_keys"], before["jwt_secret"])


@pytest.mark.parametrize(
    "statement",
    ["UPDATE notify.alembic_version SET version_num = 'old'", "ALTER TABLE notify.people DROP COLUMN locale"],
    ids=["unknown migration", "other migrations of the same names"],
)
def test_a_data_folder_of_an_earlier_version_is_named(own_data_dir: Path, statement: str) -> None:
    with (
        stack_settings(settings(own_data_dir)) as completed,
        psycopg.connect(as_string(completed.database_url)) as connection,
    ):
        connection.execute(statement)
    with pytest.raises(OldDataFolder) as refused, stack_settings(settings(own_data_dir)):
        pass
    assert refused.value.facts == {"folder": str(own_data_dir)}


def test_files_with_secrets_are_readable_by_their_owner_only(supervisor: Supervisor) -> None:
    for name in ("secrets.json", "stack.json", "valkey.conf"):
        assert S_IMODE((supervisor.data_dir / name).stat().st_mode) == 0o600
    assert S_IMODE(supervisor.data_dir.stat().st_mode) == 0o700


def test_a_second_start_is_refused_and_names_the_first(supervisor: Supervisor) -> None:
    with pytest.raises(AlreadyRunning) as refused:
        Stack(settings(supervisor.data_dir)).start()
    assert refused.value.facts == {"pid": supervisor.process.pid, **supervisor.stack.urls}
    assert httpx.get(supervisor.stack.urls["api"]).is_success


def test_a_start_after_a_kill_ends_leftover_processes_and_keeps_the_data(data_dir: Path) -> None:
    with supervised(data_dir, "obeys", "ignores", "leaves-a-child") as killed:
        add_person(killed.stack.settings["database_url"], "killed")
        killed.end(SIGKILL)
        left = killed.helpers()
        assert len(left) > len(killed.stack.children) >= 5
        assert running(data_dir) is None
        with supervised(data_dir) as next_one:
            assert "killed" in people(next_one.stack.settings["database_url"])
            until(lambda: not {one.pid for one in next_one.helpers()} & {one.pid for one in left})


@pytest.mark.parametrize("name", ["api", "forge"])
def test_a_busy_port_is_named_and_the_next_free_one_taken(
    new_data_dir: Path, outside: Mapping[str, str], name: str
) -> None:
    with listen(LOOPBACK, 0) as busy:
        port = busy.getsockname()[1]
        with started(settings(new_data_dir, **outside, **{f"{name}_port": port}), WEB) as up:
            assert f"port {port} is busy" in up.output
            assert int(up.state.settings[f"{name}_port"]) > port
            assert httpx.get(up.state.urls[name]).is_success


def test_notify_is_told_of_the_embedded_forge_by_its_file(supervisor: Supervisor) -> None:
    stack = supervisor.stack
    told = forges_file.load(Path(stack.settings["forges_file"])).forges[FORGE]
    assert told.web_url == stack.urls["forge"]
    assert httpx.get(f"{stack.urls['forge']}/livez").is_success


def test_a_forge_that_a_file_names_is_used_instead_of_an_embedded_one(
    new_data_dir: Path, outside: Mapping[str, str], tmp_path: Path
) -> None:
    ours = tmp_path / "forges.toml"
    ours.touch()
    with started(settings(new_data_dir, **outside, forges_file=ours)) as up:
        assert "forge" not in up.state.urls
        assert up.state.settings["forges_file"] == str(ours)


@pytest.mark.parametrize("part", ["worker", "valkey", "postgres"])
def test_a_killed_process_is_named_and_restarted(supervisor: Supervisor, part: str) -> None:
    add_person(supervisor.stack.settings["database_url"], f"before-{part}")
    killed = supervisor.pid(part)
    os.kill(killed, SIGKILL)
    until(lambda: supervisor.pid(part) not in {0, killed})
    assert re.search(rf"{part} +ended with SIGKILL", supervisor.output)
    assert redis.Redis.from_url(supervisor.stack.settings["broker_url"]).ping()
    assert f"before-{part}" in people(supervisor.stack.settings["database_url"])


def test_a_process_that_keeps_exiting_is_named_and_retried_and_the_rest_stays(data_dir: Path) -> None:
    with supervised(data_dir, "fails") as up:
        until(lambda: "exit code 7, 4 times in a row" in up.output)
        pauses = re.findall(r"worker .* starting it again in ([\d.]+) s", up.output)
        assert pauses[:4] == ["0.25", "0.5", "1", "2"]
        assert httpx.get(up.stack.urls["api"]).is_success
        add_person(up.stack.settings["database_url"], "undisturbed")
        assert up.end() == 0
        assert up.helpers() == []


def test_a_stack_that_cannot_start_names_the_process_that_kept_exiting_and_stops(data_dir: Path) -> None:
    failing = Supervisor(data_dir, WITHOUT_WEB)
    assert failing.process.wait(60) != 0
    assert "NotReady" in failing.output
    assert "keeps_ending: api" in failing.output.splitlines()[-1]
    assert failing.helpers() == []


def test_a_process_that_hangs_is_named_and_restarted(data_dir: Path) -> None:
    with supervised(data_dir, WATCHED) as up:
        until(lambda: '"GET / ' in up.output)
        hanging = up.pid("api")
        psutil.Process(hanging).suspend()
        until(lambda: up.pid("api") not in {0, hanging})
        assert "no longer answers" in up.output
        assert not psutil.pid_exists(hanging)
        until(lambda: answers(up.stack.urls["api"]))
        assert up.end() == 0


def test_a_server_that_does_not_restart_is_retried_until_it_does_and_the_rest_stays(data_dir: Path) -> None:
    with supervised(data_dir) as up:
        broker = up.stack.settings["broker_url"]
        killed = psutil.Process(up.pid("valkey"))
        with replaced_by_a_listener(killed, make_url(broker).port or 0):
            until(lambda: re.search(r"valkey +does not start", up.output), seconds=60)
            assert httpx.get(up.stack.urls["api"]).is_success
        until(lambda: up.pid("valkey") not in {0, killed.pid}, seconds=60)
        assert redis.Redis.from_url(broker).ping()


def test_a_process_that_does_not_stop_is_killed_with_its_children(data_dir: Path) -> None:
    with supervised(data_dir, "ignores", "leaves-a-child") as up:
        until(lambda: up.output.count("ignores") > 1)
        assert up.end() == 0
        assert up.helpers() == []


def test_an_external_server_named_by_a_setting_is_used_and_not_started(
    new_data_dir: Path, outside: Mapping[str, str]
) -> None:
    with started(settings(new_data_dir, **outside, **MADE_UP), WEB) as up:
        assert [child.name for child in up.state.children] == ["api"]
        assert outside.items() <= up.state.settings.items()
        assert "inbox" not in up.state.urls


@pytest.mark.parametrize("given", [{}, {"mail_from": "review@example.com"}], ids=["relay alone", "and sender"])
def test_settings_missing_beside_a_relay_are_filled_in(
    new_data_dir: Path, outside: Mapping[str, str], given: Mapping[str, str]
) -> None:
    with started(settings(new_data_dir, **outside, **given)) as up:
        filled_in = up.state.settings
        assert filled_in["smtp_url"] == "smtp://127.0.0.1:9"
        assert filled_in["public_url"] == up.state.urls["api"]
        assert filled_in["mail_from"] == given.get("mail_from", "notify@localhost")
        assert ("notify@localhost" in up.output) == (not given)
        assert len(filled_in["secret_keys"]) >= 32


def test_commands_use_the_running_stack(supervisor: Supervisor) -> None:
    with stack_settings(settings(supervisor.data_dir)) as complete:
        assert complete.database_url is not None
        add_person(complete.database_url.get_secret_value(), "dana")
        assert complete.api_port == int(supervisor.stack.settings["api_port"])
        assert complete.smtp_url is not None
    assert "dana" in people(supervisor.stack.settings["database_url"])


def test_commands_start_the_database_when_nothing_is_running(data_dir: Path) -> None:
    with stack_settings(settings(data_dir)) as complete:
        assert complete.database_url is not None
        add_person(complete.database_url.get_secret_value(), "commanded")
        assert complete.broker_url is complete.smtp_url is None
        assert complete.secret_keys is not None
    with supervised(data_dir) as up:
        assert "commanded" in people(up.stack.settings["database_url"])
        assert up.stack.settings["secret_keys"] == complete.secret_keys.get_secret_value()


def test_a_command_waits_for_a_stack_that_is_starting(new_data_dir: Path) -> None:
    starting = Supervisor(new_data_dir)
    until(lambda: running(new_data_dir))
    with stack_settings(settings(new_data_dir)) as complete:
        assert complete.database_url is not None
        assert people(complete.database_url.get_secret_value()) == []
        assert starting.stack.settings["database_url"] == complete.database_url.get_secret_value()
    starting.until_up()
    starting.end()


def test_waiting_for_a_locked_data_folder_ends_at_the_limit(new_data_dir: Path) -> None:
    with locked(new_data_dir, seconds=0):
        with pytest.raises(DataFolderBusy) as busy, locked(new_data_dir, seconds=0.1):
            pass
        assert busy.value.facts["pid"] == str(os.getpid())
    with locked(new_data_dir, seconds=0):
        pass


def test_an_invalid_state_file_is_no_stack(new_data_dir: Path) -> None:
    new_data_dir.mkdir()
    for nonsense in ("", "[]", "{}", '{"supervisor": {"pid": 1}, "children": []}'):
        (new_data_dir / "stack.json").write_text(nonsense)
        assert running(new_data_dir) is None
