"""Settings: environment variables ``NOTIFY_*`` (or a ``.env`` file), read once into one frozen object."""

from collections.abc import Iterable
from datetime import timedelta
from difflib import get_close_matches
from os import environ
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from notify.domain.errors import InvalidSettings
from notify.domain.rates import stated
from notify.domain.retention import Kept

SHORTEST_SECRET = 32
PREFIX = "NOTIFY_"
USED_BY_TESTS = {"NOTIFY_TEST_DATABASE_URL", "NOTIFY_TEST_BROKER_URL", "NOTIFY_TEST_CRASH_AT"}
SECRET = {"database_url", "broker_url", "smtp_url", "smtp_fallback_urls", "secret_key", "jwt_secret"}

Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseSettings):
    """
    Everything a deployment can set. None means *not configured*.

    Durations carry their unit in the name of the variable.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=".env", env_ignore_empty=True, frozen=True, extra="ignore"
    )

    database_url: SecretStr | None = Field(
        default=None, description="postgresql://…; none: the embedded stack in NOTIFY_DATA_DIR."
    )
    broker_url: SecretStr | None = Field(
        default=None,
        description="redis://… or amqp://…; none: no doorbells, work is found by sweeping.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="smtp://user:password@host:587 or smtps://…; ?starttls=required|never. None: nothing is claimed.",
    )
    smtp_fallback_urls: SecretStr | None = Field(
        default=None,
        description="Relays that take letters while those before them do not, by priority, with space between them.",
    )
    domain_rates: str | None = Field(
        default=None,
        description="Letters a second, over all workers, to these domains: example.com=5 *.example.org=0.5.",
    )
    mail_from: str | None = Field(default=None, description="Address that letters come from.")
    mail_from_name: str = Field(default="Review", description="The service's name in From: 'Dana via Review'.")
    bounce_address: str | None = Field(default=None, description="Envelope sender; none: NOTIFY_MAIL_FROM.")
    dkim_selector: str | None = Field(
        default=None, description="Signs letters: receivers find the key at SELECTOR._domainkey.DOMAIN; none: unsigned."
    )
    dkim_key_file: Path | None = Field(default=None, description="File with the RSA key that signs, as PEM.")
    dkim_domain: str | None = Field(default=None, description="The domain that signs; none: that of NOTIFY_MAIL_FROM.")
    public_url: str | None = Field(default=None, description="Where people reach the API, for links in letters.")
    secret_key: SecretStr | None = Field(
        default=None, description="Signs the links in letters; at least 32 characters."
    )
    jwt_secret: SecretStr | None = Field(
        default=None, description="HS256 secret of people's tokens; at least 32 characters."
    )
    jwks_url: str | None = Field(
        default=None, description="Where people's token keys are published, instead of a secret."
    )
    jwt_audience: str | None = Field(
        default=None, description="What people's tokens must name as their audience; none: they must name none."
    )
    templates_dir: Path | None = Field(default=None, description="Folder whose files override those of templates/.")
    data_dir: Path = Field(default=Path(".notify"), description="Folder of the embedded stack.")

    lease_seconds: float = Field(default=60, ge=1, le=3600, description="How long a claim holds without being renewed.")
    sweep_seconds: float = Field(default=1.5, gt=0, le=60, description="How often an idle worker looks for due rows.")
    drain_seconds: float = Field(
        default=20, gt=0, le=600, description="How long one task drains before it rings again."
    )
    together_seconds: float = Field(
        default=180,
        ge=0,
        le=86400,
        description="So long after a letter further ones to the person about the change list wait to leave as one.",
    )
    claim_size: int = Field(default=200, ge=1, le=1000, description="Rows in one claim.")
    smtp_sessions: int = Field(
        default=8,
        ge=1,
        le=256,
        description="SMTP sessions of one worker process to a relay whose URL does not say ?sessions=.",
    )
    smtp_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=3600,
        description="One limit for every wait of the SMTP conversation; none: those of RFC 5321 §4.5.3.2.",
    )
    keep_sent_days: int = Field(
        default=14, ge=1, le=3650, description="How long sent and skipped letters and their events are kept."
    )
    keep_dead_days: int = Field(
        default=90, ge=1, le=3650, description="How long dead, expired and cancelled letters, and counts, are kept."
    )
    keep_bodies_days: int | None = Field(
        default=None,
        ge=1,
        le=3650,
        description="How long the words of events are kept once no letter waits for them; none: as long as the event.",
    )
    worker_concurrency: int = Field(default=2, ge=1, le=256, description="Processes of the embedded worker.")
    worker_health_port: Port | None = Field(
        default=None, description="Port on which a worker answers GET /livez, at every address; none: it does not."
    )

    api_host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    api_port: Port = Field(default=8000, description="Port the API listens on.")
    api_calls_per_minute: int = Field(
        default=6000, ge=1, description="Calls of one caller that one API process answers in a minute."
    )
    flower_port: Port = Field(default=5555, description="Port of the embedded Flower.")
    catcher_port: Port = Field(default=1025, description="Port of the embedded mail catcher.")
    inbox_port: Port = Field(default=8025, description="Port of the embedded web inbox.")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    @field_validator("database_url")
    @classmethod
    def _postgresql(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            url = value.get_secret_value()
            if not url.startswith(("postgresql://", "postgres://")):
                msg = "expected postgresql://user:password@host:port/database"
                raise ValueError(msg)
        return value

    @field_validator("broker_url")
    @classmethod
    def _broker(cls, value: SecretStr | None) -> SecretStr | None:
        known = ("redis://", "rediss://", "redis+socket://", "sentinel://", "amqp://", "amqps://")
        if value is not None and not value.get_secret_value().startswith(known):
            msg = f"expected a URL that begins with one of {', '.join(known)}"
            raise ValueError(msg)
        return value

    @field_validator("secret_key", "jwt_secret")
    @classmethod
    def _long_enough(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and len(value.get_secret_value()) < SHORTEST_SECRET:
            msg = f"expected at least {SHORTEST_SECRET} characters"
            raise ValueError(msg)
        return value

    @field_validator("public_url", "jwks_url")
    @classmethod
    def _web_address(cls, value: str | None) -> str | None:
        if value is not None and not (value.startswith(("http://", "https://")) and value.isascii()):
            msg = "expected http://… or https://… in ASCII"
            raise ValueError(msg)
        return value.rstrip("/") if value else value

    @field_validator("domain_rates")
    @classmethod
    def _rates(cls, value: str | None) -> str | None:
        stated(value or "")
        return value

    @field_validator("mail_from", "bounce_address")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        local, _, domain = (value or "x@x").rpartition("@")
        if not local or not domain or any(c.isspace() or c in "<>,;" for c in value or ""):
            msg = "expected a bare address such as notify@example.com"
            raise ValueError(msg)
        return value

    @property
    def lease(self) -> timedelta:
        """How long a claim holds without being renewed."""
        return timedelta(seconds=self.lease_seconds)

    @property
    def kept(self) -> Kept:
        """How long finished rows stay."""
        bodies = None if self.keep_bodies_days is None else timedelta(days=self.keep_bodies_days)
        return Kept(sent=timedelta(days=self.keep_sent_days), dead=timedelta(days=self.keep_dead_days), bodies=bodies)


def load(*, env_file: Path | None = Path(".env")) -> Settings:
    """
    The settings of this process, from its environment and *env_file* (the environment wins).

    Raises:
        InvalidSettings: A name is unknown, a value is senseless, or one that is needed is missing.
    """
    filed = dotenv_values(env_file) if env_file and env_file.is_file() else {}
    refuse_unknown([*environ, *filed])
    try:
        settings = Settings(_env_file=env_file)
    except ValidationError as error:
        raise InvalidSettings(*(_sentence(one) for one in error.errors())) from None
    refuse_half_configured(settings)
    return settings


def refuse_unknown(names: Iterable[str]) -> None:
    """
    Refuse names that look like settings and are none; a typo must not be silence.

    Raises:
        InvalidSettings: Naming the nearest known setting.
    """
    known = {name.upper() for name in Settings.model_fields}
    ours = {name.removeprefix(PREFIX) for name in names if name.startswith(PREFIX) and name not in USED_BY_TESTS}
    problems = []
    for name in sorted(ours - known):
        nearest = get_close_matches(name, known, n=1, cutoff=0.5)
        hint = f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""
        problems.append(f"{PREFIX}{name} is not a setting of notify{hint}")
    if problems:
        raise InvalidSettings(*problems)


def refuse_half_configured(settings: Settings) -> None:
    """
    Refuse a relay without what letters need besides, half a signature, and two ways to trust people's tokens at once.

    Raises:
        InvalidSettings: Naming each variable that is missing or too many, and why.
    """
    if settings.jwt_secret is not None and settings.jwks_url is not None:
        raise InvalidSettings("NOTIFY_JWT_SECRET and NOTIFY_JWKS_URL are both set; expected one of them")
    if (settings.dkim_selector is None) != (settings.dkim_key_file is None):
        raise InvalidSettings("of NOTIFY_DKIM_SELECTOR and NOTIFY_DKIM_KEY_FILE one is set; expected both or none")
    if settings.smtp_url is None:
        if settings.smtp_fallback_urls is not None:
            raise InvalidSettings(
                "NOTIFY_SMTP_FALLBACK_URLS is set and NOTIFY_SMTP_URL is not; expected the first there"
            )
        return
    needed = {
        "NOTIFY_MAIL_FROM": (settings.mail_from, "the address letters come from"),
        "NOTIFY_PUBLIC_URL": (settings.public_url, "the address that links in letters point to"),
        "NOTIFY_SECRET_KEY": (settings.secret_key, "at least 32 characters that sign those links"),
    }
    missing = [
        f"{name} is not set, but NOTIFY_SMTP_URL is; expected {expected}"
        for name, (value, expected) in needed.items()
        if value is None
    ]
    if missing:
        raise InvalidSettings(*missing)


def _sentence(error: ErrorDetails) -> str:
    """One validation error as: the variable, its value unless secret, what was expected."""
    field = str(error["loc"][0])
    shown = "(not shown)" if field in SECRET else repr(error["input"])
    return f"{PREFIX}{field.upper()} is {shown}: {error['msg'].removeprefix('Value error, ')}"
