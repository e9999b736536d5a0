"""Settings: what stops the start, in which words, and what a process runs with."""

from collections.abc import Callable, Mapping
from datetime import timedelta
from pathlib import Path

import pytest

from notify.domain.errors import InvalidSettings
from notify.settings import Settings, load

LONG = "s" * 32
MAIL = {
    "NOTIFY_SMTP_URL": "smtp://mx.example.com:587",
    "NOTIFY_MAIL_FROM": "notify@example.com",
    "NOTIFY_PUBLIC_URL": "https://notify.example.com",
    "NOTIFY_SECRET_KEY": LONG,
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
    """Why a process with this environment does not start."""

    def refused(environment: Mapping[str, str], *, file: str | None = None) -> tuple[str, ...]:
        with pytest.raises(InvalidSettings) as invalid:
            loaded(environment, file=file)
        return invalid.value.problems

    return refused


def test_a_process_that_is_told_nothing_starts(loaded: Loaded) -> None:
    settings = loaded({})
    assert (settings.database_url, settings.broker_url, settings.smtp_url) == (None, None, None)
    assert settings.lease == timedelta(seconds=60)


def test_settings_do_not_change_while_a_process_runs(loaded: Loaded) -> None:
    settings = loaded({})
    with pytest.raises(ValueError, match="frozen"):
        settings.lease_seconds = 1  # type: ignore[misc]


def test_durations_and_ports_are_read_from_words(loaded: Loaded) -> None:
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
def test_a_misspelled_name_is_refused_and_the_nearest_known_one_named(
    problems: Problems, where: str, name: str, nearest: str
) -> None:
    (problem,) = problems({name: "x"}) if where == "environment" else problems({}, file=f"{name}=x\n")
    assert name in problem
    assert nearest in problem


def test_a_name_that_resembles_none_is_refused_without_a_guess(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_QQ": "x"})
    assert problem.startswith("NOTIFY_QQ")
    assert problem.count("NOTIFY_") == 1


def test_every_misspelled_name_is_told_at_once(problems: Problems) -> None:
    assert len(problems({"NOTIFY_LEASES_SECONDS": "1", "NOTIFY_API_PROT": "1"})) == 2


def test_names_of_others_are_no_concern_of_ours(loaded: Loaded) -> None:
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
        ("NOTIFY_JWKS_URL", "file:///etc/keys"),
        ("NOTIFY_MAIL_FROM", "Notify <notify@example.com>"),
        ("NOTIFY_MAIL_FROM", "notify"),
        ("NOTIFY_BOUNCE_ADDRESS", "@example.com"),
        ("NOTIFY_DOMAIN_RATES", "example.com"),
        ("NOTIFY_DOMAIN_RATES", "example.com=fast"),
        ("NOTIFY_BOUNCE_ADDRESS", "a@example.com,b@example.com"),
    ],
)
def test_a_senseless_value_is_refused_by_its_name_and_value(problems: Problems, name: str, value: str) -> None:
    (problem,) = problems({name: value})
    assert problem.startswith(name)
    assert value in problem


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("NOTIFY_DATABASE_URL", "mysql://me:hunter2@db/notify"),
        ("NOTIFY_DATABASE_URL", "me:hunter2@db/notify"),
        ("NOTIFY_BROKER_URL", "sqs://key:hunter2@"),
        ("NOTIFY_SECRET_KEY", "hunter2"),
        ("NOTIFY_JWT_SECRET", "hunter2"),
    ],
)
@pytest.mark.parametrize("where", ["environment", "file"])
def test_a_senseless_secret_is_refused_without_being_shown(
    problems: Problems, where: str, name: str, value: str
) -> None:
    (problem,) = problems({name: value}) if where == "environment" else problems({}, file=f"{name}={value}\n")
    assert problem.startswith(name)
    assert "hunter2" not in problem


def test_fallback_relays_without_a_first_one_are_refused(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_SMTP_FALLBACK_URLS": "smtp://me:hunter2@mx.example.com"})
    assert problem.startswith("NOTIFY_SMTP_FALLBACK_URLS")
    assert "NOTIFY_SMTP_URL" in problem
    assert "hunter2" not in problem


def test_settings_do_not_show_their_secrets_when_they_are_printed(loaded: Loaded) -> None:
    secrets = {
        "NOTIFY_DATABASE_URL": "postgresql://me:hunter2@db/notify",
        "NOTIFY_BROKER_URL": "redis://:hunter2@broker/0",
        "NOTIFY_JWT_SECRET": "hunter2" * 5,
        **MAIL,
        "NOTIFY_SMTP_URL": "smtp://me:hunter2@mx.example.com",
        "NOTIFY_SECRET_KEY": "hunter2" * 5,
    }
    settings = loaded(secrets)
    assert settings.database_url is not None
    assert settings.database_url.get_secret_value() == secrets["NOTIFY_DATABASE_URL"]
    assert "hunter2" not in f"{settings!r} {settings} {settings.model_dump()}"


def test_every_setting_that_may_hold_a_secret_is_kept_from_being_shown() -> None:
    hidden = {name for name, field in Settings.model_fields.items() if "SecretStr" in str(field.annotation)}
    assert hidden == {"database_url", "broker_url", "smtp_url", "smtp_fallback_urls", "secret_key", "jwt_secret"}


def test_every_problem_is_told_at_once(problems: Problems) -> None:
    assert len(problems({"NOTIFY_API_PORT": "0", "NOTIFY_LOG_LEVEL": "chatty"})) == 2


@pytest.mark.parametrize("name", ["NOTIFY_DATABASE_URL", "NOTIFY_LEASE_SECONDS", "NOTIFY_MAIL_FROM", "NOTIFY_JWKS_URL"])
@pytest.mark.parametrize("where", ["environment", "file"])
def test_an_empty_value_is_no_value(loaded: Loaded, where: str, name: str) -> None:
    empty = loaded({name: ""}) if where == "environment" else loaded({}, file=f"{name}=\n")
    field = name.removeprefix("NOTIFY_").lower()
    assert getattr(empty, field) == Settings.model_fields[field].default


@pytest.mark.parametrize("missing", ["NOTIFY_MAIL_FROM", "NOTIFY_PUBLIC_URL", "NOTIFY_SECRET_KEY"])
def test_a_relay_without_what_letters_need_is_refused(problems: Problems, missing: str) -> None:
    (problem,) = problems({name: value for name, value in MAIL.items() if name != missing})
    assert problem.startswith(missing)


def test_a_relay_with_all_that_letters_need_is_accepted(loaded: Loaded) -> None:
    assert loaded(MAIL).mail_from == "notify@example.com"


def test_what_letters_need_may_be_there_before_the_relay(loaded: Loaded) -> None:
    loaded({name: value for name, value in MAIL.items() if name != "NOTIFY_SMTP_URL"})


def test_peoples_tokens_are_trusted_in_one_way_only(problems: Problems) -> None:
    (problem,) = problems({"NOTIFY_JWT_SECRET": LONG, "NOTIFY_JWKS_URL": "https://id.example.com/keys"})
    assert "NOTIFY_JWT_SECRET" in problem
    assert "NOTIFY_JWKS_URL" in problem
    assert LONG not in problem


def test_a_file_is_read_and_the_environment_wins(loaded: Loaded) -> None:
    file = "NOTIFY_API_PORT=8081\nNOTIFY_FLOWER_PORT=5556\nUNRELATED=x\n"
    settings = loaded({"NOTIFY_API_PORT": "8082"}, file=file)
    assert (settings.api_port, settings.flower_port) == (8082, 5556)


def test_the_address_of_the_service_ends_without_a_slash(loaded: Loaded) -> None:
    assert loaded({"NOTIFY_PUBLIC_URL": "https://notify.example.com/"}).public_url == "https://notify.example.com"


@pytest.mark.parametrize("scheme", ["postgresql", "postgres"])
def test_a_database_is_named_the_way_postgresql_names_it(loaded: Loaded, scheme: str) -> None:
    assert loaded({"NOTIFY_DATABASE_URL": f"{scheme}://db/notify"}).database_url is not None


def test_every_setting_says_what_it_is_for() -> None:
    silent = [name for name, field in Settings.model_fields.items() if not field.description]
    assert silent == []
