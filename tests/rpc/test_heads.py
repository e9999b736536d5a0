"""The gRPC server as a process, called by a client in another that has only its reflection to go by."""

import json
import os
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from signal import SIGTERM
from subprocess import PIPE, STDOUT, Popen, run
from typing import Any

import pytest
import yaml

from notify.embedded.ports import free_port, listen
from notify.store.database import Database
from notify.store.directory.tokens import Scope
from tests.cli.conftest import Notify, notify  # noqa: F401 - a fixture
from tests.support.callers import Program, program  # noqa: F401 - a fixture
from tests.support.documentation import examples
from tests.support.remotes import GitRemote, needs_git
from tests.support.wait import until

pytestmark = needs_git

ROOT = Path(__file__).parents[2]
CLIENT = ROOT / "tests" / "support" / "grpc_client.py"
USUAL_ADDRESS = "127.0.0.1:50051"
SERVER = (str(Path(sys.executable).with_name("notify")), "grpc")
INGEST, HEALTH = "notify.heads.v1.Heads/Ingest", "grpc.health.v1.Health/Check"
GIT = which("git")
MAIN = "refs/heads/main"
QUEUE = """
[queues."app/{name}"]
forge = "github"
repository = "acme/app"
ref = "refs/heads/{name}"
remote = "{remote}"
runner = {{ kind = "http", url = "https://ci.example/builds" }}
"""
FORGE = """
[forges.github]
kind = "github"
token = "env:PATH"
webhook_secrets = ["env:PATH"]
"""


@dataclass
class Server:
    """A running server, and what it wrote."""

    process: "Popen[bytes]"
    port: int
    log: Path

    def call(self, *calls: Mapping[str, Any]) -> dict[str, Any]:
        """The answers to these calls, made at once from another process."""
        client = [sys.executable, "-I", str(CLIENT), f"127.0.0.1:{self.port}"]
        done = run(client, input=json.dumps(calls), stdout=PIPE, text=True, check=True, timeout=120)
        said: dict[str, Any] = json.loads(done.stdout)
        return said


def ingest(queue: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
    metadata = [[key.lower(), value] for key, value in (headers or {}).items()]
    return {"method": INGEST, "body": {"queue": queue}, "metadata": metadata}


@dataclass(frozen=True)
class SlowGit:
    """A git that waits while *held* exists, and makes *asked* when it begins to wait."""

    folder: Path

    @property
    def held(self) -> Path:
        return self.folder / "held"

    @property
    def asked(self) -> Path:
        return self.folder / "asked"

    def write(self) -> None:
        script = self.folder / "git"
        waiting = f"while test -e {self.held}; do touch {self.asked}; sleep 0.05; done"
        script.write_text(f'#!/bin/sh\n{waiting}\nexec {GIT} "$@"\n')
        script.chmod(0o755)


@contextmanager
def serving(environment: Mapping[str, str], log: Path) -> Iterator[Server]:
    port = free_port()
    with log.open("wb") as output:
        process = Popen(SERVER, env={**environment, "NOTIFY_GRPC_PORT": str(port)}, stdout=output, stderr=STDOUT)
    try:
        until(lambda: process.poll() is not None or "grpc.serving" in log.read_text(encoding="utf-8"))
        assert process.poll() is None, log.read_text(encoding="utf-8")
        yield Server(process, port, log)
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(scope="module")
def settings(database_url: str, broker_server: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """The environment of a server with a queue, a queue whose ref does not exist, and one whose remote does not."""
    folder = tmp_path_factory.mktemp("queues")
    remote = GitRemote(folder / "remote.git")
    remote.point(MAIN, remote.commit("one"))
    queues = {"main": remote.folder, "next": remote.folder, "away": folder / "nowhere.git"}
    file = folder / "forges.toml"
    text = FORGE + "".join(QUEUE.format(name=name, remote=at) for name, at in queues.items())
    file.write_text(text, encoding="utf-8")
    return {
        **os.environ,
        "NOTIFY_DATABASE_URL": database_url,
        "NOTIFY_BROKER_URL": broker_server,
        "NOTIFY_DATA_DIR": str(folder / "data"),
        "NOTIFY_FORGES_FILE": str(file),
    }


@pytest.fixture(scope="module")
def slow_git(tmp_path_factory: pytest.TempPathFactory) -> SlowGit:
    made = SlowGit(tmp_path_factory.mktemp("bin"))
    made.write()
    return made


@pytest.fixture(scope="module")
def server(settings: dict[str, str], slow_git: SlowGit, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server whose git can be made slow; the last test stops it."""
    environment = {**settings, "PATH": f"{slow_git.folder}:{settings['PATH']}"}
    with serving(environment, tmp_path_factory.mktemp("server") / "server.log") as started:
        yield started


def requests(database: Database) -> list[Any]:
    with database.begin() as connection:
        return list(connection.exec_driver_sql("SELECT queue, id, state FROM notify.requests"))


def kubernetes_probes() -> list[Mapping[str, Any]]:
    """The calls that Kubernetes makes."""
    deployment, _ = yaml.safe_load_all((ROOT / "deploy" / "kubernetes" / "grpc.yaml").read_text(encoding="utf-8"))
    (container,) = deployment["spec"]["template"]["spec"]["containers"]
    probes = [container[f"{kind}Probe"]["grpc"] for kind in ("startup", "liveness", "readiness")]
    return [{"method": HEALTH, "body": {"service": probe.get("service", "")}, "metadata": []} for probe in probes]


def codes(server: Server, *calls: Mapping[str, Any]) -> list[str]:
    return [answer["code"] for answer in server.call(*calls)["answers"]]


def test_a_hundred_ingests_of_one_head_at_once_from_a_client_that_knows_only_reflection_give_one_request(
    server: Server,
    database: Database,
    program: Program,  # noqa: F811
) -> None:
    headers = program(Scope.EVENTS_WRITE)
    said = server.call(*[ingest("app/main", headers)] * 100)

    (id_,) = {answer["body"]["id"] for answer in said["answers"]}
    ((queue, number, state),) = requests(database)
    assert (id_, state) == (f"request/{queue}/{number}", "accepted")
    assert said["has_our_code"] is False
    assert {"notify.heads.v1.Heads", "grpc.health.v1.Health"} <= set(said["services"])


def test_each_refusal_has_a_status_of_its_own_stores_nothing_and_leaves_no_token_in_the_log(
    server: Server,
    database: Database,
    program: Program,  # noqa: F811
) -> None:
    headers, others = program(Scope.EVENTS_WRITE), program(Scope.OPS, Scope.DIRECTORY_WRITE)
    refusals = {
        "app/other": "NOT_FOUND",
        "app/next": "FAILED_PRECONDITION",
        "app/away": "UNAVAILABLE",
        "": "INVALID_ARGUMENT",
        "-x": "INVALID_ARGUMENT",
    }
    callers = {
        "UNAUTHENTICATED": ({}, {"Authorization": "Basic YTpi"}, {"Authorization": "Bearer ntf_made_up"}),
        "PERMISSION_DENIED": (others,),
    }
    given = [(ingest(queue, headers), code) for queue, code in refusals.items()]
    given += [(ingest("app/main", one), code) for code, several in callers.items() for one in several]

    answers = server.call(*(call for call, _ in given))["answers"]
    assert [answer["code"] for answer in answers] == [code for _, code in given]
    assert all(len(answer["words"].split()) > 5 for answer in answers)
    assert requests(database) == []
    assert "ntf_" not in server.log.read_text(encoding="utf-8")


def test_the_printed_example_takes_in_a_head(
    server: Server,
    database: Database,
    program: Program,  # noqa: F811
) -> None:
    (example,) = examples("docs/queues.md", "python")
    token = program(Scope.EVENTS_WRITE)["Authorization"].removeprefix("Bearer ")
    code = f"{example.text}\nprint(ingest('app/main', {token!r}))".replace(USUAL_ADDRESS, f"127.0.0.1:{server.port}")
    said = run([sys.executable, "-c", code], env={"PYTHONPATH": str(ROOT)}, stdout=PIPE, text=True, check=True).stdout

    ((queue, number, _),) = requests(database)
    assert said == f"request/{queue}/{number}\n"


def test_while_the_database_is_away_calls_are_told_so_and_the_containers_probes_pass(
    settings: dict[str, str],
    program: Program,  # noqa: F811
    tmp_path: Path,
) -> None:
    away = {**settings, "NOTIFY_DATABASE_URL": "postgresql://notify@127.0.0.1:1/notify"}
    with serving(away, tmp_path / "server.log") as server:
        answers = server.call(ingest("app/main", program(Scope.EVENTS_WRITE)), *kubernetes_probes())["answers"]
        compose = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
        *_, probe = compose["services"]["grpc"]["healthcheck"]["test"]
        run([sys.executable, "-c", probe.replace(USUAL_ADDRESS, f"127.0.0.1:{server.port}")], check=True)

    refused, *healthy = answers
    assert refused["code"] == "UNAVAILABLE"
    assert "database" in refused["words"]
    assert [one["body"] for one in healthy] == [{"status": "SERVING"}] * 3


def test_a_busy_port_is_named_in_one_sentence(settings: dict[str, str]) -> None:
    with listen("127.0.0.1", 0) as busy:
        port = busy.getsockname()[1]
        ended = run(
            SERVER, env={**settings, "NOTIFY_GRPC_PORT": str(port)}, capture_output=True, text=True, check=False
        )
    assert (ended.returncode, ended.stderr.count("\n")) == (2, 1), ended.stderr
    assert f"127.0.0.1:{port}" in ended.stderr
    assert "NOTIFY_GRPC_PORT" in ended.stderr


def test_a_typo_in_a_setting_of_the_server_stops_it_and_names_the_setting(
    notify: Notify,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NOTIFY_GRPC_PROT", "1")
    assert "did you mean NOTIFY_GRPC_PORT?" in str(notify("grpc").error)


def test_a_server_that_is_told_to_stop_finishes_the_call_that_is_under_way(
    server: Server,
    slow_git: SlowGit,
    database: Database,
    program: Program,  # noqa: F811
) -> None:
    headers = program(Scope.EVENTS_WRITE)
    slow_git.held.touch()
    with ThreadPoolExecutor(1) as thread:
        answer = thread.submit(codes, server, ingest("app/main", headers))
        until(slow_git.asked.exists)
        server.process.send_signal(SIGTERM)
        until(lambda: "grpc.stopping" in server.log.read_text(encoding="utf-8"))
        slow_git.held.unlink()
        assert answer.result() == ["OK"]
        assert server.process.wait(30) == 0
    assert len(requests(database)) == 1
