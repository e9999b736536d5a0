"""Webhook endpoints, as operators set them up."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, TypedDict

from sqlalchemy import Connection, Select, case, func, literal, select, update
from sqlalchemy.dialects.postgresql import insert

from notify.store.operations.relays import OPEN
from notify.store.tables.operations import endpoints as breakers
from notify.store.tables.webhooks import webhook_endpoints
from notify.store.webhooks.calls import BREAKER

BY_HAND = "by_hand"


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookEndpoint:
    """One webhook endpoint."""

    name: str
    url: str
    types: Sequence[str] = field(metadata={"description": "The outcomes that it is told of."})
    include: Sequence[str] = field(metadata={"description": "What calls contain besides ids: `address`, `payload`."})
    disabled_at: datetime | None = field(metadata={"description": "Since when it is told of nothing. Null: enabled."})
    disabled_because: str | None = field(
        metadata={"description": "`by_hand`, or `gone`: it has answered 410. Null: enabled."}
    )
    paused_until: datetime | None = field(
        metadata={"description": "It has answered 429 and is not called before. Null: it has not."}
    )
    failing: str | None = field(
        metadata={"description": "Its last failure, if it failed so often that calls wait. Null: it is called."}
    )
    next_call_at: datetime | None = field(metadata={"description": "When it is tried again. Null: it is not failing."})
    old_secret_until: datetime | None = field(
        metadata={"description": "Until when calls are signed with its former secret too. Null: there is none."}
    )
    created_at: datetime


class EndpointChanges(TypedDict, total=False):
    """What to change of an endpoint."""

    url: str
    types: Sequence[str]
    include: Sequence[str]
    enabled: bool


_row, _breaker = webhook_endpoints.c, breakers.c
_is_open = func.coalesce(_breaker.state == OPEN, False)
_COMPUTED = {
    "failing": case((_is_open, func.coalesce(_breaker.last_error, ""))).label("failing"),
    "next_call_at": case((_is_open, _breaker.probe_at)).label("next_call_at"),
    "paused_until": case((_row.paused_until > func.now(), _row.paused_until)).label("paused_until"),
    "old_secret_until": case((_row.old_secret_until > func.now(), _row.old_secret_until)).label("old_secret_until"),
}
_COLUMNS = tuple(_COMPUTED[name] if name in _COMPUTED else _row[name] for name in WebhookEndpoint.__slots__)


def _endpoints(*columns: Any) -> Select[Any]:  # noqa: ANN401 - what select takes
    joined = webhook_endpoints.outerjoin(breakers, _breaker.endpoint == literal(BREAKER) + _row.name)
    return select(*columns).select_from(joined).order_by(_row.name)


def listed(connection: Connection) -> list[WebhookEndpoint]:
    """Every endpoint, by name."""
    return [WebhookEndpoint(**row) for row in connection.execute(_endpoints(*_COLUMNS)).mappings()]


def find(connection: Connection, name: str) -> WebhookEndpoint | None:
    """One endpoint; None: there is none."""
    row = connection.execute(_endpoints(*_COLUMNS).where(_row.name == name)).mappings().one_or_none()
    return WebhookEndpoint(**row) if row else None


def stored_secrets(connection: Connection, name: str | None = None) -> dict[str, str]:
    """What the secret of each endpoint, or of this one, is derived from; by name."""
    statement = select(_row.name, _row.secret).order_by(_row.name)
    rows = connection.execute(statement if name is None else statement.where(_row.name == name))
    return {row.name: row.secret for row in rows}


def add(
    connection: Connection, *, name: str, url: str, types: Sequence[str], include: Sequence[str], secret: str
) -> bool:
    """Add an endpoint; False: there is one with this name."""
    values = {"name": name, "url": url, "types": list(types), "include": list(include), "secret": secret}
    statement = insert(webhook_endpoints).values(values).on_conflict_do_nothing().returning(_row.id)
    return connection.scalar(statement) is not None


def change(connection: Connection, name: str, changes: EndpointChanges) -> bool:
    """
    Change an endpoint; False: there is none. *changes* has at least one thing.

    A new URL, or enabling it, ends its pause and forgets its failures.
    """
    values: dict[str, Any] = {key: value for key, value in changes.items() if key != "enabled"}
    is_new = bool(changes.get("enabled")) or "url" in changes
    if changes.get("enabled"):
        values |= {"disabled_at": None, "disabled_because": None}
    elif "enabled" in changes:
        values |= {
            "disabled_at": func.coalesce(_row.disabled_at, func.now()),
            "disabled_because": func.coalesce(_row.disabled_because, BY_HAND),
        }
    if is_new:
        _forget_breaker(connection, name)
        values["paused_until"] = None
    return _update(connection, name, values)


def rotate(connection: Connection, name: str, *, secret: str, keep: timedelta) -> bool:
    """Give it a new secret; calls are signed with the former one as well for so long. False: no such endpoint."""
    kept = {"old_secret": _row.secret, "old_secret_until": func.now() + keep} if keep else _NO_OLD_SECRET
    return _update(connection, name, {"secret": secret, **kept})


def remove(connection: Connection, name: str) -> bool:
    """Remove it; calls that wait are skipped. False: there is no such endpoint."""
    _forget_breaker(connection, name)
    return connection.execute(webhook_endpoints.delete().where(_row.name == name)).rowcount == 1


_NO_OLD_SECRET: dict[str, Any] = {"old_secret": None, "old_secret_until": None}


def _update(connection: Connection, name: str, values: dict[str, Any]) -> bool:
    return connection.execute(update(webhook_endpoints).where(_row.name == name).values(values)).rowcount == 1


def _forget_breaker(connection: Connection, name: str) -> None:
    connection.execute(breakers.delete().where(_breaker.endpoint == f"{BREAKER}{name}"))
