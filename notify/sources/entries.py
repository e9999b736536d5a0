"""Entries: Markdown files with front matter that say who owns what."""

from collections.abc import Iterable, Mapping
from datetime import date
from re import compile as pattern
from typing import Any

import structlog

from notify.domain.forge import RepositoryFile
from notify.store.forges.mirror import Entry

_FULL_NAME = pattern(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SLUG = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST = 1_000
LONGEST_FRONT_MATTER = 65_536
DEEPEST = 20

log = structlog.get_logger(__name__)


def read_entries(files: Iterable[RepositoryFile]) -> list[Entry]:
    """The entries in these files. A file that cannot be parsed or has no slug is skipped with a warning."""
    found: dict[str, Entry] = {}
    for file in files:
        if file.fault is not None:
            log.warning("entry.skipped", path=file.path, because=file.fault)
        elif file.text is not None:
            try:
                entry = _read(file)
            except Exception as error:  # noqa: BLE001 - whatever the YAML library finds wrong
                log.warning("entry.skipped", path=file.path, because=type(error).__name__)
                continue
            if entry is not None and found.setdefault(entry.slug, entry) is not entry:
                log.warning("entry.skipped", path=file.path, because=f"slug of {found[entry.slug].path}")
    return list(found.values())


def _front_matter(text: str) -> Mapping[Any, Any]:
    """
    What a file states before its words; nothing if it has no front matter.

    libyaml's composer overflows the stack of the process on brackets in brackets, so PyYAML's own reads it. Merge keys
    double what they merge at each step.
    """
    import yaml  # noqa: PLC0415 - most workers read no entries, and need no YAML
    from frontmatter.default_handlers import YAMLHandler  # noqa: PLC0415

    handler = YAMLHandler()
    if not handler.detect(text):
        return {}
    front, _ = handler.split(text)
    if len(front) > LONGEST_FRONT_MATTER:
        raise ValueError("too long")
    depth = 0
    for event in yaml.parse(front, Loader=yaml.SafeLoader):
        depth += isinstance(event, yaml.CollectionStartEvent) - isinstance(event, yaml.CollectionEndEvent)
        if depth > DEEPEST:
            raise ValueError("too deep")
        if isinstance(event, yaml.ScalarEvent) and (event.value == "<<" or "merge" in (event.tag or "")):
            raise ValueError("merge key")
    stated = handler.load(front, Loader=yaml.SafeLoader)
    return stated if isinstance(stated, dict) else {}


def _read(file: RepositoryFile) -> Entry | None:
    stated = _front_matter((file.text or "").strip())
    slug, repo = _text(stated.get("slug")), _text(stated.get("repo"))
    if slug is None or not _SLUG.fullmatch(slug):
        log.warning("entry.skipped", path=file.path, because="no slug")
        return None
    if repo is not None and not _FULL_NAME.fullmatch(repo):
        log.warning("entry.skipped", path=file.path, because="repo is not owner/name")
        return None
    return Entry(
        slug=slug,
        path=file.path,
        sha=file.sha,
        title=_text(stated.get("title")),
        state=_text(stated.get("state")),
        entry_id=_text(stated.get("id")),
        repo=repo,
        proposed_by=_login(stated.get("proposed_by")),
        proposed_at=_text(stated.get("proposed_at")),
        graduated_by=_login(stated.get("graduated_by")),
        graduated_at=_text(stated.get("graduated_at")),
        owners=_logins(stated.get("owners")),
        arbiters=_logins(stated.get("arbiters")),
        tags=_texts(stated.get("tags")),
    )


def _text(value: Any) -> str | None:  # noqa: ANN401 - whatever YAML gives
    # YAML aliases can expand a few lines into lists and tables of gigabytes.
    text = " ".join(str(value).split()) if isinstance(value, str | int | float | date) else ""
    # PostgreSQL stores neither; YAML can spell both.
    return text[:LONGEST].replace("\0", "").encode(errors="replace").decode() or None


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML gives
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(text for one in values if (text := _text(one))))


def _login(value: Any) -> str | None:  # noqa: ANN401 - whatever YAML gives
    text = _text(value)
    return text and text.removeprefix("@")


def _logins(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML gives
    return tuple(one.removeprefix("@") for one in _texts(value))
