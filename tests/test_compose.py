"""docker-compose.yml and the Dockerfile match the code that they start; no Docker needed."""

import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from fnmatch import fnmatch
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from subprocess import run
from sys import executable
from typing import Any

import pytest
import uvicorn
import yaml
from celery import Celery
from celery.bin.celery import celery
from celery.bin.worker import worker
from click import Context, Group
from flower.options import default_options  # type: ignore[import-untyped]

import celeryconfig
from notify.channels.email.smtp.relay import Encryption, Relay
from notify.cli.checks.deployment import PUBLISHED_DEFAULTS
from notify.embedded.commands import COMMANDS
from notify.rpc import server
from notify.settings import MIN_SECRET_LENGTH, Settings, load
from tests.support.deployed import EMBEDDED, is_a_command_of_notify, runs_what_the_embedded_stack_runs

ROOT = Path(__file__).parents[1]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
SERVICES: Mapping[str, Mapping[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if "build" in service}
DOCKERFILE = (ROOT / "Dockerfile").read_text(encoding="utf-8")
INTERPOLATED = re.compile(r"\$\{(\w+):?-([^}]*)\}")
COPIED = re.compile(r"^COPY (?!--from)(.+) \S+$", re.MULTILINE)
SECRET = re.compile(r"PASSWORD|SECRET|AUTH")
LOOPBACK = "127.0.0.1"


def words_of(service: str) -> list[str]:
    command = SERVICES[service]["command"]
    return shlex.split(command) if isinstance(command, str) else list(command)


def option(service: str, name: str) -> str:
    """The value of an option, written with a space or an equals sign."""
    words = words_of(service)
    joined = [word.partition("=")[2] for word in words if word.startswith(f"{name}=")]
    return joined[0] if joined else words[words.index(name) + 1]


def defaults(text: str) -> str:
    """The text as Docker Compose reads it when no variable is set."""
    return INTERPOLATED.sub(lambda found: found[2], text)


def seconds(duration: str) -> int:
    return int(duration.removesuffix("s"))


def published(*, monitoring: bool = False) -> Iterator[tuple[str, str, int, int]]:
    """Service, address, outside port and inside port: of the monitoring profile, or of everything else."""
    for name, service in SERVICES.items():
        if ("monitoring" in service.get("profiles", ())) is not monitoring:
            continue
        for port in service.get("ports", ()):
            address, outside, inside = port.split(":")
            yield name, address, int(outside), int(inside)


def accept(command: Any, words: Sequence[str]) -> None:
    """Fail if the command does not know an option or lacks an argument."""
    command.make_context(command.name, list(words))


def test_every_process_has_a_service_that_runs_the_command_of_the_embedded_stack() -> None:
    for name, command in EMBEDDED.items():
        runs_what_the_embedded_stack_runs(command, words_of(name))
    assert set(OURS) == {*EMBEDDED, "migrate", "grpc"}


@pytest.mark.parametrize("service", [name for name in OURS if words_of(name)[:2] == ["python", "-m"]])
def test_every_module_in_a_command_exists(service: str) -> None:
    import_module(words_of(service)[2])


def test_the_api_command_starts_an_application_with_valid_options() -> None:
    words = words_of("api")
    module, _, factory = words[3].partition(":")
    assert callable(getattr(import_module(module), factory))
    assert "--factory" in words
    accept(uvicorn.main, words[3:])


def test_the_worker_command_has_valid_options() -> None:
    words = words_of("worker")
    assert words[:3] == ["python", "-m", "notify.worker"]
    worker.make_parser(Context(worker)).parse_args(words[3:])


def test_the_beat_command_has_valid_options() -> None:
    words = words_of("beat")
    assert words[:4] == ["python", "-m", "celery", "-A"]
    assert isinstance(import_module(words[4]).app, Celery)
    assert isinstance(celery, Group)
    command = celery.commands[words[5]]
    command.make_parser(Context(command)).parse_args(words[6:])


def test_the_worker_serves_every_queue() -> None:
    sent_to = {route["queue"] for route in celeryconfig.task_routes.values()}
    assert set(option("worker", "--queues").split(",")) == sent_to == {queue.name for queue in celeryconfig.task_queues}


def test_the_flower_command_has_valid_options() -> None:
    words = words_of("flower")
    assert "flower" in celery.commands
    for word in words[words.index("flower") + 1 :]:
        assert word.removeprefix("--").partition("=")[0] in default_options.as_dict()


def test_flower_requires_authentication_and_lets_nobody_stop_workers() -> None:
    name, _, password = defaults(SERVICES["flower"]["environment"]["FLOWER_BASIC_AUTH"]).partition(":")
    assert (name, password) == ("notify", "development-only")
    assert "--read_only" in words_of("flower")
    assert not any("auth" in word for word in words_of("flower"))
    asked = {name for name, one in OURS.items() if "FLOWER_BASIC_AUTH" in one.get("environment", {})}
    assert asked == {"flower"}


def test_the_worker_has_the_same_name_in_every_container() -> None:
    assert SERVICES["worker"]["hostname"] == "worker"


def test_the_catcher_command_has_valid_options() -> None:
    words = words_of("catcher")
    help_text = run([executable, *words[1:3], "--help"], check=True, capture_output=True, text=True).stdout
    for word in words[3:]:
        if word.startswith("--"):
            assert word in help_text


@pytest.mark.parametrize("service", ["migrate", "grpc"])
def test_migrations_and_grpc_run_by_an_existing_command(service: str) -> None:
    program, *words = words_of(service)
    assert entry_points(group="console_scripts")[program].value == "notify.cli:main"
    is_a_command_of_notify(words)


@pytest.mark.parametrize("service", OURS)
def test_every_setting_is_known_and_valid(service: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SERVICES[service].get("environment", {}).items():
        monkeypatch.setenv(name, defaults(str(value)))
    load(env_file=None)


def test_variables_from_outside_have_the_names_of_their_settings() -> None:
    for service in OURS.values():
        for name, value in service.get("environment", {}).items():
            for found in INTERPOLATED.finditer(str(value)):
                assert found[1] in {name, "POSTGRES_PASSWORD"}


def test_development_secrets_are_recognizable() -> None:
    given = SERVICES["api"]["environment"]
    for name in ("NOTIFY_SECRET_KEYS", "NOTIFY_JWT_SECRET"):
        assert "development-only" in defaults(given[name])
        assert len(defaults(given[name])) >= MIN_SECRET_LENGTH
    assert defaults(given["NOTIFY_SECRET_KEYS"]) != defaults(given["NOTIFY_JWT_SECRET"])
    assert "development-only" in defaults(SERVICES["postgres"]["environment"]["POSTGRES_PASSWORD"])


def test_the_catcher_gets_no_secret() -> None:
    assert not SERVICES["catcher"]["environment"]


def test_the_database_that_is_created_is_the_one_that_is_used() -> None:
    made = {name: defaults(value) for name, value in SERVICES["postgres"]["environment"].items()}
    used = defaults(SERVICES["api"]["environment"]["NOTIFY_DATABASE_URL"])
    login = f"{made['POSTGRES_USER']}:{made['POSTGRES_PASSWORD']}"
    assert used == f"postgresql://{login}@postgres:5432/{made['POSTGRES_DB']}"


def test_emails_reach_the_catcher_without_tls() -> None:
    relay = Relay.from_url(defaults(SERVICES["worker"]["environment"]["NOTIFY_SMTP_URL"]))
    assert (relay.host, relay.port, relay.encryption) == (
        "catcher",
        int(option("catcher", "--smtp-port")),
        Encryption.PLAIN,
    )


def test_ports_are_published_to_this_machine_only_and_have_their_usual_numbers() -> None:
    defaults_of = {name: field.get_default() for name, field in Settings.model_fields.items()}
    usual = {name: port for name, port in defaults_of.items() if name.endswith("_port") and port is not None}
    del usual["forge_port"]  # the embedded forge belongs to `notify up` alone
    assert {address for _, address, _, _ in published()} == {LOOPBACK}
    assert {outside for _, _, outside, _ in published()} == set(usual.values())
    listening = {
        "api": {usual["api_port"]: option("api", "--port")},
        "flower": {usual["flower_port"]: option("flower", "--port")},
        "catcher": {
            usual["catcher_port"]: option("catcher", "--smtp-port"),
            usual["inbox_port"]: option("catcher", "--inbox-port"),
        },
    }
    for service, _, outside, inside in published():
        assert inside == (outside if service == "grpc" else int(listening[service][outside]))


def test_monitoring_is_optional_and_published_to_this_machine_only() -> None:
    found = {name: (address, outside) for name, address, outside, _ in published(monitoring=True)}
    assert found == {"prometheus": (LOOPBACK, 9090), "grafana": (LOOPBACK, 3000)}
    assert all(SERVICES[name]["profiles"] == ["monitoring"] for name in found)
    assert "development-only" in defaults(SERVICES["grafana"]["environment"]["GF_SECURITY_ADMIN_PASSWORD"])


@pytest.mark.parametrize(("service", "host"), [("api", "--host"), ("catcher", "--host"), ("flower", "--address")])
def test_published_services_listen_on_all_interfaces_of_their_container(service: str, host: str) -> None:
    assert option(service, host) == "0.0.0.0"  # noqa: S104 - of the container


def test_grpc_listens_on_all_interfaces_of_its_container_and_is_optional() -> None:
    assert SERVICES["grpc"]["environment"]["NOTIFY_GRPC_HOST"] == "0.0.0.0"  # noqa: S104 - of the container
    assert SERVICES["grpc"]["profiles"] == ["grpc"]
    assert seconds(SERVICES["grpc"]["stop_grace_period"]) > server.STOP_SECONDS


def test_services_wait_only_for_conditions_that_can_become_true() -> None:
    for name, service in SERVICES.items():
        for awaited, how in service.get("depends_on", {}).items():
            assert awaited in SERVICES, f"{name} waits for {awaited}, which does not exist"
            match how["condition"]:
                case "service_healthy":
                    assert "healthcheck" in SERVICES[awaited]
                case "service_completed_successfully":
                    assert SERVICES[awaited]["restart"] == "no"
                case other:
                    pytest.fail(f"{name} waits for {awaited} to be {other}")


def test_services_that_need_the_schema_wait_for_the_migration() -> None:
    for name in ("api", "beat", "grpc", "worker"):
        assert "migrate" in SERVICES[name]["depends_on"]
    assert "postgres" in SERVICES["migrate"]["depends_on"]


@pytest.mark.parametrize("service", [name for name in OURS if "healthcheck" in SERVICES[name]])
def test_health_checks_use_the_services_port(service: str) -> None:
    test = " ".join(SERVICES[service]["healthcheck"]["test"])
    asked = re.search(r"127\.0\.0\.1:(\d+)(?:/(\w+))?", test)
    assert asked is not None
    own = SERVICES[service].get("environment", {}).get("NOTIFY_WORKER_HEALTH_PORT")
    assert int(asked[1]) in {own, *(inside for name, _, _, inside in published() if name == service)}
    assert asked[2] in ({None} if service == "grpc" else {"livez", "readyz", "healthcheck"})
    compile(SERVICES[service]["healthcheck"]["test"][-1], service, "exec")


def test_services_get_as_long_to_stop_as_in_the_embedded_stack() -> None:
    for command in COMMANDS:
        service = SERVICES[command.name]
        assert service.get("stop_signal", "SIGTERM") == command.stop_signal.name
        assert seconds(service.get("stop_grace_period", "10s")) >= command.stop_seconds


def test_every_build_target_is_a_stage_of_the_dockerfile() -> None:
    stages = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
    assert {service["build"]["target"] for service in OURS.values()} <= stages
    images: dict[str, set[str]] = {}
    for service in OURS.values():
        images.setdefault(service["image"], set()).add(service["build"]["target"])
    assert all(len(targets) == 1 for targets in images.values()), f"one name for several images: {images}"


def test_the_labels_of_the_image_say_what_the_package_says() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    words = shlex.split(DOCKERFILE[DOCKERFILE.index("\nLABEL ") :].replace("\\\n", " ").splitlines()[1])[1:]
    labels = {
        name.removeprefix("org.opencontainers.image."): value for name, _, value in (w.partition("=") for w in words)
    }

    assert labels["description"] == project["description"]
    assert labels["licenses"] == project["license"]
    assert (labels["url"], labels["documentation"]) == (project["urls"]["Homepage"], project["urls"]["Documentation"])
    assert f"ARG VERSION={project['version']}\n" in DOCKERFILE


def test_files_copied_by_the_dockerfile_exist_and_are_not_ignored() -> None:
    admitted = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
        if line.startswith("!")
    ]
    for line in COPIED.findall(DOCKERFILE):
        for source in line.split():
            assert (ROOT / source).exists()
            assert any(fnmatch(source, pattern) for pattern in admitted), f"{source} is not in the build's context"


def test_nothing_runs_as_root_or_writes_to_its_image() -> None:
    *_, last_user = re.findall(r"^USER (\d+):\d+$", DOCKERFILE, re.MULTILINE)
    assert int(last_user) > 0
    for name, service in OURS.items():
        assert service["read_only"] is True, name
        assert service["tmpfs"] == ["/tmp"], name  # noqa: S108 - of the container
    assert option("beat", "--schedule").startswith("/tmp/")  # noqa: S108 - the same
    assert option("catcher", "--folder").startswith("/tmp/")  # noqa: S108 - the same


@pytest.mark.parametrize("service", ["api", "grpc", "worker"])
def test_a_process_that_reads_queues_has_git_and_a_place_for_its_mirrors(service: str) -> None:
    assert re.search(r"^RUN apt-get .*\bgit\b", DOCKERFILE, re.MULTILINE)
    (folder,) = re.findall(r"\bNOTIFY_DATA_DIR=(\S+)", DOCKERFILE)
    assert re.search(rf"install --directory --owner=notify .*{folder}$", DOCKERFILE, re.MULTILINE)
    assert SERVICES[service]["volumes"] == [f"queues:{folder}"]
    assert "queues" in COMPOSE["volumes"]


def test_the_doctor_knows_every_default_secret() -> None:
    text = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
    defaults = [(name, value) for name, value in INTERPOLATED.findall(text) if value and SECRET.search(name)]

    assert len(defaults) >= 5
    assert [name for name, value in defaults if PUBLISHED_DEFAULTS[0] not in value] == []
