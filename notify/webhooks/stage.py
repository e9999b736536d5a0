"""
The stage ``webhooks``: calls endpoints, many at a time, and records each call as it ends.

Decided: calls are made in an event loop of their own. A batch waits only a moment for its calls, so that those of a
    slow endpoint hold up no other; they end by themselves, well within their leases, which are therefore not renewed.
Decided: a call that was made and not recorded, because the process was killed, is made again with the same webhook-id.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import Counter, defaultdict
from collections.abc import Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor, wait
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from random import Random
from threading import Lock, Thread
from time import monotonic, time
from typing import TYPE_CHECKING

import structlog
from sqlalchemy import Connection

from notify.checkpoints import WEBHOOKS_ANSWERED, Checkpoint, no_checkpoint
from notify.domain.claims import Claim
from notify.domain.outcomes import INTERNAL_ERROR
from notify.domain.stages import WEBHOOKS
from notify.domain.webhook_signatures import KeyUnknown, StoredSecret, derive, is_derivable, sign
from notify.domain.webhooks import (
    DISABLED,
    EXPIRED,
    LONGEST_AGE,
    PRUNED,
    TEST,
    CallStatus,
    CallVerdict,
    judge,
    judge_failure,
)
from notify.store.database import UNAVAILABLE, Database
from notify.store.webhooks import calls
from notify.store.webhooks.calls import Call, Receiver
from notify.webhooks.gate import Gate
from notify.webhooks.message import Facts, body
from notify.webhooks.pace import Pace
from notify.webhooks.results import Attempted, Recorder
from notify.work.stage import BatchStage

if TYPE_CHECKING:
    from notify.webhooks.client import Network, WebhookClient

CALL_SECONDS = 15.0
BEGIN_SECONDS = 5.0
PATIENCE_SECONDS = 0.5
GATHER_SECONDS = 0.1
AGAIN_SECONDS = 0.5
# Besides recording, they resolve names, of which some may hang.
THREADS = 64
# For how long the calls of an endpoint whose secret cannot be derived let others go first.
KEY_UNKNOWN_SECONDS = 60.0

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A call that is to be made."""

    claim: Claim
    call: Call
    receiver: Receiver
    facts: Facts


@dataclass(frozen=True, slots=True)
class _Batch:
    """The calls of one batch that are to be made, until when they may begin, and what was recorded so far."""

    planned: Sequence[_Planned]
    gate: Gate
    ends: float
    done: Counter[str] = field(default_factory=Counter)


class Webhooks:
    """
    Calls endpoints. Thread-safe; create it after a fork.

    Args:
        keys: Of ``NOTIFY_SECRET_KEYS``, newest first.
        networks: Private networks that may be called.
    """

    name = WEBHOOKS
    ordered = False
    counts = ("delivered", "skipped")

    def __init__(
        self,
        database: Database,
        *,
        keys: Sequence[str],
        networks: Sequence[Network],
        lease: timedelta,
        rng: Random,
        call_seconds: float = CALL_SECONDS,
        checkpoint: Checkpoint = no_checkpoint,
    ) -> None:
        self._database = database
        self._keys = keys
        self._networks = networks
        self._rng = rng
        self._call_seconds = min(call_seconds, lease.total_seconds() / 3)
        self._begin_seconds = min(BEGIN_SECONDS, lease.total_seconds() / 4)
        self._checkpoint = checkpoint
        self._recorder = Recorder(database, rng=rng, checkpoint=checkpoint)
        self._paces: defaultdict[int, Pace] = defaultdict(Pace)
        self._loop = _EventLoop()
        self._client: WebhookClient | None = None
        self._stopping = False

    def work(self, claims: Sequence[Claim]) -> Mapping[str, int]:
        """Make these calls; those that are slow go on after it returns, and are not counted."""
        ends = monotonic() + self._begin_seconds
        with self._database.begin() as connection:
            found = calls.load(connection, [one.id for one in claims])
            facts = calls.facts(connection, found)
            gate = Gate.of(connection, [one.receiver for one in found if one.receiver])
        by_id = {one.id: one for one in claims}
        gone = [by_id[id_] for id_ in set(by_id) - {one.id for one in found}]
        plans = [_plan(one, by_id[one.id], facts.get(one.id)) for one in found]
        planned = [one for one in plans if isinstance(one, _Planned)]
        decided = [one for one in plans if isinstance(one, Attempted)]
        done = self._recorder.record(decided, gone=gone)
        if planned:
            batch = _Batch(planned, gate, ends)
            has_lapsed = any(one.lapses for one in claims)
            self._loop.run(self._make(batch), at_most_seconds=None if has_lapsed else PATIENCE_SECONDS)
            done += batch.done
        return done

    def bury(self, connection: Connection, ids: Sequence[int]) -> None:
        """Three workers died of these calls."""
        calls.bury(connection, ids)

    def stop(self, *, at_most_seconds: float) -> None:
        """Begin no more calls; those that do not end in time are left to their leases."""
        self._stopping = True
        self._loop.stop(self._close(), at_most_seconds=at_most_seconds)

    async def _close(self) -> None:
        if self._client is not None:
            await self._client.close()

    async def _make(self, batch: _Batch) -> None:
        """Make the calls of a batch, and record what became of them in groups."""
        if self._client is None:
            from notify.webhooks.client import WebhookClient  # noqa: PLC0415 - where no endpoint is, httpx is never loaded

            tls = ssl.create_default_context()
            self._client = WebhookClient(networks=self._networks, seconds=self._call_seconds, tls=tls)
        pending = {asyncio.create_task(self._attempted(one, batch, self._client)) for one in batch.planned}
        try:
            while pending:
                finished, pending = await asyncio.wait(pending, timeout=GATHER_SECONDS)
                if finished:
                    batch.done.update(await self._recorded([one.result() for one in finished]))
        except Exception:
            log.exception("webhooks.not_recorded", calls=[one.call.id for one in batch.planned])
        finally:
            for one in pending:
                one.cancel()

    async def _recorded(self, group: Sequence[Attempted]) -> Counter[str]:
        """Record them, as soon as the database is there."""
        while True:
            try:
                return await asyncio.to_thread(self._recorder.record, group)
            except UNAVAILABLE as error:
                log.warning("webhooks.not_written", calls=len(group), error=type(error).__name__)
                await asyncio.sleep(AGAIN_SECONDS)

    async def _attempted(self, one: _Planned, batch: _Batch, client: WebhookClient) -> Attempted:
        """Make a call when it is its turn; never raises."""
        pace = self._paces[one.receiver.id]
        if seconds := batch.gate.wait(one.receiver) or pace.postponement():
            return _postponed(one, seconds)
        try:
            async with pace.turn(within=batch.ends - monotonic()):
                return await self._attempt(one, batch, client)
        except TimeoutError:
            return _postponed(one, pace.postponement())
        except KeyUnknown:
            log.warning("webhook.key_unknown", endpoint=one.receiver.name)
            batch.gate.close(one.receiver, KEY_UNKNOWN_SECONDS)
            return _postponed(one, KEY_UNKNOWN_SECONDS)
        except Exception as error:
            log.exception("webhook.failed", call=one.call.id)
            claim, reason = one.claim, f"{INTERNAL_ERROR}: {type(error).__name__}"
            verdict = judge_failure(reason, failures=claim.failures, max_failures=claim.max_failures, rng=self._rng)
            return Attempted(claim=claim, call=one.call, verdict=verdict)

    async def _attempt(self, one: _Planned, batch: _Batch, client: WebhookClient) -> Attempted:
        claim, call, receiver = one.claim, one.call, one.receiver
        if self._stopping:
            return _postponed(one, 0.0)
        if seconds := batch.gate.take_turn(receiver):
            return _postponed(one, seconds)
        content = body(call, one.facts, include=receiver.include)
        headers = self._headers(call, receiver, content)
        began = monotonic()
        answer = await client.post(receiver.url, headers=headers, body=content)
        took = monotonic() - began
        self._checkpoint(WEBHOOKS_ANSWERED)
        verdict = judge(answer, failures=claim.failures, max_failures=claim.max_failures, rng=self._rng)
        batch.gate.heard(receiver, verdict)
        return Attempted(claim=claim, call=call, verdict=verdict, answer=answer, took=took)

    def _headers(self, call: Call, receiver: Receiver, content: bytes) -> Mapping[str, str]:
        newest, *former = map(StoredSecret.parse, receiver.secrets)
        signing = [newest, *(one for one in former if is_derivable(one, self._keys))]
        secrets = [derive(one, self._keys) for one in signing]
        id_, timestamp = f"msg_{call.message_id.hex}", int(time())
        return {
            "content-type": "application/json",
            "user-agent": "notify",
            "webhook-id": id_,
            "webhook-timestamp": str(timestamp),
            "webhook-signature": sign(secrets, message_id=id_, timestamp=timestamp, body=content),
        }


def _plan(call: Call, claim: Claim, facts: Facts | None) -> _Planned | Attempted:
    """The call that is to be made, or what becomes of it without one."""
    receiver = call.receiver
    if receiver is None or receiver.is_disabled:
        return _skipped(call, claim, DISABLED)
    if facts is None and call.type != TEST:
        return _skipped(call, claim, PRUNED)
    if call.age > LONGEST_AGE.total_seconds():
        return Attempted(claim=claim, call=call, verdict=CallVerdict(status=CallStatus.DEAD, reason=EXPIRED))
    return _Planned(claim=claim, call=call, receiver=receiver, facts=facts or {})


def _skipped(call: Call, claim: Claim, reason: str) -> Attempted:
    return Attempted(claim=claim, call=call, verdict=CallVerdict(status=CallStatus.SKIPPED, reason=reason))


def _postponed(one: _Planned, seconds: float) -> Attempted:
    return Attempted(claim=one.claim, call=one.call, not_called=seconds)


class _EventLoop:
    """An event loop in a thread of its own, which begins with the first work."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._running: set[Future[None]] = set()

    def run(self, work: Coroutine[object, object, None], *, at_most_seconds: float | None) -> None:
        """Begin this work, and wait for its end at most so long; None: until its end."""
        running = asyncio.run_coroutine_threadsafe(work, self._begun())
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        with suppress(TimeoutError, CancelledError):
            running.result(at_most_seconds)

    def stop(self, last: Coroutine[object, object, None], *, at_most_seconds: float) -> None:
        """Let what runs end within this time, then do the *last* work, and end. Safe to repeat."""
        with self._lock:
            loop, self._loop = self._loop, None
        if loop is None:
            last.close()
            return
        for one in wait(set(self._running), timeout=at_most_seconds).not_done:
            one.cancel()
        with suppress(TimeoutError):
            asyncio.run_coroutine_threadsafe(last, loop).result(1)
        loop.call_soon_threadsafe(loop.stop)

    def _begun(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                self._loop = asyncio.new_event_loop()
                self._loop.set_default_executor(ThreadPoolExecutor(THREADS, thread_name_prefix="webhooks"))
                Thread(target=_run, args=(self._loop,), name="webhooks", daemon=True).start()
            return self._loop


def _run(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


class WebhookStage:
    """The stage ``webhooks``: its loop over batches, and the calls that outlast them."""

    name = WEBHOOKS

    def __init__(self, handler: Webhooks, batch: BatchStage) -> None:
        self._handler = handler
        self._batch = batch

    def is_due(self) -> bool:
        return self._batch.is_due()

    def drain(self) -> Mapping[str, float]:
        return self._batch.drain()

    def stop(self, *, at_most_seconds: float = 0.0) -> None:
        """Begin no more calls, and wait for those that are under way."""
        self._batch.stop(at_most_seconds=at_most_seconds)
        self._handler.stop(at_most_seconds=at_most_seconds)
