"""Entries: Markdown files with front matter that say who owns what."""

from collections.abc import Iterable
from datetime import date
from re import compile as pattern
from typing import Any

import structlog

from notify.domain.forge import RepositoryFile
from notify.store.forges.mirror import Entry

_FULL_NAME = pattern(r"[A-Za-z0-9_.-]+/[A-Za-z0-9_.-]+")
_SLUG = pattern(r"[A-Za-z0-9][A-Za-z0-9._-]*")
LONGEST = 1_000

log = structlog.get_logger(__name__)


def read_entries(files: Iterable[RepositoryFile]) -> list[Entry]:
    """The entries of files whose text is given; one that cannot be read or has no slug is skipped with a warning."""
    found: dict[str, Entry] = {}
    for file in files:
        if file.fault is not None:
            log.warning("entry.skipped", path=file.path, because=file.fault)
        elif file.text is not None:
            entry = _read(file)
            if entry is not None and found.setdefault(entry.slug, entry) is not entry:
                log.warning("entry.skipped", path=file.path, because=f"slug of {found[entry.slug].path}")
    return list(found.values())


def _read(file: RepositoryFile) -> Entry | None:
    import frontmatter  # noqa: PLC0415 - most workers read no entries, and need no YAML

    try:
        stated = frontmatter.loads(file.text or "").metadata
    except Exception as error:  # noqa: BLE001 - whatever the YAML library finds wrong
        log.warning("entry.skipped", path=file.path, because=type(error).__name__)
        return None
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
    # Of lists and tables YAML can make a few lines into gigabytes of text.
    text = " ".join(str(value).split()) if isinstance(value, str | int | float | date) else ""
    return text[:LONGEST] or None


def _texts(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML gives
    values = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(text for one in values if (text := _text(one))))


def _login(value: Any) -> str | None:  # noqa: ANN401 - whatever YAML gives
    text = _text(value)
    return text and text.removeprefix("@")


def _logins(value: Any) -> tuple[str, ...]:  # noqa: ANN401 - whatever YAML gives
    return tuple(one.removeprefix("@") for one in _texts(value))
