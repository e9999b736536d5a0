"""Validates a queue's head again, by hand, where nothing was found out about it: as a new request."""

from collections.abc import Mapping
from types import MappingProxyType

from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.errors import NotifyError
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import Stores
from notify.domain.heads import Request, RequestId, RequestState
from notify.heads.ingest import SourceOf, configured, replaced


class CannotRetry(NotifyError):
    """The queue's newest request cannot be retried."""


class NoRequest(CannotRetry):
    """The queue has no request yet: take its head in."""


class UnderWay(CannotRetry):
    """The queue's newest request is still under way."""


class HeadIsGreen(CannotRetry):
    """The queue's head was found green, and what was found out stands."""


class HeadIsBroken(CannotRetry):
    """The queue's head was found broken, and what was found out stands: push a commit that repairs it."""


class Superseded(CannotRetry):
    """The queue's newest request gave way to another: take in the queue's head instead."""


class NotTheHead(CannotRetry):
    """The queue's ref has left the commit of its newest request: take in its head instead."""


REFUSALS: Mapping[RequestState, type[CannotRetry]] = MappingProxyType(
    {
        RequestState.ACCEPTED: UnderWay,
        RequestState.PROCESSING: UnderWay,
        RequestState.SUCCEEDED: HeadIsGreen,
        RequestState.FAILED: HeadIsBroken,
        RequestState.SUPERSEDED: Superseded,
    }
)


def retry(
    name: str,
    *,
    queues: Mapping[str, QueueSettings],
    source_of: SourceOf,
    stores: Stores,
    checkpoint: Checkpoint = no_checkpoint,
) -> RequestId:
    """
    A new request for the head of the queue's newest one, which was given up or cancelled and stays as it is.

    Of several that retry it at once, one makes the request and all get its id.

    Raises:
        CannotRetry: Why not.
        InvalidQueueName: It is no name.
        UnknownQueue: No such queue is configured; ``known`` names those that are.
        EmptyQueue: Its ref does not exist.
        SourceControlUnavailable: Nothing was stored.
    """
    source = source_of(configured(name, queues))
    old = _unvalidated(name, stores)
    new = replaced(old, source, stores, checkpoint)
    if new is None:
        raise NotTheHead(request=old.id)
    return new


def _unvalidated(name: str, stores: Stores) -> Request:
    """The queue's newest request, of whose head nothing is known."""
    number = stores.queues.get(name).latest_request_id
    if not number:
        raise NoRequest(queue=name)
    request = stores.requests.get(RequestId(name, number))
    if not request.is_retriable:
        raise REFUSALS[request.state](request=request.id)
    return request
