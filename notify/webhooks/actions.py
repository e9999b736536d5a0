"""What operators do to webhook endpoints and many calls, the same for REST and commands."""

from collections.abc import Callable, Sequence
from datetime import timedelta
from secrets import token_urlsafe

from sqlalchemy import Connection

from notify.domain.errors import NotifyError
from notify.domain.webhook_signatures import StoredSecret, derive, is_derivable, new_secret, shown
from notify.domain.webhooks import CallStatus
from notify.store.database import Database
from notify.store.webhooks import by_hand, endpoints, listing
from notify.store.webhooks.listing import CallFilter
from notify.webhooks.schema import EndpointIn

SALT_BYTES = 24
# For how long calls are signed with the former secret too.
KEPT_SECONDS = 86_400
MOST_KEPT_SECONDS = 30 * KEPT_SECONDS
PAGE = 1_000


class NoSecretKeys(NotifyError):
    """NOTIFY_SECRET_KEYS is not set; the secrets of webhook endpoints are derived from its first key."""


def add(connection: Connection, given: EndpointIn, *, keys: Sequence[str]) -> str | None:
    """
    Add an endpoint; its secret, which is shown only now, or None if there is one with this name.

    Raises:
        NoSecretKeys: No secret can be derived.
    """
    secret = _new_secret(keys)
    added = endpoints.add(connection, **given.model_dump(), secret=str(secret))
    return shown(derive(secret, keys)) if added else None


def rotate(connection: Connection, name: str, *, keys: Sequence[str], keep: timedelta) -> str | None:
    """
    Give an endpoint a new secret; it is shown only now. None: there is no such endpoint.

    Calls are signed with the former one too for as long as *keep*, unless its key is gone.

    Raises:
        NoSecretKeys: No secret can be derived.
    """
    secret = _new_secret(keys)
    former = endpoints.stored_secrets(connection, name).get(name)
    if former is None:
        return None
    if not is_derivable(StoredSecret.parse(former), keys):
        keep = timedelta(0)
    endpoints.rotate(connection, name, secret=str(secret), keep=keep)
    return shown(derive(secret, keys))


def retry_dead(database: Database, endpoint: str, *, ring: Callable[[], None], page: int = PAGE) -> list[int]:
    """Make all dead calls of an endpoint due, *page* a transaction; the ids of those for which it was possible."""
    wanted = CallFilter(endpoint=endpoint, status=CallStatus.DEAD)
    done: list[int] = []
    below: int | None = None
    while True:
        with database.begin() as connection:
            found = listing.newest(connection, wanted, below=below, limit=page)
            done += by_hand.retry(connection, [one.id for one in found]) if found else []
        if not found:
            return done
        ring()
        below = found[-1].id


def _new_secret(keys: Sequence[str]) -> StoredSecret:
    if not keys:
        raise NoSecretKeys
    return new_secret(keys[0], salt=token_urlsafe(SALT_BYTES))
