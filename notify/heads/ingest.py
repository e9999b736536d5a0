"""Takes in a queue's newest head: one request for each, however many ask, and whatever is interrupted."""

from collections.abc import Callable, Mapping

from notify import checkpoints
from notify.checkpoints import Checkpoint, no_checkpoint
from notify.domain.errors import NotifyError
from notify.domain.forge_settings import QueueSettings
from notify.domain.head_ports import AlreadyExists, NotFound, SourceControl, Stores, VersionMismatch
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

    A head of an older request is the newest again after history was rewritten, or if a process that had read an older
    head was slow to take that in. It gets a new request, unless something was found out about it.

    Raises:
        InvalidQueueName: It is no name.
        UnknownQueue: No such queue is configured; ``known`` names those that are.
        EmptyQueue: Its ref does not exist.
        SourceControlUnavailable: Nothing was stored.
    """
    source = source_of(configured(name, queues))
    uri = head_of(source)
    try:
        id_ = stores.uris.get_id_by_uri(name, uri)
    except NotFound:
        return _with_request(_claimed(name, uri, stores, checkpoint), uri, stores, checkpoint)
    try:
        known = stores.requests.get(id_)
    except NotFound:  # a process ended after its claim
        return _with_request(id_, uri, stores, checkpoint)
    if not known.is_replaceable or id_.number == stores.queues.get(name).latest_request_id:
        return id_
    new = replaced(known, source, stores, checkpoint)
    return new or ingest(name, queues=queues, source_of=source_of, stores=stores, checkpoint=checkpoint)


def replaced(old: Request, source: SourceControl, stores: Stores, checkpoint: Checkpoint) -> RequestId | None:
    """
    A new request for the head of an old one, which stays as it is; None: the ref is at another commit.

    Of several that replace it at once, one makes the request and all get its id.
    """
    # The number first: whatever is not at the ref yet when we look is numbered after it, and comes after this request.
    id_ = _numbered(old.id.queue, stores, checkpoint)
    if head_of(source) != old.uri:
        return None
    try:
        stores.uris.move(old.id.queue, old.uri, old=old.id, new=id_)
    except VersionMismatch:
        id_ = stores.uris.get_id_by_uri(old.id.queue, old.uri)
    else:
        checkpoint(checkpoints.HEADS_URI_CLAIMED)
    return _with_request(id_, old.uri, stores, checkpoint)


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


def _numbered(queue: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """A new request's id."""
    id_ = RequestId(queue, stores.counters.next(queue, REQUEST_NUMBERS))
    checkpoint(checkpoints.HEADS_NUMBERED)
    return id_


def _with_request(id_: RequestId, uri: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """The id that has claimed the URI, whose request exists now: another process may have ended after the claim."""
    try:
        stores.requests.create(Request(id=id_, uri=uri))
    except AlreadyExists:
        return id_
    checkpoint(checkpoints.HEADS_REQUEST_CREATED)
    advance_latest(stores.queues, id_)
    return id_


def _claimed(queue: str, uri: str, stores: Stores, checkpoint: Checkpoint) -> RequestId:
    """The one request of this new head."""
    id_ = _numbered(queue, stores, checkpoint)
    try:
        stores.uris.create(queue, uri, id_)
    except AlreadyExists:
        return stores.uris.get_id_by_uri(queue, uri)
    checkpoint(checkpoints.HEADS_URI_CLAIMED)
    return id_
