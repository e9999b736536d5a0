"""The event types of the packages that are installed beside notify."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from notify.entry_points import custom_event_types

if TYPE_CHECKING:
    from notify.store.database import Database


def added_templates() -> tuple[Path, ...]:
    """Their template folders."""
    return tuple(sorted({one.templates for one in custom_event_types().types.values()}))


def store_event_types(database: Database) -> list[str]:
    """Store them; the codes of those that were new or whose labels changed. Safe to repeat."""
    from notify.store.directory import event_types

    types = custom_event_types().types.values()
    if not types:
        return []
    with database.begin() as connection:
        return event_types.store(connection, types)
