"""Describes every fault of the forges file in a sentence: the key, its value unless secret, and what was expected."""

from collections.abc import Iterator, Mapping, Sequence
from difflib import get_close_matches
from itertools import combinations
from re import compile as pattern
from types import MappingProxyType
from typing import Any

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from notify.domain.forge_settings import ForgeKind
from notify.forges_file.shape import (
    RUNNERS,
    SECRET_KEYS,
    CommandTable,
    EntriesTable,
    GitHubActionsTable,
    HttpTable,
)

NOT_SHOWN = "(not shown)"
SHOWN = 80
USERINFO = pattern(r"://[^/@\s]*@")
APP_KEYS = ("app_id", "private_key", "installation_id")
RawTable = Mapping[str, Any]
INNER: Mapping[int | str, type[BaseModel]] = MappingProxyType(
    {"entries": EntriesTable, "http": HttpTable, "github_actions": GitHubActionsTable, "command": CommandTable}
)


def sentence(model: type[BaseModel], where: str, error: ErrorDetails) -> str:
    path = [
        part
        for at, part in enumerate(error["loc"])
        if not (at and error["loc"][at - 1] == "runner" and part in RUNNERS)
    ]
    key = ".".join([where, *map(str, path)])
    match error["type"]:
        case "extra_forbidden":
            inside = INNER.get(error["loc"][-2], model) if len(error["loc"]) > 1 else model
            return f"{key} is not known{_hint(str(path[-1]), list(inside.model_fields))}"
        case "missing":
            return f"{key} is missing"
        case "union_tag_not_found":
            return f"{key}.kind is missing; expected one of {', '.join(sorted(RUNNERS))}"
        case "union_tag_invalid":
            return (
                f"{key}.kind is {error['input'].get('kind')!r:.{SHOWN}}; expected one of {', '.join(sorted(RUNNERS))}"
            )
        case _:
            secret = any(part in SECRET_KEYS for part in path)
            value = NOT_SHOWN if secret else USERINFO.sub("://(not shown)@", repr(error["input"]))[:SHOWN]
            words = error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")
            return f"{key} is {value}: {words}"


def unknown(given: RawTable, known: Sequence[str]) -> Iterator[str]:
    for name in given:
        if name not in known:
            yield f"{name} is not known{_hint(name, known)}"


def _hint(name: str, known: Sequence[str]) -> str:
    nearest = get_close_matches(name, known, n=1, cutoff=0.5)
    return f"; did you mean {nearest[0]}?" if nearest else f"; expected one of {', '.join(known)}"


def forge_misfits(key: str, forge: RawTable) -> Iterator[str]:
    """Keys in a forge's table that contradict each other."""
    if forge.get("kind") == ForgeKind.GITEA:
        yield from (f"{key}.{one} is set; Gitea has no apps, expected token" for one in APP_KEYS if one in forge)
        if "web_url" not in forge:
            yield f"{key}.web_url is missing; expected the address of the Gitea server"
        if "token" not in forge:
            yield f"{key}.token is missing; expected env:NAME or file:/path of an access token"
    if forge.get("kind") == ForgeKind.GITHUB:
        yield from _github_misfits(key, forge)


def _github_misfits(key: str, forge: RawTable) -> Iterator[str]:
    if ("app_id" in forge) != ("private_key" in forge):
        given, missing = ("app_id", "private_key") if "app_id" in forge else ("private_key", "app_id")
        yield f"{key}.{missing} is missing, but {given} is set; an app needs both"
    elif "app_id" not in forge and "token" not in forge:
        yield f"{key}.app_id is missing; expected app_id and private_key, or token"
    elif "app_id" in forge and "token" in forge:
        yield f"{key}.token and {key}.app_id are both set; expected one of them"
    if "installation_id" in forge and "app_id" not in forge:
        yield f"{key}.installation_id is set, but app_id is not; only apps are installed"


def queue_misfits(key: str, queue: RawTable, forges: Mapping[str, RawTable]) -> Iterator[str]:
    """Keys in a queue's table that contradict each other or its forge."""
    ref, name, runner = queue.get("ref"), queue.get("forge"), queue.get("runner")
    if ref is not None and queue.get("promotion_ref") == ref:
        yield f"{key}.promotion_ref is {ref!r}, as ref is; expected another ref"
    if not isinstance(name, str):
        return
    if name not in forges:
        yield f"{key}.forge is {name!r}; expected a forge of this file{_hint(name, list(forges)) if forges else ''}"
        return
    kind = forges[name].get("kind")
    if isinstance(runner, dict) and runner.get("kind") == "github_actions" and kind != ForgeKind.GITHUB:
        yield f"{key}.runner.kind is 'github_actions', but forge {name!r} is of kind {kind!r}; expected a github forge"


def ambiguous_links(forges: Mapping[str, RawTable]) -> Iterator[str]:
    """Repositories with the same name on two forges, whose changes would have the same links."""
    for (one, first), (other, second) in combinations(forges.items(), 2):
        both = _repositories(first) & _repositories(second)
        prefixes = {first.get("prefix", ""), second.get("prefix", "")}
        if both and not (len(prefixes) == len((one, other)) and all(prefixes)):
            yield (
                f"forges.{one} and forges.{other} both mirror {min(both)};"
                " expected a prefix in each, different from the other's"
            )


def _repositories(forge: RawTable) -> set[str]:
    found = forge.get("repositories")
    return {name.lower() for name in found if isinstance(name, str)} if isinstance(found, list) else set()
