"""Takes in a queue's newest head: one request for each, however many ask, and whatever is interrupted."""

from collections.abc import Callable, Mapping

from notify import checkpoints
from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.errors import NotifyError
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import AlreadyExists, NotFound, SourceControl, Stores
from notify.domain.heads import QUEUE_NAME, Request, RequestId
from notify.heads.queue_rows import advance_latest

REQUEST_NUMBERS = "request"

SourceOf = Callable[[QueueSettings], SourceControl]


class InvalidQueueName(NotifyError):
    """A queue's name has letters, digits and any of _ . / -, at most 100, and begins with a letter, digit or _."""


class UnknownQueue(NotifyError):
    """No queue of this name is configured."""


class EmptyQueue(NotFound):
    """The queue's ref does not exist, so there is no head to take in."""


def ingest(
    name: str,
    *,
    queues: Mapping[str, QueueSettings],
    source_of: SourceOf,
    stores: Stores,
    checkpoint: Checkpoint = no_checkpoint,
) -> RequestId:
    """
    The request that validates the queue's newest head, new or known.

    Raises:
        InvalidQueueName: It is no name.
        UnknownQueue: No such queue is configured; ``known`` names those that are.
        EmptyQueue: Its ref does not exist.
        SourceControlUnavailable: Nothing was stored.
    """
    uri = head_of(source_of(configured(name, queues)))
    return with_request(_claimed(name, uri, stores, checkpoint), uri, stores, checkpoint)


def configured(name: str, queues: Mapping[str, QueueSettings]) -> QueueSettings:
    """
    Raises:
        InvalidQueueName: It is no name.
        UnknownQueue: No such queue is configured; ``known`` names those that are.
    """
    if not QUEUE_NAME.fullmatch(name):
        raise InvalidQueueName(queue=name[:200])
    if name not in queues:
        raise UnknownQueue(queue=name, known=", ".join(sorted(queues)) or "none")
    return queues[name]


def head_of(source: SourceControl) -> str:
    """
    The URI of the ref's newest commit.

    Raises:
        EmptyQueue: The ref does not exist.
        SourceControlUnavailable: Nothing is known.
    """
    try:
        return source.latest()
    except NotFound as error:
        raise EmptyQueue(**error.facts) from None


def numbered(queue: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """A new request's id."""
    id_ = RequestId(queue, stores.counters.next(queue, REQUEST_NUMBERS))
    checkpoint(checkpoints.HEADS_NUMBERED)
    return id_


def with_request(id_: RequestId, uri: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """The id that has claimed the URI, whose request exists now: another process may have ended after the claim."""
    try:
        stores.requests.create(Request(id=id_, uri=uri))
    except AlreadyExists:
        return id_
    checkpoint(checkpoints.HEADS_REQUEST_CREATED)
    advance_latest(stores.queues, id_)
    return id_


def _claimed(queue: str, uri: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """The one request of this head."""
    try:
        return stores.uris.get_id_by_uri(queue, uri)
    except NotFound:
        id_ = numbered(queue, stores, checkpoint)
    try:
        stores.uris.create(queue, uri, id_)
    except AlreadyExists:
        return stores.uris.get_id_by_uri(queue, uri)
    checkpoint(checkpoints.HEADS_URI_CLAIMED)
    return id_
