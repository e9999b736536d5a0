"""Webhooks of the embedded forge: signed, sent in order by a thread, kept with their answers; they can go wrong."""

import hmac
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from hashlib import sha256
from itertools import count
from json import dumps
from queue import SimpleQueue
from threading import Condition, Thread
from time import monotonic
from typing import Any
from uuid import uuid4

import httpx

SECONDS = 10
KEPT = 1_000
UNSENT = 0


@dataclass(slots=True)
class HookDelivery:
    """One webhook and the last answer to it; ``status_code`` 0: there was none."""

    id: int
    guid: str
    event: str
    action: str | None
    repository: str
    repository_id: int
    body: bytes
    created_at: datetime
    status_code: int = UNSENT
    seconds: float = 0.0
    redelivery: bool = False

    @property
    def arrived(self) -> bool:
        return httpx.codes.is_success(self.status_code)


@dataclass(slots=True)
class Trouble:
    """
    How webhooks go wrong.

    Attributes:
        drop: They are never sent.
        times: How often each is sent.
        reverse: They are kept back until ``release``, which sends the last one first.
        wrong_signature: They are signed with another secret.
    """

    drop: bool = False
    times: int = 1
    reverse: bool = False
    wrong_signature: bool = False


@dataclass(slots=True)
class Hooks:
    """
    Sends webhooks to one address, in the order in which things happened.

    Args:
        url: None: webhooks are kept and not sent.
        now: The clock, aware UTC.
    """

    url: str | None
    secret: str
    now: Callable[[], datetime]
    trouble: Trouble = field(default_factory=Trouble)
    deliveries: list[HookDelivery] = field(default_factory=list)
    _numbers: Any = field(default_factory=lambda: count(1))
    _queue: SimpleQueue[HookDelivery | None] = field(default_factory=SimpleQueue)
    _kept_back: list[HookDelivery] = field(default_factory=list)
    _idle: Condition = field(default_factory=Condition)
    _waiting: int = 0
    _thread: Thread | None = None

    def start(self) -> None:
        self._thread = Thread(target=self._send_all, name="forge-hooks", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Send what waits, and end."""
        self._queue.put(None)
        if self._thread is not None:
            self._thread.join(2 * SECONDS)

    def tell(self, event: str, *, repository: str, repository_id: int, payload: dict[str, Any]) -> None:
        """Keep a webhook and have it sent."""
        told = HookDelivery(
            id=next(self._numbers),
            guid=str(uuid4()),
            event=event,
            action=payload.get("action"),
            repository=repository,
            repository_id=repository_id,
            body=dumps(payload).encode(),
            created_at=self.now(),
        )
        self.deliveries.append(told)
        del self.deliveries[:-KEPT]
        if self.trouble.drop:
            return
        if self.trouble.reverse:
            self._kept_back.append(told)
        else:
            self._enqueue(told)

    def release(self) -> None:
        """Send what was kept back, the last one first."""
        while self._kept_back:
            self._enqueue(self._kept_back.pop())

    def again(self, delivery: HookDelivery) -> None:
        """Send a webhook again, under its own id."""
        delivery.redelivery = True
        self._enqueue(delivery)

    def wait(self, *, seconds: float = SECONDS) -> bool:
        """Wait until all that is to be sent has been answered or given up; whether that was in time."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._waiting, seconds)

    def _enqueue(self, delivery: HookDelivery) -> None:
        for _ in range(self.trouble.times):
            with self._idle:
                self._waiting += 1
            self._queue.put(delivery)

    def _send_all(self) -> None:
        with httpx.Client(timeout=SECONDS) as client:
            while (delivery := self._queue.get()) is not None:
                self._send(client, delivery)
                with self._idle:
                    self._waiting -= 1
                    self._idle.notify_all()

    def _send(self, client: httpx.Client, delivery: HookDelivery) -> None:
        if self.url is None:
            return
        began = monotonic()
        secret = f"not {self.secret}" if self.trouble.wrong_signature else self.secret
        headers = {
            "Content-Type": "application/json",
            "User-Agent": "GitHub-Hookshot/notify",
            "X-GitHub-Delivery": delivery.guid,
            "X-GitHub-Event": delivery.event,
            "X-Hub-Signature-256": f"sha256={hmac.digest(secret.encode(), delivery.body, sha256).hex()}",
        }
        try:
            delivery.status_code = client.post(self.url, content=delivery.body, headers=headers).status_code
        except httpx.HTTPError:
            delivery.status_code = UNSENT
        delivery.seconds = round(monotonic() - began, 3)
