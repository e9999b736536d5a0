"""Records what became of calls: the calls, their work items, and what it says of the endpoints. Set by set."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import structlog
from sqlalchemy import Connection

from notify.checkpoints import WEBHOOKS_COMMITTED, WEBHOOKS_WRITTEN, Checkpoint
from notify.domain.breakers import FIRST_WAIT, LONGEST_WAIT, OPENS_AFTER
from notify.domain.claims import Claim
from notify.domain.stages import WEBHOOKS
from notify.domain.webhooks import GONE, CallAnswer, CallStatus, CallVerdict, Trouble
from notify.store.database import Database
from notify.store.operations import relays
from notify.store.outbox import items
from notify.store.outbox.items import ItemOutcome
from notify.store.webhooks import calls
from notify.store.webhooks.calls import Call, CallResult, Receiver

_COUNTED = {CallStatus.DELIVERED: "delivered", CallStatus.DEAD: "dead", CallStatus.SKIPPED: "skipped"}

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempted:
    """
    What came of a claim.

    Args:
        verdict: None: no call was made, and none is to be made for ``not_called`` seconds.
        answer: None: it was decided without a call.
    """

    claim: Claim
    call: Call
    verdict: CallVerdict | None = None
    answer: CallAnswer | None = None
    took: float | None = None
    not_called: float = 0.0


class Recorder:
    """Records groups of attempts, each in a transaction."""

    def __init__(self, database: Database, *, rng: Random, checkpoint: Checkpoint) -> None:
        self._database = database
        self._rng = rng
        self._checkpoint = checkpoint

    def record(self, group: Sequence[Attempted], *, gone: Sequence[Claim] = ()) -> Counter[str]:
        """
        Record these attempts and settle their items; counts by name.

        Args:
            gone: Claims of calls that were deleted.
        """
        if not group and not gone:
            return Counter()
        with self._database.begin() as connection:
            self._note(connection, group)
            outcomes = [*map(items.done, gone), *(self._item_outcome(one) for one in group)]
            ours = items.settle(connection, WEBHOOKS, outcomes)
            recorded = [one for one in group if one.verdict and (one.claim.id, one.claim.attempt) in ours]
            calls.record(connection, [_result(one, one.verdict) for one in recorded if one.verdict])
            self._checkpoint(WEBHOOKS_WRITTEN)
        self._checkpoint(WEBHOOKS_COMMITTED)
        for one in recorded:
            _log(one)
        done = Counter(_COUNTED.get(one.verdict.status, "retried") for one in recorded if one.verdict)
        done["released"] += sum(one.verdict is None for one in group)
        return done

    def _item_outcome(self, one: Attempted) -> ItemOutcome:
        """Done, dead, or due again."""
        claim, verdict = one.claim, one.verdict
        if verdict is None:
            # Spread, so that calls that waited together do not come together.
            return replace(items.released(claim), due_in=one.not_called * self._rng.uniform(1.0, 1.5))
        match verdict.status:
            case CallStatus.DEAD:
                return items.dead(claim, verdict.reason or "unknown", failed=int(verdict.failed))
            case CallStatus.PENDING:
                seconds = verdict.delay.total_seconds()
                return replace(items.released(claim), due_in=seconds, failed=int(verdict.failed), reason=verdict.reason)
            case CallStatus.DELIVERED | CallStatus.SKIPPED:
                return items.done(claim)

    def _note(self, connection: Connection, group: Sequence[Attempted]) -> None:
        """Note what the answers say of the endpoints, in one order, so that two workers do not wait for each other."""
        answered = [one for one in group if one.answer is not None and one.verdict is not None]
        receivers = {one.call.receiver.id: one.call.receiver for one in answered if one.call.receiver}
        for id_, receiver in sorted(receivers.items()):
            heard = [one for one in answered if one.call.receiver and one.call.receiver.id == id_]
            _note_endpoint(connection, receiver, heard)


def _note_endpoint(connection: Connection, receiver: Receiver, heard: Sequence[Attempted]) -> None:
    troubles = {one.verdict.trouble: one.verdict for one in heard if one.verdict is not None}
    if set(troubles) - {Trouble.FAILING}:
        # A success in the same group was as late as any failure.
        relays.record_success(connection, receiver.breaker)
    else:
        for one in heard[:OPENS_AFTER]:
            relays.record_failure(
                connection,
                receiver.breaker,
                reason="endpoint",
                error=_words(one.answer),
                opens_after=OPENS_AFTER,
                longest=LONGEST_WAIT,
                first=FIRST_WAIT,
            )
    if limit := troubles.get(Trouble.LIMITS_RATE):
        calls.pause(connection, receiver.id, seconds=limit.delay.total_seconds())
    if Trouble.GONE in troubles:
        calls.disable(connection, receiver.id, because=GONE)
        log.warning("webhook.disabled", endpoint=receiver.name, reason=GONE)


def _words(answer: CallAnswer | None) -> str:
    if answer is None:
        return ""
    return f"HTTP {answer.code}" if answer.code is not None else answer.text


def _result(one: Attempted, verdict: CallVerdict) -> CallResult:
    answer = one.answer
    return CallResult(
        id=one.call.id,
        attempt=one.claim.attempt,
        status=verdict.status,
        reason=verdict.reason,
        code=None if answer is None else answer.code,
        text=None if answer is None else answer.text or None,
        took_ms=None if one.took is None else round(one.took * 1000),
    )


def _log(one: Attempted) -> None:
    """One line for everything but what was delivered."""
    if one.verdict is None or one.verdict.status is CallStatus.DELIVERED:
        return
    log.info(
        "webhook.settled",
        call=one.call.id,
        endpoint=one.call.receiver.name if one.call.receiver else None,
        attempt=one.claim.attempt,
        outcome=one.verdict.status,
        reason=one.verdict.reason,
        code=one.answer.code if one.answer else None,
    )
