"""Reads the forges file and validates all of it."""

import tomllib
from collections.abc import Mapping
from os import environ as process_environment
from pathlib import Path
from re import Pattern
from types import MappingProxyType
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from notify.domain.errors import InvalidSettings
from notify.domain.forge_settings import (
    CommandRunner,
    EntriesFolder,
    ForgeKind,
    ForgeSettings,
    ForgesFile,
    GitHubActionsRunner,
    HttpRunner,
    Identities,
    QueueSettings,
    Runner,
)
from notify.forges_file.faults import ambiguous_links, forge_misfits, queue_misfits, sentence, unknown
from notify.forges_file.shape import (
    FORGE_NAME,
    QUEUE_NAME,
    CommandTable,
    ForgeTable,
    GitHubActionsTable,
    HttpTable,
    QueueTable,
)

GITHUB_API = "https://api.github.com"
GITHUB_WEB = "https://github.com"
ENTERPRISE_API = "/api/v3"
GITEA_API = "/api/v1"
TABLES = ("forges", "queues")

RawTable = Mapping[str, Any]
Model = TypeVar("Model", bound=BaseModel)


def load(path: Path, *, environ: Mapping[str, str] = process_environment) -> ForgesFile:
    """
    The contents of the file, with its secrets.

    Raises:
        InvalidSettings: Every fault of the file, a sentence each; secrets are never shown.
    """
    given = _tables(path)
    faults = list(unknown(given, TABLES))
    forge_tables = _named(given, "forges", FORGE_NAME, "a name in lower-case letters, digits and hyphens", faults)
    queue_tables = _named(given, "queues", QUEUE_NAME, "a name such as monorepo/main", faults)
    forges, queues = {}, {}
    for name, table in forge_tables.items():
        key = f"forges.{name}"
        if read := _validated(ForgeTable, key, table, environ, faults):
            forges[name] = _forge(name, read)
        faults += forge_misfits(key, table)
    for name, table in queue_tables.items():
        key = f'queues."{name}"'
        if queue := _validated(QueueTable, key, table, environ, faults):
            queues[name] = _queue(name, queue)
        faults += queue_misfits(key, table, forge_tables)
    faults += ambiguous_links(forge_tables)
    if faults:
        raise InvalidSettings(*(f"{path}: {fault}" for fault in faults))
    return ForgesFile(forges=MappingProxyType(forges), queues=MappingProxyType(queues))


def _tables(path: Path) -> RawTable:
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise InvalidSettings(f"NOTIFY_FORGES_FILE is {str(path)!r}: {error.strerror}; expected a TOML file") from None
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSettings(f"{path}: {error}; expected TOML in UTF-8") from None


def _named(
    given: RawTable, table: str, names: Pattern[str], expected: str, faults: list[str]
) -> Mapping[str, RawTable]:
    """The tables in a table of the file, by name."""
    found = given.get(table, {})
    if not isinstance(found, dict):
        faults.append(f"{table} is {_kind(found)}; expected tables [{table}.NAME]")
        return {}
    for name, content in found.items():
        if not names.fullmatch(name):
            faults.append(f"{table}.{name!r} is no name; expected {expected}")
        if not isinstance(content, dict):
            faults.append(f"{table}.{name} is {_kind(content)}; expected a table [{table}.{name}]")
    return {name: content for name, content in found.items() if isinstance(content, dict)}


def _kind(value: object) -> str:
    """The type of what is there in place of a table; not the value, which may be a secret."""
    return f"a {type(value).__name__}"


def _validated(
    model: type[Model], key: str, table: RawTable, environ: Mapping[str, str], faults: list[str]
) -> Model | None:
    try:
        return model.model_validate(table, context=environ)
    except ValidationError as error:
        faults += [sentence(model, key, one) for one in error.errors()]
        return None


def _forge(name: str, forge: ForgeTable) -> ForgeSettings:
    api_url, web_url = _addresses(forge)
    entries = forge.entries
    return ForgeSettings(
        name=name,
        kind=ForgeKind(forge.kind),
        api_url=api_url,
        web_url=web_url,
        webhook_secrets=tuple(forge.webhook_secrets),
        app_id=forge.app_id,
        private_key=forge.private_key,
        installation_id=forge.installation_id,
        token=forge.token,
        repositories=None if forge.repositories is None else tuple(forge.repositories),
        identities=Identities(forge.identities),
        prefix=forge.prefix or "",
        bots=frozenset(login.lower() for login in forge.bots),
        entries=None
        if entries is None
        else EntriesFolder(repository=entries.repository, folder=entries.folder.rstrip("/")),
        error_label=forge.error_label,
    )


def _addresses(forge: ForgeTable) -> tuple[str, str]:
    """The URLs of the API and of the pages."""
    if ForgeKind(forge.kind) is ForgeKind.GITEA:
        web = forge.web_url or ""
        return forge.api_url or web + GITEA_API, web
    api = forge.api_url or GITHUB_API
    return api, forge.web_url or (GITHUB_WEB if api == GITHUB_API else api.removesuffix(ENTERPRISE_API))


def _queue(name: str, queue: QueueTable) -> QueueSettings:
    return QueueSettings(
        name=name,
        forge=queue.forge,
        repository=queue.repository,
        ref=queue.ref,
        remote=queue.remote,
        runner=_runner(queue.runner),
        promotion_ref=queue.promotion_ref,
        max_concurrent=queue.max_concurrent,
    )


def _runner(runner: HttpTable | GitHubActionsTable | CommandTable) -> Runner:
    match runner:
        case HttpTable():
            return HttpRunner(url=runner.url, token=runner.token)
        case GitHubActionsTable():
            return GitHubActionsRunner(workflow=runner.workflow, ref=runner.ref)
        case CommandTable():
            return CommandRunner(command=tuple(runner.command), output_url=runner.output_url)
