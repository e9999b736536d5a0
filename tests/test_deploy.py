"""The Kubernetes manifests and systemd units match the code that they start; no cluster needed."""

import re
import shlex
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from shutil import which
from subprocess import run
from typing import Any

import httpx
import pytest
import yaml
from pydantic import SecretStr

from notify.api import metrics
from notify.api.app import build_app, context_of
from notify.embedded.commands import COMMANDS
from notify.resources import version
from notify.rpc import server
from notify.settings import PREFIX, VARIABLES, Settings, load
from notify.wiring import STAGE_NAMES
from notify.worker import livez
from tests.support.deployed import EMBEDDED, is_a_command_of_notify, runs_what_the_embedded_stack_runs
from tests.support.in_process import InProcess

DEPLOY = Path(__file__).parents[1] / "deploy"
Manifest = Mapping[str, Any]
MANIFESTS: Sequence[Manifest] = [
    manifest
    for file in sorted(DEPLOY.glob("kubernetes/**/*.yaml"))
    for manifest in yaml.safe_load_all(file.read_text(encoding="utf-8"))
]
PODS: Mapping[str, Manifest] = {
    one["metadata"]["name"]: one["spec"]["template"] for one in MANIFESTS if "template" in one.get("spec", ())
}
CONTAINERS: Mapping[str, Manifest] = {
    container["name"]: container for pod in PODS.values() for container in pod["spec"]["containers"]
}
PROBES = [
    (name, container[probe])
    for name, container in CONTAINERS.items()
    for probe in ("startupProbe", "livenessProbe", "readinessProbe")
    if probe in container
]
OVER_HTTP = [(name, probe["httpGet"]) for name, probe in PROBES if "httpGet" in probe]
OVER_GRPC = [(name, probe["grpc"]) for name, probe in PROBES if "grpc" in probe]
UNITS = {file.stem.removeprefix("notify-"): file.read_text(encoding="utf-8") for file in DEPLOY.glob("systemd/*")}
STATED = re.compile(r"--from-literal=(\w+)=(\S+)")
BIN = "/srv/notify/bin/"
SYSTEMD_ANALYZE = which("systemd-analyze") or ""
needs_systemd = pytest.mark.skipif(not SYSTEMD_ANALYZE, reason="this machine has no systemd-analyze")


def of_kind(kind: str) -> Iterator[Manifest]:
    return (one for one in MANIFESTS if one["kind"] == kind)


def settings_of(name: str) -> dict[str, str]:
    """The container's settings: from the ConfigMap, from the Secrets that the comments create, and its own."""
    (config,) = of_kind("ConfigMap")
    comments = "".join(file.read_text(encoding="utf-8") for file in DEPLOY.glob("kubernetes/*.yaml"))
    secrets = {found: value.strip('"') for found, value in STATED.findall(comments)}
    generated = {found: "k" * 44 for found, value in secrets.items() if value.startswith("$(")}
    own = {one["name"]: one["value"] for one in CONTAINERS[name].get("env", ())}
    return {**config["data"], **secrets, **generated, **own}


def directives(unit: str, name: str) -> list[str]:
    """The values of a directive, with continued lines joined."""
    joined = UNITS[unit].replace("\\\n", " ")
    return [line.partition("=")[2] for line in joined.splitlines() if line.startswith(f"{name}=")]


def words_of(unit: str) -> list[str]:
    (line,) = directives(unit, "ExecStart")
    program, *words = shlex.split(line.replace("%%", "%"))
    assert program.startswith(BIN)
    return [program.removeprefix(BIN), *words]


@pytest.mark.parametrize("name", ["api", "worker", "beat", "flower"])
def test_every_container_runs_the_command_of_the_embedded_stack(name: str) -> None:
    runs_what_the_embedded_stack_runs(EMBEDDED[name], CONTAINERS[name]["args"])


@pytest.mark.parametrize("name", ["api", "worker", "beat"])
def test_every_unit_runs_the_command_of_the_embedded_stack(name: str) -> None:
    runs_what_the_embedded_stack_runs(EMBEDDED[name], words_of(name))


@pytest.mark.parametrize("name", ["migrate", "grpc"])
def test_migrations_and_grpc_run_by_an_existing_command(name: str) -> None:
    for program, *words in (CONTAINERS[name]["args"], words_of(name)):
        assert program == "notify"
        is_a_command_of_notify(words)


@pytest.mark.parametrize("name", CONTAINERS)
def test_every_setting_of_a_container_is_known_and_valid(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = settings_of(name)
    unknown = {one for one in given if one not in VARIABLES}
    assert unknown <= {"FLOWER_BASIC_AUTH"}
    for one, value in given.items():
        monkeypatch.setenv(one, value)
    load(env_file=None)


@pytest.mark.parametrize("name", UNITS)
def test_every_setting_of_a_unit_is_known(name: str) -> None:
    given = [one.partition("=")[0] for line in directives(name, "Environment") for one in line.split()]
    assert all(one in VARIABLES for one in given if one.startswith(PREFIX))


def test_a_container_has_every_config_map_and_secret_that_the_comments_create() -> None:
    created = {
        "notify",
        *re.findall(
            r"create secret generic (\S+)",
            "".join(file.read_text(encoding="utf-8") for file in DEPLOY.glob("kubernetes/*.yaml")),
        ),
    }
    for container in CONTAINERS.values():
        asked = {next(iter(one.values()))["name"] for one in container["envFrom"]}
        assert "notify" in asked <= created


@pytest.mark.parametrize(("name", "probe"), OVER_HTTP)
def test_a_probe_uses_the_port_of_the_container(name: str, probe: Manifest) -> None:
    container = CONTAINERS[name]
    ports = {one["name"]: str(one["containerPort"]) for one in container["ports"]}
    port = ports[probe["port"]]
    given = [*container.get("args", ()), settings_of(name).get("NOTIFY_WORKER_HEALTH_PORT")]
    assert port in given or f"--port={port}" in given


@pytest.mark.parametrize(("name", "probe"), OVER_HTTP)
def test_a_probe_uses_an_existing_endpoint(name: str, probe: Manifest) -> None:
    path = probe["path"]
    if name == "api":
        settings = Settings(database_url=SecretStr("postgresql://nobody@127.0.0.1:1/nothing"))
        app = build_app(context_of(settings))
        with httpx.Client(transport=InProcess(app), base_url="http://10.0.0.1") as node:
            assert node.get(path).status_code == (503 if path == "/readyz" else 200)
    elif name == "worker":
        assert path == livez.PATH
    else:
        assert (EMBEDDED[name].health or "").endswith(path)


def test_grpc_is_probed_by_its_own_health_where_it_listens() -> None:
    assert [name for name, _ in OVER_GRPC] == ["grpc"] * 3
    (port,) = {probe["port"] for _, probe in OVER_GRPC}
    assert [one["containerPort"] for one in CONTAINERS["grpc"]["ports"]] == [port] == [Settings().grpc_port]
    assert {probe.get("service") for _, probe in OVER_GRPC} == {None, server.HEADS}
    assert settings_of("grpc")["NOTIFY_GRPC_HOST"] == "0.0.0.0"  # noqa: S104


def test_an_api_without_a_database_is_taken_out_of_service_and_not_restarted() -> None:
    assert CONTAINERS["api"]["readinessProbe"]["httpGet"]["path"] == "/readyz"
    assert CONTAINERS["api"]["livenessProbe"]["httpGet"]["path"] == "/livez"


def test_every_process_gets_as_long_to_stop_as_in_the_embedded_stack() -> None:
    for command in COMMANDS:
        grace = PODS[f"notify-{command.name}"]["spec"].get("terminationGracePeriodSeconds", 30)
        assert grace >= command.stop_seconds
        if command.name in UNITS:
            limits = directives(command.name, "TimeoutStopSec") or ["90"]
            assert int(limits[0]) >= command.stop_seconds


def test_calls_of_grpc_that_are_under_way_have_time_to_end() -> None:
    assert PODS["notify-grpc"]["spec"]["terminationGracePeriodSeconds"] > server.STOP_SECONDS + server.FLUSH_SECONDS
    assert int(directives("grpc", "TimeoutStopSec")[0]) > server.STOP_SECONDS + server.FLUSH_SECONDS


def test_every_service_and_deployment_selects_its_pods_and_ports() -> None:
    for one in (*of_kind("Deployment"), *of_kind("Service")):
        selector = one["spec"]["selector"].get("matchLabels", one["spec"]["selector"])
        pod = PODS[one["metadata"]["name"]]
        assert selector.items() <= pod["metadata"]["labels"].items()
        assert [name for name, other in PODS.items() if selector.items() <= other["metadata"]["labels"].items()] == [
            one["metadata"]["name"]
        ]
        for port in one["spec"].get("ports", ()):
            assert port["targetPort"] in {open_["name"] for open_ in pod["spec"]["containers"][0]["ports"]}


def test_no_container_runs_as_root_or_writes_to_its_image() -> None:
    for pod in PODS.values():
        assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
        for container in pod["spec"]["containers"]:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            assert container["resources"].keys() == {"requests", "limits"}


@pytest.mark.parametrize("name", ["api", "grpc", "worker"])
def test_a_process_that_reads_queues_has_a_place_for_its_mirrors(name: str) -> None:
    dockerfile = (DEPLOY.parent / "Dockerfile").read_text(encoding="utf-8")
    (folder,) = re.findall(r"\bNOTIFY_DATA_DIR=(\S+)", dockerfile)
    mounted = {one["mountPath"]: one["name"] for one in CONTAINERS[name]["volumeMounts"]}
    assert mounted[folder] in {one["name"] for one in PODS[f"notify-{name}"]["spec"]["volumes"]}
    (state,) = directives(name, "StateDirectory")
    (given,) = directives(name, "Environment")
    assert f"NOTIFY_DATA_DIR=/var/lib/{state}" in given.split()


def test_every_container_has_the_image_of_this_version() -> None:
    assert {one["image"] for one in CONTAINERS.values()} == {f"registry.example.com/notify:{version()}"}


def test_workers_are_scaled_by_an_existing_metric() -> None:
    (scaled,) = of_kind("ScaledObject")
    assert scaled["spec"]["scaleTargetRef"]["name"] in PODS
    (trigger,) = scaled["spec"]["triggers"]
    query = trigger["metadata"]["query"]
    names = re.findall(r"notify_(\w+)", query)
    assert "oldest_due_seconds" in names
    assert set(names) <= metrics.HELP.keys()
    (stages,) = re.findall(r'stage=~"([^"]+)"', query)
    assert set(stages.split("|")) <= set(STAGE_NAMES)


@pytest.mark.parametrize("name", ["api", "worker", "beat", "grpc"])
def test_a_unit_waits_for_the_migration(name: str) -> None:
    assert "notify-migrate.service" in directives(name, "After")[0]
    assert directives(name, "Requires") == ["notify-migrate.service"]


@pytest.fixture
def installed(tmp_path: Path) -> list[str]:
    """The units, with this environment in place of /srv/notify."""
    for name, text in UNITS.items():
        (tmp_path / f"notify-{name}.service").write_text(text.replace(BIN, f"{Path(sys.executable).parent}/"))
    return [str(file) for file in tmp_path.iterdir()]


@needs_systemd
def test_systemd_accepts_every_unit(installed: list[str]) -> None:
    done = run([SYSTEMD_ANALYZE, "verify", *installed], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@needs_systemd
def test_systemd_rates_no_unit_as_exposed(installed: list[str]) -> None:
    run([SYSTEMD_ANALYZE, "security", "--offline=true", "--threshold=20", *installed], check=True, capture_output=True)
