"""Changes a queue's row by compare-and-set: its newest request, its slots, its last green head."""

from collections.abc import Callable
from dataclasses import replace

from notify.domain.errors import NotifyError
from notify.domain.head_ports import QueueStore, Stores, VersionMismatch
from notify.domain.heads import Queue, Request, RequestId

MOST_ROUNDS = 50


class Contended(NotifyError):
    """Others changed the queue's row each time before we could."""


def changed(queues: QueueStore, name: str, change: Callable[[Queue], Queue]) -> Queue:
    """
    The queue after *change*, which is repeated when another was faster; a queue that it leaves alone is not written.

    Raises:
        Contended: Another was faster too often.
    """
    for _ in range(MOST_ROUNDS):
        queue = queues.get(name)
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


def take_slot(queues: QueueStore, id_: RequestId, *, most: int) -> bool:
    """Whether the request has a slot now; a request that has one keeps it."""

    def take(queue: Queue) -> Queue:
        is_open = len(queue.in_flight) < most
        return replace(queue, in_flight=queue.in_flight | {id_.number}) if is_open else queue

    return id_.number in changed(queues, id_.queue, take).in_flight


def release_slot(queues: QueueStore, *ids: RequestId) -> None:
    """These requests, which are of one queue, have no slots any more."""
    numbers = {one.number for one in ids}
    if ids:
        changed(queues, ids[0].queue, lambda queue: replace(queue, in_flight=queue.in_flight - numbers))


def reclaim_slots(stores: Stores, queue: str) -> None:
    """
    Take back the slots of requests that are at their end.

    A process that lost its lease may take a slot for such a request and end before it gives it back.
    """
    holders = [RequestId(queue, number) for number in sorted(stores.queues.get(queue).in_flight)]
    release_slot(stores.queues, *(one for one in holders if stores.requests.get(one).state.is_final))


def advance_last_green(queues: QueueStore, request: Request) -> bool:
    """Whether this is the last green head now; a newer one stays."""

    def advance(queue: Queue) -> Queue:
        if request.id.number <= (queue.last_green_request_id or 0):
            return queue
        return replace(queue, last_green_uri=request.uri, last_green_request_id=request.id.number)

    return changed(queues, request.id.queue, advance).last_green_request_id == request.id.number
