"""The tables of the forges file: their keys and the values that each accepts."""

from pathlib import Path
from re import Pattern
from re import compile as pattern
from typing import Annotated, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationInfo

from notify.domain.forge_settings import Secret

SHORTEST_WEBHOOK_SECRET = 16

FORGE_NAME = pattern(r"[a-z0-9][a-z0-9-]{0,39}")
QUEUE_NAME = pattern(r"[A-Za-z0-9_][A-Za-z0-9_./-]{0,99}")
REPOSITORY = pattern(r"[A-Za-z0-9_.-]{1,100}/[A-Za-z0-9_.-]{1,100}")
LOGIN = pattern(r"[A-Za-z0-9_.-]{1,100}(\[bot\])?")
PREFIX = pattern(r"[A-Za-z0-9][A-Za-z0-9_.:/-]{0,39}")
# Source: git-check-ref-format(1).
REF = pattern(r"refs(/(?!\.)(?:(?!\.\.|@\{|\.lock(/|$))[^\x00-\x20\x7f~^:?*\[\\/])+(?<!\.))+")
TOKEN = pattern(r"[!-~]{1,16384}")
REFERENCE = pattern(r"env:[A-Za-z_][A-Za-z0-9_]*|file:/.+")
PRIVATE_KEY = pattern(r"-----BEGIN ([A-Z]+ )?PRIVATE KEY-----")
WEB_ADDRESS = pattern(r"https?://[^/?#@\s]+(/[^?#\s]*)?")
REMOTE = pattern(r"(https?|ssh|git|file)://\S+|[\w.-]+@[\w.-]+:\S+|/\S+")


def _like(shape: Pattern[str], expected: str) -> AfterValidator:
    def check(value: str) -> str:
        if not shape.fullmatch(value):
            raise ValueError("expected " + expected)
        return value

    return AfterValidator(check)


Url = Annotated[
    str, _like(WEB_ADDRESS, "http://… or https://…, without user, ? and #"), AfterValidator(lambda url: url.rstrip("/"))
]
FullName = Annotated[str, _like(REPOSITORY, "owner/name")]
Ref = Annotated[str, _like(REF, "a full ref such as refs/heads/main")]


def _read(reference: object, info: ValidationInfo) -> Secret:
    """The secret that a reference names. The validation's context has the environment variables."""
    if not isinstance(reference, str) or not REFERENCE.fullmatch(reference):
        msg = "expected env:NAME or file:/path, not the secret itself"
        raise ValueError(msg)
    where, _, name = reference.partition(":")
    try:
        text = (info.context or {}).get(name, "") if where == "env" else Path(name).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{reference}: {getattr(error, 'strerror', None) or 'no text in UTF-8'}") from None
    if not text.strip():
        missing = "the variable is not set" if where == "env" else "the file is empty"
        raise ValueError(f"{reference}: {missing}")
    return Secret(reference, text.strip())


def _long(secret: Secret) -> Secret:
    if len(secret.value) < SHORTEST_WEBHOOK_SECRET:
        length = f"{secret.reference} has {len(secret.value)} characters"
        raise ValueError(f"{length}; expected at least {SHORTEST_WEBHOOK_SECRET}")
    return secret


def _pem(secret: Secret) -> Secret:
    if not PRIVATE_KEY.search(secret.value):
        raise ValueError(f"{secret.reference}: expected a private key in PEM")
    return secret


def _one_word(secret: Secret) -> Secret:
    """Refuses white space, since the value goes into a header."""
    if not TOKEN.fullmatch(secret.value):
        raise ValueError(f"{secret.reference}: expected one word in ASCII")
    return secret


SecretReference = Annotated[Secret, BeforeValidator(_read)]
WebhookSecret = Annotated[SecretReference, AfterValidator(_long)]
TokenReference = Annotated[SecretReference, AfterValidator(_one_word)]
PrivateKey = Annotated[SecretReference, AfterValidator(_pem)]


def _without_password(remote: str) -> str:
    if "://" in remote and urlsplit(remote).password is not None:
        msg = "expected no password in the address; git asks a credential helper"
        raise ValueError(msg)
    return remote


Remote = Annotated[
    str, _like(REMOTE, "an address that git can fetch from, such as https://…"), AfterValidator(_without_password)
]
SECRET_KEYS = frozenset({"webhook_secrets", "private_key", "token", "remote"})


class Table(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class EntriesTable(Table):
    repository: FullName
    folder: Annotated[str, _like(pattern(r"[^/\x00-\x1f][^\x00-\x1f]*"), "a folder such as rfcs")]


class ForgeTable(Table):
    kind: Literal["github", "gitea"]
    api_url: Url | None = None
    web_url: Url | None = None
    webhook_secrets: Annotated[list[WebhookSecret], Field(min_length=1, max_length=10)]
    app_id: Annotated[int, Field(ge=1)] | None = None
    private_key: PrivateKey | None = None
    installation_id: Annotated[int, Field(ge=1)] | None = None
    token: TokenReference | None = None
    repositories: Annotated[list[FullName], Field(min_length=1)] | None = None
    identities: Literal["login", "mapped"] = "login"
    prefix: Annotated[str, _like(PREFIX, "letters, digits, and any of _ . : / -")] | None = None
    bots: list[Annotated[str, _like(LOGIN, "a login")]] = []
    entries: EntriesTable | None = None
    error_label: Annotated[str, Field(min_length=1, max_length=50)] | None = None


class HttpTable(Table):
    kind: Literal["http"]
    url: Url
    token: TokenReference | None = None


class GitHubActionsTable(Table):
    kind: Literal["github_actions"]
    workflow: Annotated[str, _like(pattern(r"[\w.-]+\.ya?ml"), "a file's name such as validate.yml")]
    ref: Ref


class CommandTable(Table):
    kind: Literal["command"]
    command: Annotated[list[Annotated[str, Field(min_length=1)]], Field(min_length=1)]
    output_url: Url | None = None


class QueueTable(Table):
    forge: str
    repository: FullName
    ref: Ref
    remote: Remote
    promotion_ref: Ref | None = None
    max_concurrent: Annotated[int, Field(ge=1, le=1000)] = 1
    runner: Annotated[HttpTable | GitHubActionsTable | CommandTable, Field(discriminator="kind")]


RUNNERS = frozenset({"http", "github_actions", "command"})
