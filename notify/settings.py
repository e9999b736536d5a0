"""Settings: environment variables ``NOTIFY_*`` (or a ``.env`` file), read once into one frozen object."""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import timedelta
from difflib import get_close_matches
from io import StringIO
from ipaddress import IPv4Network, IPv6Network, ip_network
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
from notify.domain.rates import parse_rates
from notify.domain.retention import RetentionPeriods
from notify.store.urls import with_our_driver

MIN_SECRET_LENGTH = 32
MAX_USERNAME = 200
PREFIX = "NOTIFY_"
# Variables set by systemd (Type=notify) and by Kubernetes for Services named notify or notify-….
# Sources: sd_notify(3); "Discovering services" in Kubernetes' documentation of Services.
THEIRS = re.compile(
    r"NOTIFY_SOCKET=|NOTIFY_(\w+_)?(SERVICE_HOST|SERVICE_PORT(_\w+)?|PORT_\d+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)="
    r"|NOTIFY_(\w+_)?PORT=(tcp|udp|sctp)://"
)
# Labels separated by dots (RFC 6376 §3.1); some DNS services use underscores.
SELECTOR = re.compile(r"[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?(\.[a-z0-9_]([a-z0-9_-]*[a-z0-9_])?)*")
USERINFO = re.compile(r"://[^/@\s]*@")
SECRET = {"database_url", "broker_url", "smtp_url", "smtp_fallback_urls", "secret_keys", "jwt_secret"}


def _secret(check: Callable[[str], object]) -> AfterValidator:
    """Validates a secret with *check*, which raises ValueError."""

    def checked(value: SecretStr) -> SecretStr:
        check(value.get_secret_value())
        return value

    return AfterValidator(checked)


def _long(secret: str) -> None:
    if len(secret) < MIN_SECRET_LENGTH:
        msg = f"expected at least {MIN_SECRET_LENGTH} characters"
        raise ValueError(msg)


def _long_keys(secrets: str) -> None:
    for key in secrets.split() or [""]:
        _long(key)


def _ascii(domain: str) -> str:
    try:
        return ascii_domain(domain)
    except NotADomain:
        msg = "expected a domain such as mail.example.com (IDNA 2008)"
        raise ValueError(msg) from None


def _web_address(value: str) -> str:
    """The URL with its host in ASCII."""
    parts = urlsplit(value)
    if not parts.netloc.isascii():
        user, at, host_and_port = parts.netloc.rpartition("@")
        host, colon, port = host_and_port.partition(":")
        value = parts._replace(netloc=f"{user}{at}{_ascii(host)}{colon}{port}").geturl()
    if not (value.startswith(("http://", "https://")) and value.isascii()):
        msg = "expected http://… or https://…, in ASCII after the host"
        raise ValueError(msg)
    return value


def _begins_links(value: str) -> str:
    if not {"?", "#"}.isdisjoint(value):
        msg = "expected a URL without ? and #, because paths are appended to it"
        raise ValueError(msg)
    return value.rstrip("/")


def _rates(value: str) -> str:
    """The rates with their domains in ASCII."""
    rates = []
    for rate in value.split():
        name, equals, number = rate.partition("=")
        stars, dot, domain = name.rpartition("*.")
        rates.append(rate if rate.isascii() else f"{stars}{dot}{_ascii(domain)}{equals}{number}")
    parse_rates(" ".join(rates))
    return " ".join(rates)


def _address(value: str) -> str:
    if not is_address(value):
        msg = "expected a bare address such as notify@example.com"
        raise ValueError(msg)
    local, _, domain = value.rpartition("@")
    return f"{local}@{_ascii(domain)}"


def _networks(value: str) -> str:
    try:
        return " ".join(str(ip_network(one)) for one in value.replace(",", " ").split())
    except ValueError as error:
        msg = f"{error}; expected networks such as 10.0.0.0/8 or fd00::/8, separated by spaces or commas"
        raise ValueError(msg) from None


def _selectors(value: str) -> str:
    names = value.lower().split()
    if not all(SELECTOR.fullmatch(name) for name in names) or len(set(names)) < len(names):
        msg = "expected different names such as mail-2026, of letters, digits, hyphens and dots"
        raise ValueError(msg)
    return value


def _usernames(value: str) -> str:
    names = value.replace(",", " ").split()
    if not names or len(set(names)) < len(names) or any(len(name) > MAX_USERNAME for name in names):
        msg = f"expected different usernames of at most {MAX_USERNAME} characters, separated by spaces or commas"
        raise ValueError(msg)
    return " ".join(names)


Domain = Annotated[str, AfterValidator(_ascii)]
Address = Annotated[str, AfterValidator(_address)]
WebAddress = Annotated[str, AfterValidator(_web_address)]
Port = Annotated[int, Field(ge=1, le=65535)]


class Settings(BaseModel):
    """All settings. None means *not configured*. The variable is ``NOTIFY_`` and the field's name in capitals."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)

    database_url: Annotated[SecretStr, _secret(with_our_driver)] | None = None
    """postgresql://…; none: the embedded stack."""
    broker_url: Annotated[SecretStr, _secret(broker)] | None = None
    """redis://…, sentinel://…?master_name=… or amqp://…. Workers, beat and Flower need one; it may be down."""
    smtp_url: SecretStr | None = None
    """smtp://user:password@host:587 or smtps://…. None: nothing is claimed."""
    smtp_fallback_urls: SecretStr | None = None
    """Relays to use while those before them take no emails, separated by spaces."""
    domain_rates: Annotated[str, AfterValidator(_rates)] | None = None
    """Most emails per second to these domains, over all workers: example.com=5 *.example.org=0.5."""
    ehlo_name: Domain | None = None
    """Our name in EHLO; none: the host of NOTIFY_PUBLIC_URL, else the domain of NOTIFY_MAIL_FROM."""
    mail_from: Address | None = None
    """Address that emails come from."""
    mail_from_name: str = "Review"
    """Name in From: 'Dana via Review'."""
    bounce_address: Address | None = None
    """Envelope sender; none: NOTIFY_MAIL_FROM."""
    dkim_selector: Annotated[str, AfterValidator(_selectors)] | None = None
    """Signs emails; the key is published at SELECTOR._domainkey.DOMAIN. Several: separated by spaces."""
    dkim_key_file: str | None = None
    """PEM file of each selector, RSA or Ed25519, in the same order."""
    dkim_domain: Domain | None = None
    """Domain that signs; none: that of NOTIFY_MAIL_FROM."""
    public_url: Annotated[WebAddress, AfterValidator(_begins_links)] | None = None
    """Where people reach the API, for links in emails."""
    secret_keys: Annotated[SecretStr, _secret(_long_keys)] | None = None
    """Keys that sign links in emails, newest first, separated by spaces; at least 32 characters each."""
    jwt_secret: Annotated[SecretStr, _secret(_long)] | None = None
    """HS256 secret of people's tokens; at least 32 characters."""
    jwks_url: WebAddress | None = None
    """Where people's token keys are published, instead of a secret."""
    jwt_claim: str = "sub"
    """Claim of people's tokens that holds the username."""
    jwt_audience: str | None = None
    """Audience that people's tokens must name; none: they must name none."""
    templates_dir: Path | None = None
    """Folder of files that override templates/."""
    data_dir: Path = Path(".notify")
    """Folder of the embedded stack, and of copies of the repositories that queues read."""

    lease_seconds: float = Field(default=60, ge=1, le=3600)
    """Length of a lease."""
    sweep_seconds: float = Field(default=1.5, gt=0, le=60)
    """How often an idle worker looks for due rows."""
    drain_seconds: float = Field(default=20, gt=0, le=600)
    """How long one task drains before it rings again."""
    bundle_seconds: float = Field(default=180, ge=0, le=86400)
    """How long later notifications to a person about a topic are bundled."""
    claim_size: int = Field(default=200, ge=1, le=1000)
    """Rows in one claim."""
    record_rows: int = Field(default=50, ge=1, le=1000)
    """Outcomes in one record; a killed process repeats at most this many emails and one per session."""
    smtp_sessions: int = Field(default=8, ge=1, le=256)
    """Sessions of a worker process to a relay without ?sessions=."""
    smtp_timeout_seconds: float | None = Field(default=None, gt=0, le=3600)
    """Limit of every wait for the relay; none: those of RFC 5321 §4.5.3.2."""
    keep_sent_days: int = Field(default=14, ge=1, le=3650)
    """How long sent, skipped and withdrawn emails, their events, and webhook calls are kept."""
    keep_dead_days: int = Field(default=90, ge=1, le=3650)
    """How long dead, expired and cancelled emails, dead webhook calls, and counts are kept."""
    keep_bodies_days: int | None = Field(default=None, ge=1, le=3650)
    """How long the text of events is kept once no email waits for it; none: as long as the event."""
    keep_deliveries_days: int = Field(default=14, ge=1, le=3650)
    """How long webhook deliveries that are done or ignored are kept; dead ones as long as dead emails."""
    keep_statuses_days: int = Field(default=14, ge=1, le=3650)
    """How long statuses that are shown or skipped are kept; dead ones as long as dead emails."""
    keep_requests_days: int = Field(default=90, ge=1, le=3650)
    """How long requests of queues are kept, with builds and facts; the newest and the last green one stay."""
    forges_file: Path | None = None
    """TOML file that names forges and queues; none: no webhook is taken, no forge is read."""
    reconcile_seconds: float = Field(default=300, gt=0, le=86_400)
    """How often each repository of a forge is read."""
    poll_seconds: float = Field(default=60, gt=0, le=86_400)
    """How often each queue's ref is looked at; webhooks make it sooner."""
    webhook_networks: Annotated[str, AfterValidator(_networks)] | None = None
    """Private networks whose addresses webhooks may call, also without TLS; none: only public ones, with TLS."""
    operators: Annotated[str, AfterValidator(_usernames)] | None = None
    """Usernames to tell of what notify cannot do, such as read a forge; separated by spaces or commas."""
    worker_concurrency: int = Field(default=2, ge=1, le=256)
    """Processes of the embedded worker."""
    worker_remote_control: bool = False
    """Whether commands over the broker may end, resize, revoke and limit. False: they only read."""
    worker_health_port: Port | None = None
    """Port on which a worker answers GET /livez; none: it does not."""
    worker_health_host: str | None = None
    """Its address there; none: every address."""

    api_host: str = "127.0.0.1"
    """Address of the API."""
    api_port: Port = 8000
    """Port of the API."""
    api_hosts: str | None = None
    """Host names the API answers to, besides addresses and names without a dot; none: any."""
    api_calls_per_minute: int = Field(default=6000, ge=1)
    """Calls of one caller that an API process answers in a minute."""
    api_client_seconds: float = Field(default=20, gt=0, le=600)
    """How long a caller may take to send headers, to send a body, and to read the answer."""
    grpc_host: str = "127.0.0.1"
    """Address of the gRPC server."""
    grpc_port: Port = 50051
    """Port of the gRPC server."""
    flower_port: Port = 5555
    """Port of the embedded Flower."""
    catcher_port: Port = 1025
    """Port of the embedded mail catcher."""
    inbox_port: Port = 8025
    """Port of the embedded web inbox."""
    forge_port: Port = 8030
    """Port of the embedded forge, which runs without NOTIFY_FORGES_FILE."""
    log_format: Literal["auto", "console", "json"] = "auto"
    """auto: console on a terminal, else json."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Minimum log level."""

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
    def signing_keys(self) -> tuple[str, ...]:
        """NOTIFY_SECRET_KEYS, newest first; empty: none are configured."""
        return tuple(self.secret_keys.get_secret_value().split()) if self.secret_keys else ()

    @property
    def private_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks whose private addresses webhooks may call."""
        return tuple(map(ip_network, (self.webhook_networks or "").split()))

    @property
    def operator_names(self) -> tuple[str, ...]:
        """The people who operate notify; empty: nobody is configured."""
        return tuple((self.operators or "").split())

    @property
    def retention(self) -> RetentionPeriods:
        bodies = None if self.keep_bodies_days is None else timedelta(days=self.keep_bodies_days)
        return RetentionPeriods(
            sent=timedelta(days=self.keep_sent_days),
            dead=timedelta(days=self.keep_dead_days),
            bodies=bodies,
            deliveries=timedelta(days=self.keep_deliveries_days),
            statuses=timedelta(days=self.keep_statuses_days),
            requests=timedelta(days=self.keep_requests_days),
        )


VARIABLES: Mapping[str, str] = MappingProxyType({PREFIX + field.upper(): field for field in Settings.model_fields})


def load(
    *,
    env_file: Path | None = Path(".env"),
    environment: Mapping[str, str] = environ,
    completed_later: bool = False,
) -> Settings:
    """
    The settings of this process, from its environment and *env_file* (the environment wins).

    Args:
        completed_later: Allow settings that emails need to be missing; the embedded stack fills them in.
    """
    sources = [_ours(_read(env_file) if env_file else {}), _ours(environment)]
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
    """For processes that another program starts, such as Celery, which would print a traceback."""
    try:
        return load()
    except InvalidSettings as error:
        raise SystemExit(f"notify: {error}") from None


def refuse_unknown(names: Iterable[str]) -> None:
    """Refuse names that look like settings but are not, because a typo must not be ignored."""
    known = [name.removeprefix(PREFIX) for name in VARIABLES]
    problems = []
    for name in sorted(set(names) - VARIABLES.keys()):
        nearest = get_close_matches(name.upper().removeprefix(PREFIX), known, n=1, cutoff=0.5)
        hint = f"; did you mean {PREFIX}{nearest[0]}?" if nearest else ""
        problems.append(f"{_printable(name)} is not a setting{hint}")
    if problems:
        raise InvalidSettings(*problems)


def refuse_half_configured(settings: Settings) -> None:
    """Refuse fallbacks without a first relay, half of DKIM, and two ways to verify people's tokens."""
    if settings.jwt_secret is not None and settings.jwks_url is not None:
        raise InvalidSettings("NOTIFY_JWT_SECRET and NOTIFY_JWKS_URL are both set; expected one of them")
    selectors, key_files = (len((one or "").split()) for one in (settings.dkim_selector, settings.dkim_key_file))
    if selectors != key_files:
        raise InvalidSettings(
            f"NOTIFY_DKIM_SELECTOR names {selectors} and NOTIFY_DKIM_KEY_FILE {key_files};"
            " expected a file for each selector"
        )
    if settings.smtp_url is None and settings.smtp_fallback_urls is not None:
        raise InvalidSettings("NOTIFY_SMTP_FALLBACK_URLS is set, but NOTIFY_SMTP_URL is not; expected both")


def refuse_incomplete(settings: Settings) -> None:
    """Refuse a relay without the other settings that emails need."""
    if settings.smtp_url is None:
        return
    needed = {
        "NOTIFY_MAIL_FROM": (settings.mail_from, "the address that emails come from"),
        "NOTIFY_PUBLIC_URL": (settings.public_url, "the address that links in emails point to"),
        "NOTIFY_SECRET_KEYS": (settings.secret_keys, "keys of at least 32 characters that sign those links"),
    }
    missing = [
        f"{name} is not set, but NOTIFY_SMTP_URL is; expected {expected}"
        for name, (value, expected) in needed.items()
        if value is None
    ]
    if missing:
        raise InvalidSettings(*missing)


def _read(path: Path) -> Mapping[str, str | None]:
    """The variables in the file; none if it does not exist or is a virtual environment."""
    if not (path.exists() or path.is_symlink()) or (path / "pyvenv.cfg").exists():
        return {}
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidSettings(f"{path} cannot be read: {error}; expected a text file in UTF-8") from None
    if "\0" in text:
        raise InvalidSettings(f"{path} contains NUL bytes, as UTF-16 does; expected a text file in UTF-8")
    return dotenv_values(stream=StringIO(text))


def _ours(variables: Mapping[str, str | None]) -> dict[str, str | None]:
    """The variables for notify, including settings in the wrong case."""
    return {
        name: value
        for name, value in variables.items()
        if (name.startswith(PREFIX) or name.upper() in VARIABLES)
        and not name.startswith("NOTIFY_TEST_")
        and not THEIRS.match(f"{name}={value}")
    }


def _printable(text: str) -> str:
    """The text with undecodable bytes escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _sentence(error: ErrorDetails) -> str:
    """One validation error as: the variable, its value unless secret, what was expected."""
    field = str(error["loc"][0])
    value = "(not shown)" if field in SECRET else USERINFO.sub("://(not shown)@", repr(error["input"]))
    return f"{PREFIX}{field.upper()} is {value}: {error['msg'].removeprefix('Value error, ')}"
