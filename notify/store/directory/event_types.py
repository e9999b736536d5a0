"""Event types, with what operators may change of them."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import timedelta
from typing import Any, TypedDict

from sqlalchemy import Connection, Integer, cast, func, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.domain.custom_types import CustomEventType
from notify.store.tables.people import notification_event_types

MAX_EXPIRY_SECONDS = 90 * 24 * 3600
MAX_BUNDLE_SECONDS = 24 * 3600

_row = notification_event_types.c


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredEventType:
    """One event type."""

    code: str
    category: str
    description: str
    system_required: bool = field(metadata={"description": "Nobody can switch it off."})
    default_enabled: bool = field(metadata={"description": "Whether it is on for people without a stored preference."})
    expires_after_seconds: int = field(metadata={"description": "For how long its emails are still sent."})
    bundle_seconds: int | None = field(
        metadata={"description": "For how long its emails are bundled. Null: `NOTIFY_BUNDLE_SECONDS`."}
    )


class EventTypeChanges(TypedDict, total=False):
    """What to change of an event type; a missing key keeps what is stored."""

    system_required: bool
    default_enabled: bool
    expires_after_seconds: int
    bundle_seconds: int | None


# The columns that have a duration, by the field that has it in seconds.
_DURATIONS = {"expires_after_seconds": _row.expires_after, "bundle_seconds": _row.bundle_within}
_FIELDS = tuple(
    cast(func.extract("epoch", _DURATIONS[name]), Integer).label(name) if name in _DURATIONS else _row[name]
    for name in StoredEventType.__slots__
)


def every(connection: Connection) -> Sequence[StoredEventType]:
    """Every event type, by code."""
    return [StoredEventType(**one) for one in connection.execute(select(*_FIELDS).order_by(_row.code)).mappings()]


def change(connection: Connection, code: str, changes: EventTypeChanges) -> StoredEventType | None:
    """
    Change at least one thing of an event type; None: there is none with this code.

    The fan-out and the recheck read it with each batch.
    """
    columns: dict[str, Any] = {}
    for name, value in changes.items():
        if name in _DURATIONS:
            columns[_DURATIONS[name].name] = timedelta(seconds=value) if isinstance(value, int) else None
        else:
            columns[name] = value
    changed = update(notification_event_types).where(_row.code == code).values(**columns).returning(*_FIELDS)
    found = connection.execute(changed).mappings().one_or_none()
    return None if found is None else StoredEventType(**found)


def store(connection: Connection, types: Iterable[CustomEventType]) -> list[str]:
    """
    Store the event types of other packages; the codes of those that were new or whose labels changed.

    What operators may change stays as it is stored.
    """
    rows = [{name: value for name, value in asdict(one).items() if name in _row} for one in types]
    if not rows:
        return []
    new = insert(notification_event_types).values(rows)
    stored = new.on_conflict_do_update(
        index_elements=[_row.code],
        set_={"category": new.excluded.category, "description": new.excluded.description},
        where=(_row.category != new.excluded.category) | (_row.description != new.excluded.description),
    ).returning(_row.code)
    return sorted(connection.scalars(stored))
