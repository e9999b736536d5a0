"""Changes a queue's row by compare-and-set: its newest request, its slots, its last green head."""

from collections.abc import Callable
from dataclasses import replace

from notify.domain.errors import NotifyError
from notify.domain.head_ports import QueueStore, Stores, VersionMismatch
from notify.domain.heads import Queue, Request, RequestId

MOST_ROUNDS = 50


class Contended(NotifyError):
    """Others changed the queue's row each time before we could."""


def changed(queues: QueueStore, name: str, change: Callable[[Queue], Queue], *, known: Queue | None = None) -> Queue:
    """
    The queue after *change*, which is repeated when another was faster; a queue that it leaves alone is not written.

    Args:
        known: As it was read a moment ago; None: it is read.

    Raises:
        Contended: Another was faster too often.
    """
    for _ in range(MOST_ROUNDS):
        queue, known = known or queues.get(name), None
        wanted = change(queue)
        if wanted == queue:
            return queue
        version = queue.version + 1
        try:
            queues.update(wanted, old_version=queue.version, new_version=version)
        except VersionMismatch:
            continue
        return replace(wanted, version=version)
    raise Contended(queue=name)


def advance_latest(queues: QueueStore, id_: RequestId) -> Queue:
    """Remember the newest request; never an older one."""
    return changed(
        queues, id_.queue, lambda queue: replace(queue, latest_request_id=max(queue.latest_request_id, id_.number))
    )


def take_slot(stores: Stores, id_: RequestId, *, queue: Queue, most: int) -> bool:
    """
    Whether the request has a slot now; a request that has one keeps it.

    Slots of requests that are at their end are taken back first: a process that lost its lease may take one for such
    a request and end before it gives it back.

    Args:
        queue: As it was read a moment ago.
    """

    def take(queue: Queue) -> Queue:
        in_flight = queue.in_flight - finished
        is_open = id_.number in in_flight or len(in_flight) < most
        return replace(queue, in_flight=in_flight | {id_.number} if is_open else in_flight)

    holders = (RequestId(id_.queue, number) for number in sorted(queue.in_flight - {id_.number}))
    finished = {one.number for one in holders if stores.requests.get(one).state.is_final}
    return id_.number in changed(stores.queues, id_.queue, take, known=queue).in_flight


def release_slot(queues: QueueStore, id_: RequestId) -> bool:
    """The request has no slot any more; whether it had one."""
    had = False

    def release(queue: Queue) -> Queue:
        nonlocal had
        had = id_.number in queue.in_flight
        return replace(queue, in_flight=queue.in_flight - {id_.number})

    changed(queues, id_.queue, release)
    return had


def advance_last_green(queues: QueueStore, request: Request) -> bool:
    """Whether this is the last green head now; a newer one stays."""

    def advance(queue: Queue) -> Queue:
        if request.id.number <= (queue.last_green_request_id or 0):
            return queue
        return replace(queue, last_green_uri=request.uri, last_green_request_id=request.id.number)

    return changed(queues, request.id.queue, advance).last_green_request_id == request.id.number
