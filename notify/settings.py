"""Settings: environment variables ``NOTIFY_*`` (or a ``.env`` file), read once into one frozen object."""

import re
from collections.abc import Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from io import StringIO
from os import environ
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError, field_validator
from pydantic_core import ErrorDetails

from notify.brokers import broker
from notify.dns_names import NotADomain, ascii_domain
from notify.domain.errors import InvalidSettings
from notify.domain.grammar import is_address
from notify.domain.rates import stated
from notify.domain.retention import Kept
from notify.store.urls import with_our_driver

SHORTEST_SECRET = 32
PREFIX = "NOTIFY_"
USED_BY_TESTS = {"NOTIFY_TEST_DATABASE_URL", "NOTIFY_TEST_BROKER_URL", "NOTIFY_TEST_CRASH_AT"}
# What systemd and Kubernetes set: for a service of Type=notify, and beside Services named notify or notify-….
# Sources: sd_notify(3); "Discovering services" in Kubernetes' documentation of Services.
THEIRS = re.compile(
    r"NOTIFY_SOCKET=|NOTIFY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)="
    r"|NOTIFY_(\w+_)?PORT=(tcp|udp|sctp)://"
)
# Labels with dots between them (RFC 6376 §3.1); some DNS services put an underscore into theirs.
SELECTOR = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
USERINFO = re.compile(r"://[^/@\s]*@")
SECRET = {"database_url", "broker_url", "smtp_url", "smtp_fallback_urls", "secret_keys", "jwt_secret"}


def _postgresql(value: SecretStr) -> SecretStr:
    with_our_driver(value.get_secret_value())
    return value


def _broker(value: SecretStr) -> SecretStr:
    broker(value.get_secret_value())
    return value


def _long_enough(value: SecretStr) -> SecretStr:
    if len(value.get_secret_value()) < SHORTEST_SECRET:
        msg = f"expected at least {SHORTEST_SECRET} characters"
        raise ValueError(msg)
    return value


def _each_long_enough(value: SecretStr) -> SecretStr:
    if min(map(len, value.get_secret_value().split()), default=0) < SHORTEST_SECRET:
        msg = f"expected keys of at least {SHORTEST_SECRET} characters with space between them"
        raise ValueError(msg)
    return value


def _ascii(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except NotADomain:
        msg = "expected a domain such as mail.example.com (IDNA 2008)"
        raise ValueError(msg) from None


def _web_address(value: str) -> str:
    """With its host as DNS spells it."""
    parts = urlsplit(value)
    if not parts.netloc.isascii():
        user, at, place = parts.netloc.rpartition("@")
        host, colon, port = place.partition(":")
        value = parts._replace(netloc=f"{user}{at}{_ascii(host)}{colon}{port}").geturl()
    if not (value.startswith(("http://", "https://")) and value.isascii()):
        msg = "expected http://… or https://…, in ASCII behind the host"
        raise ValueError(msg)
    return value


def _begins_links(value: str) -> str:
    if not {"?", "#"}.isdisjoint(value):
        msg = "expected an address to which paths can be added, without ? and #"
        raise ValueError(msg)
    return value.rstrip("/")


def _rates(value: str) -> str:
    """Each with its domain, as in ``*.example.org=0.5``, as DNS spells it."""
    rates = []
    for rate in value.split():
        name, equals, number = rate.partition("=")
        stars, dot, domain = name.rpartition("*.")
        rates.append(rate if rate.isascii() else f"{stars}{dot}{_ascii(domain)}{equals}{number}")
    stated(" ".join(rates))
    return " ".join(rates)


def _address(value: str) -> str:
    if not is_address(value):
        msg = "expected a bare address such as notify@example.com"
        raise ValueError(msg)
    local, _, domain = value.rpartition("@")
    return f"{local}@{_ascii(domain)}"


def _selectors(value: str) -> str:
    names = value.lower().split()
    if not all(SELECTOR.fullmatch(name) for name in names) or len(set(names)) < len(names):
        msg = "expected names such as mail-2026, letters, digits, hyphens and dots, each once"
        raise ValueError(msg)
    return value


Domain = Annotated[str, AfterValidator(_ascii)]
Address = Annotated[str, AfterValidator(_address)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """
    Everything a deployment can set. None means *not configured*.

    Durations carry their unit in the name of the variable, which is that of the field in capitals behind ``NOTIFY_``.
    """

    model_config = ConfigDict(frozen=True)

    database_url: Annotated[SecretStr, AfterValidator(_postgresql)] | None = Field(
        default=None, description="postgresql://…; none: the embedded stack in NOTIFY_DATA_DIR."
    )
    broker_url: Annotated[SecretStr, AfterValidator(_broker)] | None = Field(
        default=None,
        description="redis://…, sentinel://…?master_name=… or amqp://…. The API, emit and commands do without: nobody "
        "rings then, and workers find work by sweeping. Celery's worker, beat and Flower need one; it may be away.",
    )
    smtp_url: SecretStr | None = Field(
        default=None,
        description="smtp://user:password@host:587 or smtps://…; ?starttls=required|never. None: nothing is claimed.",
    )
    smtp_fallback_urls: SecretStr | None = Field(
        default=None,
        description="Relays that take letters while those before them do not, by priority, with space between them.",
    )
    domain_rates: Annotated[str, AfterValidator(_rates)] | None = Field(
        default=None,
        description="Letters a second, over all workers, to these domains: example.com=5 *.example.org=0.5.",
    )
    ehlo_name: Domain | None = Field(
        default=None,
        description="Our name in EHLO; none: the host of NOTIFY_PUBLIC_URL, else the domain of NOTIFY_MAIL_FROM.",
    )
    mail_from: Address | None = Field(default=None, description="Address that letters come from.")
    mail_from_name: str = Field(default="Review", description="The service's name in From: 'Dana via Review'.")
    bounce_address: Address | None = Field(default=None, description="Envelope sender; none: NOTIFY_MAIL_FROM.")
    dkim_selector: Annotated[str, AfterValidator(_selectors)] | None = Field(
        default=None,
        description="Signs emails: receivers find each key at SELECTOR._domainkey.DOMAIN; two with space between them."
        " None: unsigned.",
    )
    dkim_key_file: str | None = Field(
        default=None,
        description="File with the RSA or Ed25519 key of each selector, as PEM, in the same order, with space between.",
    )
    dkim_domain: Domain | None = Field(
        default=None, description="The domain that signs; none: that of NOTIFY_MAIL_FROM."
    )
    public_url: Annotated[WebAddress, AfterValidator(_begins_links)] | None = Field(
        default=None, description="Where people reach the API, for links in letters."
    )
    secret_keys: Annotated[SecretStr, AfterValidator(_each_long_enough)] | None = Field(
        default=None,
        description="Sign the links in letters, newest first, with space between them; at least 32 characters each.",
    )
    jwt_secret: Annotated[SecretStr, AfterValidator(_long_enough)] | None = Field(
        default=None, description="HS256 secret of people's tokens; at least 32 characters."
    )
    jwks_url: WebAddress | None = Field(
        default=None, description="Where people's token keys are published, instead of a secret."
    )
    jwt_claim: str = Field(default="sub", description="The claim of people's tokens that holds the username.")
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
    bundle_seconds: float = Field(
        default=180,
        ge=0,
        le=86400,
        description="Later notifications to the same person about the same topic are bundled for this many seconds.",
    )
    claim_size: int = Field(default=200, ge=1, le=1000, description="Rows in one claim.")
    record_rows: int = Field(
        default=50,
        ge=1,
        le=1000,
        description="Outcomes in one record; a killed process repeats no more emails than these and one a session.",
    )
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
    worker_remote_control: bool = Field(
        default=False,
        description="Lets commands over the broker change a worker: end, resize, revoke, limit. False: they only look.",
    )
    worker_health_port: Port | None = Field(
        default=None, description="Port on which a worker answers GET /livez; none: it does not."
    )
    worker_health_host: str | None = Field(
        default=None, description="Address at which it answers there; none: every address."
    )

    api_host: str = Field(default="127.0.0.1", description="Address the API listens on.")
    api_port: Port = Field(default=8000, description="Port the API listens on.")
    api_hosts: str | None = Field(
        default=None,
        description="Names by which the API may be called, besides addresses and names without a dot; none: any.",
    )
    api_calls_per_minute: int = Field(
        default=6000, ge=1, description="Calls of one caller that one API process answers in a minute."
    )
    api_client_seconds: float = Field(
        default=20,
        gt=0,
        le=600,
        description="How long the API waits for a caller: for the head of a call, for its body, to take the answer.",
    )
    flower_port: Port = Field(default=5555, description="Port of the embedded Flower.")
    catcher_port: Port = Field(default=1025, description="Port of the embedded mail catcher.")
    inbox_port: Port = Field(default=8025, description="Port of the embedded web inbox.")
    log_format: Literal["auto", "console", "json"] = Field(
        default="auto", description="auto: console on a terminal, else json."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least level logged.")

    @field_validator("*", mode="before")
    @classmethod
    def _text(cls, value: object) -> object:
        if isinstance(value, str) and _printable(value) != value:
            msg = "expected text in UTF-8"
            raise ValueError(msg)
        return value

    @property
    def lease(self) -> timedelta:
        return timedelta(seconds=self.lease_seconds)

    @property
    def kept(self) -> Kept:
        bodies = None if self.keep_bodies_days is None else timedelta(days=self.keep_bodies_days)
        return Kept(sent=timedelta(days=self.keep_sent_days), dead=timedelta(days=self.keep_dead_days), bodies=bodies)


VARIABLES: Mapping[str, str] = MappingProxyType({PREFIX + field.upper(): field for field in Settings.model_fields})
"""The fields by their environment variables."""


def load(*, env_file: Path | None = Path(".env"), completed_later: bool = False) -> Settings:
    """
    The settings of this process, from its environment and *env_file* (the environment wins).

    Args:
        completed_later: What emails need besides a relay may be missing; the embedded stack fills it in.
    """
    sources = [_ours(_filed(env_file) if env_file else {}), _ours(environ)]
    refuse_unknown(name for source in sources for name in source)
    given = {VARIABLES[name]: value for source in sources for name, value in source.items() if value}
    try:
        settings = Settings.model_validate(given)
    except ValidationError as error:
        raise InvalidSettings(*(_sentence(one) for one in error.errors())) from None
    refuse_half_configured(settings)
    if not completed_later:
        refuse_incomplete(settings)
    return settings


def load_or_exit() -> Settings:
    """The settings of a process that is started by another program's command, which would show a trace instead."""
    try:
        return load()
    except InvalidSettings as error:
        raise SystemExit(f"notify: {error}") from None


def refuse_unknown(names: Iterable[str]) -> None:
    """Refuse names that look like settings and are none; a typo must not be silence."""
    known = [name.removeprefix(PREFIX) for name in VARIABLES]
    problems = []
    for name in sorted(set(names) - VARIABLES.keys()):
        nearest = get_close_matches(name.upper().removeprefix(PREFIX), known, n=1, cutoff=0.5)
        hint = f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""
        problems.append(f"{_printable(name)} is not a setting of notify{hint}")
    if problems:
        raise InvalidSettings(*problems)


def refuse_half_configured(settings: Settings) -> None:
    """Refuse fallbacks without a first relay, half a signature, and two ways to trust people's tokens at once."""
    if settings.jwt_secret is not None and settings.jwks_url is not None:
        raise InvalidSettings("NOTIFY_JWT_SECRET and NOTIFY_JWKS_URL are both set; expected one of them")
    selectors, key_files = (len((one or "").split()) for one in (settings.dkim_selector, settings.dkim_key_file))
    if selectors != key_files:
        raise InvalidSettings(
            f"NOTIFY_DKIM_SELECTOR names {selectors} and NOTIFY_DKIM_KEY_FILE {key_files};"
            " expected a file for each selector"
        )
    if settings.smtp_url is None and settings.smtp_fallback_urls is not None:
        raise InvalidSettings("NOTIFY_SMTP_FALLBACK_URLS is set and NOTIFY_SMTP_URL is not; expected the first there")


def refuse_incomplete(settings: Settings) -> None:
    """Refuse a relay without what emails need besides."""
    if settings.smtp_url is None:
        return
    needed = {
        "NOTIFY_MAIL_FROM": (settings.mail_from, "the address letters come from"),
        "NOTIFY_PUBLIC_URL": (settings.public_url, "the address that links in letters point to"),
        "NOTIFY_SECRET_KEYS": (settings.secret_keys, "keys of at least 32 characters that sign those links"),
    }
    missing = [
        f"{name} is not set, but NOTIFY_SMTP_URL is; expected {expected}"
        for name, (value, expected) in needed.items()
        if value is None
    ]
    if missing:
        raise InvalidSettings(*missing)


def _filed(path: Path) -> Mapping[str, str | None]:
    """What the file says; a UTF-8 byte order mark is passed over, and so is a virtual environment of this name."""
    if not (path.exists() or path.is_symlink()) or (path / "pyvenv.cfg").exists():
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}; expected a text file in UTF-8") from None
    if "\0" in text:
        raise InvalidSettings(f"{path} holds NUL bytes, as UTF-16 does; expected a text file in UTF-8")
    return dotenv_values(stream=StringIO(text))


def _ours(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """What is meant for notify: what begins as a setting does and is not others', and a setting in the wrong case."""
    return {
        name: value
        for name, value in variables.items()
        if (name.startswith(PREFIX) or name.upper() in VARIABLES)
        and name not in USED_BY_TESTS
        and not THEIRS.match(f"{name}={value}")
    }


def _printable(words: str) -> str:
    """The words with what is no text in them, such as undecodable bytes of the environment, spelled out."""
    return words.encode("utf-8", "backslashreplace").decode("utf-8")


def _sentence(error: ErrorDetails) -> str:
    """One validation error as: the variable, its value unless secret, what was expected."""
    field = str(error["loc"][0])
    shown = "(not shown)" if field in SECRET else USERINFO.sub("://(not shown)@", repr(error["input"]))
    return f"{PREFIX}{field.upper()} is {shown}: {error['msg'].removeprefix('Value error, ')}"
