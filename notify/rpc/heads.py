"""The service ``notify.heads.v1.Heads``: the use case, and what its errors are in gRPC."""

from asyncio import get_running_loop
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from time import perf_counter

import structlog
from grpc import StatusCode
from grpc.aio import ServicerContext

from notify.domain.head_ports import SourceControlUnavailable
from notify.domain.heads import RequestId
from notify.domain.ports import Doorbell
from notify.domain.stages import HEADS
from notify.heads.ingest import EmptyQueue, InvalidQueueName, UnknownQueue
from notify.rpc.auth import PermissionDenied, Unauthenticated, admit
from notify.rpc.v1 import heads_pb2_grpc
from notify.rpc.v1.heads_pb2 import IngestRequest, IngestResponse
from notify.store.database import UNAVAILABLE, Database
from notify.store.directory.tokens import Scope

CODES: dict[type[Exception], StatusCode] = {
    Unauthenticated: StatusCode.UNAUTHENTICATED,
    PermissionDenied: StatusCode.PERMISSION_DENIED,
    InvalidQueueName: StatusCode.INVALID_ARGUMENT,
    UnknownQueue: StatusCode.NOT_FOUND,
    EmptyQueue: StatusCode.FAILED_PRECONDITION,
    SourceControlUnavailable: StatusCode.UNAVAILABLE,
}
UNREACHABLE = "The database does not answer. Try again in a moment; it is safe to repeat the call."
FAILED = "This is an error in the service. It has been logged."

log = structlog.get_logger(__name__)


class HeadsService(heads_pb2_grpc.HeadsServicer):
    """
    Args:
        ingest: Takes in a queue's newest head.
        threads: Where calls wait for the database and for git.
    """

    def __init__(
        self, database: Database, *, ingest: Callable[[str], RequestId], doorbell: Doorbell, threads: Executor
    ) -> None:
        self._database = database
        self._ingest = ingest
        self._doorbell = doorbell
        self._threads = threads

    async def Ingest(  # noqa: N802 - as in the .proto
        self, request: IngestRequest, context: ServicerContext[IngestRequest, IngestResponse]
    ) -> IngestResponse:
        began = perf_counter()
        code, id_, words = StatusCode.OK, "", ""
        metadata = context.invocation_metadata() or ()
        try:
            id_ = await get_running_loop().run_in_executor(self._threads, self._take_in, metadata, request.queue)
        except Exception as error:  # noqa: BLE001 - each is answered, and logged if it is a bug
            code, words = _status_of(error)
        milliseconds = round((perf_counter() - began) * 1000, 1)
        log.info("grpc.call", method="Ingest", status=code.name, milliseconds=milliseconds)
        if code is not StatusCode.OK:
            await context.abort(code, words)
        return IngestResponse(id=id_)

    def _take_in(self, metadata: Iterable[tuple[str, str | bytes]], queue: str) -> str:
        admit(self._database, metadata, scope=Scope.EVENTS_WRITE)
        id_ = self._ingest(queue)
        self._doorbell.ring(HEADS)
        return str(id_)


def _status_of(error: Exception) -> tuple[StatusCode, str]:
    code = CODES.get(type(error))
    if code is not None:
        return code, str(error)
    if isinstance(error, UNAVAILABLE):
        # Its message quotes the statement's values.
        log.warning("database.unreachable", error=type(error.__cause__ or error).__name__)
        return StatusCode.UNAVAILABLE, UNREACHABLE
    log.error("grpc.failed", exc_info=error)
    return StatusCode.INTERNAL, FAILED
