"""Webhook endpoints, and calls in every state, as the stage leaves them."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import uuid4

from notify.domain.claims import Claim, Lane
from notify.domain.stages import WEBHOOKS
from notify.domain.webhook_signatures import new_secret
from notify.domain.webhooks import TYPES, CallStatus
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.store.webhooks import by_hand, calls, endpoints
from notify.store.webhooks.calls import CallResult

KEY = "k" * 32
URL = "https://crm.example/notify"
LEASE = timedelta(minutes=1)
DEAD = CallResult(id=0, attempt=0, status=CallStatus.DEAD, reason="http_500", code=500, took_ms=7)
FAILED = CallResult(id=0, attempt=0, status=CallStatus.PENDING, reason="no_answer", text="[b]timed[/b] out")
DELIVERED = CallResult(id=0, attempt=0, status=CallStatus.DELIVERED, code=204, took_ms=3)
SKIPPED = CallResult(id=0, attempt=0, status=CallStatus.SKIPPED, reason="disabled")


@dataclass(frozen=True, slots=True)
class Calls:
    """Endpoints on a database, and what becomes of the calls to them."""

    database: Database

    def endpoint(self, name: str = "crm", *, url: str = URL, types: Sequence[str] = TYPES, key: str = KEY) -> None:
        """An endpoint with this name, whose secret was derived from this key."""
        with self.database.begin() as connection:
            secret = str(new_secret(key, salt=f"salt of {name}"))
            assert endpoints.add(connection, name=name, url=url, types=types, include=(), secret=secret)

    def call(self, name: str = "crm", result: CallResult | None = None) -> int:
        """The id of a test call to this endpoint; its first attempt has ended so, or it waits."""
        with self.database.begin() as connection:
            id_ = by_hand.test(connection, name)
        assert id_ is not None
        if result is not None:
            self.attempt(id_, result)
        return id_

    def attempt(self, id_: int, result: CallResult) -> None:
        """The next attempt at the only call that is due ends so."""
        (claim,) = self.claim()
        assert claim.id == id_
        with self.database.begin() as connection:
            assert items.settle(connection, WEBHOOKS, [_outcome(claim, result)])
            calls.record(connection, [replace(result, id=id_, attempt=claim.attempt)])

    def claim(self) -> list[Claim]:
        """A worker begins every call that is due."""
        with self.database.begin() as connection:
            return items.claim(connection, WEBHOOKS, limit=10, lease=LEASE, worker=uuid4())

    def age(self, id_: int, by: timedelta) -> None:
        """The call was made, and ended if it has, this much earlier."""
        with self.database.begin() as connection:
            connection.exec_driver_sql(
                "UPDATE notify.webhook_calls SET created_at = created_at - %(by)s, finished_at = finished_at - %(by)s"
                " WHERE id = %(id)s",
                {"by": by, "id": id_},
            )

    def left(self) -> list[int]:
        """The ids of all calls that there are."""
        with self.database.begin() as connection:
            return list(connection.exec_driver_sql("SELECT id FROM notify.webhook_calls ORDER BY id").scalars())

    def open_breaker(self, name: str = "crm") -> None:
        """The endpoint has failed so often that calls wait."""
        with self.database.begin() as connection:
            relays.record_failure(
                connection,
                f"{calls.BREAKER}{name}",
                reason="endpoint",
                error="HTTP 503",
                opens_after=1,
                longest=LEASE,
                first=LEASE,
            )


def _outcome(claim: Claim, result: CallResult) -> ItemOutcome:
    match result.status:
        case CallStatus.DEAD:
            return items.dead(claim, result.reason or "", failed=1)
        case CallStatus.PENDING:
            return ItemOutcome(id=claim.id, attempt=claim.attempt, lane=Lane.NORMAL, due_in=60, failed=1)
        case _:
            return items.done(claim)
