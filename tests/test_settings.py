"""Settings: what stops the start, with which message, and what a process runs with."""

import os
from collections.abc import Callable, Mapping
from datetime import timedelta
from os import R_OK, access
from pathlib import Path
from subprocess import run
from sys import executable

import pytest

from notify.domain.errors import InvalidSettings
from notify.settings import THEIRS, Settings, load

ROOT = Path(__file__).parents[1]
LONG = "s" * 32
MAIL = {
    "NOTIFY_SMTP_URL": "smtp://mx.example.com:587",
    "NOTIFY_MAIL_FROM": "notify@example.com",
    "NOTIFY_PUBLIC_URL": "https://notify.example.com",
    "NOTIFY_SECRET_KEYS": LONG,
}
Loaded = Callable[..., Settings]
Problems = Callable[..., tuple[str, ...]]


@pytest.fixture
def loaded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Loaded:
    """The settings of a process with this environment and, if given, this ``.env`` file."""

    def load_with(environment: Mapping[str, str], *, file: str | None = None) -> Settings:
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        if file is not None:
            (tmp_path / ".env").write_text(file)
        return load(env_file=tmp_path / ".env")

    return load_with


@pytest.fixture
def problems(loaded: Loaded) -> Problems:
    """The errors that stop a process with this environment."""

    def refused(environment: Mapping[str, str], *, file: str | None = None) -> tuple[str, ...]:
        with pytest.raises(InvalidSettings) as invalid:
            loaded(environment, file=file)
        return invalid.value.problems

    return refused


def test_a_process_without_settings_starts(loaded: Loaded) -> None:
    settings = loaded({})
    assert (settings.database_url, settings.broker_url, settings.smtp_url) == (None, None, None)
    assert settings.lease == timedelta(seconds=60)


def test_settings_do_not_change_while_a_process_runs(loaded: Loaded) -> None:
    settings = loaded({})
    with pytest.raises(ValueError, match="frozen"):
        settings.lease_seconds = 1  # type: ignore[misc]


def test_durations_and_ports_are_parsed_from_text(loaded: Loaded) -> None:
    settings = loaded({"NOTIFY_LEASE_SECONDS": "2.5", "NOTIFY_API_PORT": "8080", "NOTIFY_DATA_DIR": "/srv/notify"})
    assert (settings.lease, settings.api_port) == (timedelta(seconds=2.5), 8080)
    assert settings.data_dir == Path("/srv/notify")


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("NOTIFY_LEASE_SECOND", "NOTIFY_LEASE_SECONDS"),
        ("NOTIFY_DATABSE_URL", "NOTIFY_DATABASE_URL"),
        ("NOTIFY_MAILFROM", "NOTIFY_MAIL_FROM"),
        ("NOTIFY_SMTP_URI", "NOTIFY_SMTP_URL"),
        ("NOTIFY_TEMPLATE_DIR", "NOTIFY_TEMPLATES_DIR"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_misspelled_name_is_refused_with_the_nearest_known_one(
    problems: Problems, where: str, name: str, nearest: str
) -> None:
    (problem,) = problems({name: "x"}) if where == "environment" else problems({}, file=f"{name}=x\n")
    assert name in problem
    assert nearest in problem


def test_a_name_that_resembles_none_is_refused_without_a_guess(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_QQ": "x"})
    assert problem.startswith("NOTIFY_QQ")
    assert problem.count("NOTIFY_") == 1


def test_every_misspelled_name_is_reported_at_once(problems: Problems) -> None:
    assert len(problems({"NOTIFY_LEASES_SECONDS": "1", "NOTIFY_API_PROT": "1"})) == 2


@pytest.mark.parametrize("name", ["notify_api_port", "Notify_Api_Port", "NOTIFY_api_port"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_setting_in_the_wrong_case_is_refused_and_neither_used_nor_ignored(
    problems: Problems, where: str, name: str
) -> None:
    (problem,) = problems({name: "8080"}) if where == "environment" else problems({}, file=f"{name}=8080\n")
    assert problem.startswith(f"{name} ")
    assert "NOTIFY_API_PORT" in problem


@pytest.mark.parametrize("service", ["NOTIFY", "NOTIFY_API", "NOTIFY_FLOWER", "NOTIFY_CATCHER", "NOTIFY_WORKER_HEALTH"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_variables_of_systemd_and_kubernetes_are_ignored(loaded: Loaded, where: str, service: str) -> None:
    variables = {"NOTIFY_SOCKET": "/run/systemd/notify", **beside_a_service(service)}
    file = "".join(f"{name}={value}\n" for name, value in variables.items())
    of_nobody = loaded({})
    assert (loaded(variables) if where == "environment" else loaded({}, file=file)) == of_nobody


def beside_a_service(name: str) -> dict[str, str]:
    """
    The variables that Kubernetes sets in every pod for a Service with these ports.

    Source: pkg/kubelet/envvars/envvars.go, getServiceEnvVars and getContainerEnvVars.
    """
    found = {f"{name}_SERVICE_HOST": "10.0.0.9", f"{name}_SERVICE_PORT": "8000", f"{name}_PORT": "tcp://10.0.0.9:8000"}
    for port, protocol, named in ((8000, "tcp", "HTTP"), (9000, "udp", "LOG_IN"), (9001, "sctp", "X")):
        prefix = f"{name}_PORT_{port}_{protocol.upper()}"
        found |= {
            f"{name}_SERVICE_PORT_{named}": str(port),
            prefix: f"{protocol}://[fd00::9]:{port}",
            f"{prefix}_PROTO": protocol,
            f"{prefix}_PORT": str(port),
            f"{prefix}_ADDR": "fd00::9",
        }
    return found


def test_our_port_setting_is_read_beside_those_of_kubernetes(loaded: Loaded) -> None:
    assert loaded({"NOTIFY_API_PORT": "tcp://10.0.0.9:8000"}, file="NOTIFY_API_PORT=8001\n").api_port == 8001
    assert loaded({"NOTIFY_API_PORT": "8002"}, file="NOTIFY_API_PORT=8001\n").api_port == 8002


@pytest.mark.parametrize("name", ["NOTIFY_PORT", "NOTIFY_SOCKETS", "NOTIFY_API_PORTS", "NOTIFY_SERVICE_HOSTS"])
def test_a_name_that_only_resembles_theirs_is_a_typo(problems: Problems, name: str) -> None:
    (problem,) = problems({name: "8000"})
    assert problem.startswith(f"{name} ")


@pytest.mark.parametrize("field", Settings.model_fields)
def test_no_setting_of_ours_is_mistaken_for_theirs(problems: Problems, field: str) -> None:
    assert not THEIRS.match(f"NOTIFY_{field.upper()}=8000")
    (problem,) = problems({f"NOTIFY_{field.upper()}X": "8000"})
    assert f"NOTIFY_{field.upper()}" in problem


def test_a_name_that_is_not_utf_8_can_be_printed(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_M\udcfcLL": "x"})
    assert problem.encode().startswith(b"NOTIFY_M")


def test_a_value_that_is_not_utf_8_is_refused(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_MAIL_FROM_NAME": "Pr\udcfcfung"})
    assert problem.encode().startswith(b"NOTIFY_MAIL_FROM_NAME")


def test_a_password_in_a_url_is_not_shown(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_JWKS_URL": "ldap://me:hunter2@id.example.com/keys"})
    assert "id.example.com" in problem
    assert "hunter2" not in problem


UNREADABLE: Mapping[str, Callable[[Path], object]] = {
    "UTF-16": lambda file: file.write_bytes("NOTIFY_API_PORT=8001\n".encode("utf-16")),
    "UTF-16 without a mark": lambda file: file.write_bytes("NOTIFY_API_PORT=8001\n".encode("utf-16-le")),
    "Latin-1": lambda file: file.write_bytes("NOTIFY_MAIL_FROM_NAME=Prüfung\n".encode("latin-1")),
    "NUL bytes": lambda file: file.write_bytes(b"NOTIFY_MAIL_FROM_NAME=a\0b\n"),
    "a folder": Path.mkdir,
    "a link to nowhere": lambda file: file.symlink_to("nowhere"),
    "a link to itself": lambda file: file.symlink_to(file),
    "somebody else's": lambda file: os.close(os.open(file, os.O_CREAT, mode=0)),
}


@pytest.mark.parametrize("make", UNREADABLE.values(), ids=list(UNREADABLE))
def test_an_unreadable_file_is_reported_in_one_sentence(tmp_path: Path, make: Callable[[Path], object]) -> None:
    make(tmp_path / ".env")
    if make is UNREADABLE["somebody else's"] and access(tmp_path / ".env", R_OK):
        pytest.skip("root reads what nobody may read")
    with pytest.raises(InvalidSettings) as invalid:
        load(env_file=tmp_path / ".env")
    (problem,) = invalid.value.problems
    assert str(tmp_path / ".env") in problem
    assert "\n" not in problem


def test_a_byte_order_mark_hides_no_setting(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NOTIFY_API_PORT=8001\n", encoding="utf-8-sig")
    assert load(env_file=tmp_path / ".env").api_port == 8001


def test_a_virtual_environment_named_dot_env_is_no_settings_file(tmp_path: Path) -> None:
    (tmp_path / ".env").mkdir()
    (tmp_path / ".env" / "pyvenv.cfg").touch()
    assert load(env_file=tmp_path / ".env") == load(env_file=None)


@pytest.mark.parametrize(
    "command",
    [
        pytest.param("uvicorn notify.api.app:create_app --factory --port 1", id="api"),
        pytest.param("notify.worker --concurrency 1", id="worker"),
        pytest.param("celery -A notify.worker.app worker --concurrency 1", id="celery-worker"),
    ],
)
def test_a_process_that_may_not_start_says_why_without_a_traceback(command: str, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes("NOTIFY_API_PORT=8001\n".encode("utf-16"))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    argv = [executable, "-m", *command.split()]
    ended = run(argv, check=False, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ended.returncode != 0
    assert ended.stderr.count("\n") == 1
    assert ".env" in ended.stderr


def test_variables_of_other_programs_are_ignored(loaded: Loaded) -> None:
    loaded({"NOTIFYD_URL": "x", "SMTP_URL": "y", "NOTIFY_TEST_DATABASE_URL": "postgresql://db"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_LEASE_SECONDS", "0.5"),
        ("NOTIFY_LEASE_SECONDS", "a minute"),
        ("NOTIFY_LEASE_SECONDS", "86400"),
        ("NOTIFY_API_PORT", "0"),
        ("NOTIFY_API_PORT", "65536"),
        ("NOTIFY_CLAIM_SIZE", "1.5"),
        ("NOTIFY_SMTP_SESSIONS", "0"),
        ("NOTIFY_SMTP_TIMEOUT_SECONDS", "-1"),
        ("NOTIFY_LOG_LEVEL", "chatty"),
        ("NOTIFY_PUBLIC_URL", "notify.example.com"),
        ("NOTIFY_PUBLIC_URL", "https://notify.example.com/?page="),
        ("NOTIFY_JWKS_URL", "file:///etc/keys"),
        ("NOTIFY_MAIL_FROM", "Notify <notify@example.com>"),
        ("NOTIFY_MAIL_FROM", "notify"),
        ("NOTIFY_MAIL_FROM", "notify@exa_mple.com"),
        ("NOTIFY_BOUNCE_ADDRESS", "bounces\u00a0@example.com"),
        ("NOTIFY_BOUNCE_ADDRESS", "@example.com"),
        ("NOTIFY_DOMAIN_RATES", "example.com"),
        ("NOTIFY_DOMAIN_RATES", "example.com=fast"),
        ("NOTIFY_BOUNCE_ADDRESS", "a@example.com,b@example.com"),
        ("NOTIFY_MAIL_FROM", "notify@☃.example"),
        ("NOTIFY_MAIL_FROM", "notify@bücher..example"),
        ("NOTIFY_BOUNCE_ADDRESS", "bounces@a\u200db.example"),
        ("NOTIFY_DKIM_DOMAIN", "☃.example"),
        ("NOTIFY_EHLO_NAME", "my host"),
        ("NOTIFY_PUBLIC_URL", "https://☃.example/notify"),
        ("NOTIFY_PUBLIC_URL", "https://notify.example.com/prüfung"),
        ("NOTIFY_JWKS_URL", "https://☃.example/keys"),
        ("NOTIFY_DOMAIN_RATES", "☃.example=5"),
        ("NOTIFY_DOMAIN_RATES", "bücher.example=5 xn--bcher-kva.example=3"),
    ],
)
def test_an_invalid_value_is_refused_with_its_name_and_value(problems: Problems, name: str, value: str) -> None:
    (problem,) = problems({name: value})
    assert problem.startswith(name)
    assert value in problem or repr(value) in problem


@pytest.mark.parametrize(
    ("name", "stated", "read"),
    [
        ("NOTIFY_MAIL_FROM", "Jörg@bücher.example", "Jörg@xn--bcher-kva.example"),
        ("NOTIFY_MAIL_FROM", "notify@[192.0.2.1]", "notify@[192.0.2.1]"),
        ("NOTIFY_BOUNCE_ADDRESS", "b@straße.example", "b@xn--strae-oqa.example"),
        ("NOTIFY_DKIM_DOMAIN", "bücher.example", "xn--bcher-kva.example"),
        ("NOTIFY_EHLO_NAME", "bücher.example", "xn--bcher-kva.example"),
        ("NOTIFY_PUBLIC_URL", "https://bücher.example:8443/notify/", "https://xn--bcher-kva.example:8443/notify"),
        ("NOTIFY_PUBLIC_URL", "https://[2001:db8::1]:8443/", "https://[2001:db8::1]:8443"),
        ("NOTIFY_JWKS_URL", "https://me@bücher.example/keys?a=b", "https://me@xn--bcher-kva.example/keys?a=b"),
        ("NOTIFY_DOMAIN_RATES", "*.bücher.example=5 a.example=1", "*.xn--bcher-kva.example=5 a.example=1"),
    ],
)
def test_a_domain_is_converted_to_its_dns_spelling(loaded: Loaded, name: str, stated: str, read: str) -> None:
    assert getattr(loaded({name: stated}), name.removeprefix("NOTIFY_").lower()) == read


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_DATABASE_URL", "mysql://me:hunter2@db/notify"),
        ("NOTIFY_DATABASE_URL", "me:hunter2@db/notify"),
        ("NOTIFY_DATABASE_URL", "postgresql://me:hunter2@pg1:5432,pg2:five/notify"),
        ("NOTIFY_DATABASE_URL", "postgresql://me:hunter2@db/notify?sslmode=yes"),
        ("NOTIFY_BROKER_URL", "sqs://key:hunter2@"),
        ("NOTIFY_SECRET_KEYS", "hunter2"),
        ("NOTIFY_SECRET_KEYS", f"{LONG} hunter2"),
        ("NOTIFY_SECRET_KEYS", "hunter2 " * 5),
        ("NOTIFY_JWT_SECRET", "hunter2"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_invalid_secret_is_refused_without_being_shown(
    problems: Problems, where: str, name: str, value: str
) -> None:
    (problem,) = problems({name: value}) if where == "environment" else problems({}, file=f"{name}={value}\n")
    assert problem.startswith(name)
    assert "hunter2" not in problem
    assert "\n" not in problem


def test_fallback_relays_without_a_first_one_are_refused(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_SMTP_FALLBACK_URLS": "smtp://me:hunter2@mx.example.com"})
    assert problem.startswith("NOTIFY_SMTP_FALLBACK_URLS")
    assert "NOTIFY_SMTP_URL" in problem
    assert "hunter2" not in problem


def test_printed_settings_do_not_show_their_secrets(loaded: Loaded) -> None:
    secrets = {
        "NOTIFY_DATABASE_URL": "postgresql://me:hunter2@db/notify",
        "NOTIFY_BROKER_URL": "redis://:hunter2@broker/0",
        "NOTIFY_JWT_SECRET": "hunter2" * 5,
        **MAIL,
        "NOTIFY_SMTP_URL": "smtp://me:hunter2@mx.example.com",
        "NOTIFY_SECRET_KEYS": "hunter2" * 5,
    }
    settings = loaded(secrets)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == secrets["NOTIFY_DATABASE_URL"]
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_every_setting_that_may_contain_a_secret_is_hidden() -> None:
    hidden = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert hidden == {"database_url", "broker_url", "smtp_url", "smtp_fallback_urls", "secret_keys", "jwt_secret"}


def test_every_problem_is_reported_at_once(problems: Problems) -> None:
    assert len(problems({"NOTIFY_API_PORT": "0", "NOTIFY_LOG_LEVEL": "chatty"})) == 2


@pytest.mark.parametrize("name", ["NOTIFY_DATABASE_URL", "NOTIFY_LEASE_SECONDS", "NOTIFY_MAIL_FROM", "NOTIFY_JWKS_URL"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_empty_value_counts_as_missing(loaded: Loaded, where: str, name: str) -> None:
    empty = loaded({name: ""}) if where == "environment" else loaded({}, file=f"{name}=\n")
    field = name.removeprefix("NOTIFY_").lower()
    assert getattr(empty, field) == Settings.model_fields[field].default


@pytest.mark.parametrize("missing", ["NOTIFY_MAIL_FROM", "NOTIFY_PUBLIC_URL", "NOTIFY_SECRET_KEYS"])
def test_a_relay_without_the_settings_that_emails_need_is_refused(problems: Problems, missing: str) -> None:
    (problem,) = problems({name: value for name, value in MAIL.items() if name != missing})
    assert problem.startswith(missing)


def test_a_relay_with_the_settings_that_emails_need_is_accepted(loaded: Loaded) -> None:
    assert loaded(MAIL).mail_from == "notify@example.com"


def test_the_settings_that_emails_need_may_be_set_before_the_relay(loaded: Loaded) -> None:
    loaded({name: value for name, value in MAIL.items() if name != "NOTIFY_SMTP_URL"})


def test_tokens_of_people_are_verified_in_one_way_only(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_JWT_SECRET": LONG, "NOTIFY_JWKS_URL": "https://id.example.com/keys"})
    assert "NOTIFY_JWT_SECRET" in problem
    assert "NOTIFY_JWKS_URL" in problem
    assert LONG not in problem


def test_a_file_is_read_and_the_environment_wins(loaded: Loaded) -> None:
    file = "NOTIFY_API_PORT=8081\nNOTIFY_FLOWER_PORT=5556\nUNRELATED=x\n"
    settings = loaded({"NOTIFY_API_PORT": "8082"}, file=file)
    assert (settings.api_port, settings.flower_port) == (8082, 5556)


def test_the_public_url_loses_a_trailing_slash(loaded: Loaded) -> None:
    assert loaded({"NOTIFY_PUBLIC_URL": "https://notify.example.com/"}).public_url == "https://notify.example.com"
    assert loaded({"NOTIFY_PUBLIC_URL": "https://example.com/notify/"}).public_url == "https://example.com/notify"


def test_the_jwks_url_is_used_unchanged(loaded: Loaded) -> None:
    assert loaded({"NOTIFY_JWKS_URL": "https://id.example.com/keys/"}).jwks_url == "https://id.example.com/keys/"


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://db/notify",
        "postgres://db/notify",
        "postgresql+psycopg://db/notify",
        "postgresql://u@/db?host=/var/run/postgresql",
        "postgresql://u:x@pg1:5432,pg2:5432/db?target_session_attrs=read-write",
    ],
)
def test_a_database_url_may_be_spelled_like_postgresqls_or_sqlalchemys(loaded: Loaded, url: str) -> None:
    assert loaded({"NOTIFY_DATABASE_URL": url}).database_url is not None


def test_every_setting_has_a_description() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []
