"""Serves gRPC, with health and reflection, until the process is told to stop."""

import asyncio
from asyncio import Event, get_running_loop
from concurrent.futures import ThreadPoolExecutor
from signal import SIGINT, SIGTERM
from socket import AF_INET, AF_INET6, SO_REUSEADDR, SOL_SOCKET, socket

import structlog
from grpc import aio
from grpc_health.v1 import health
from grpc_health.v1.health_pb2 import HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
from grpc_reflection.v1alpha import reflection

from notify import wiring
from notify.domain.errors import NotifyError
from notify.rpc.heads import HeadsService
from notify.rpc.v1.heads_pb2 import DESCRIPTOR
from notify.rpc.v1.heads_pb2_grpc import add_HeadsServicer_to_server
from notify.settings import Settings

THREADS = 16
MOST_CALLS = 1_000
MAX_MESSAGE_BYTES = 64 * 1024
# Longer than one call waits for git.
STOP_SECONDS = 25
FLUSH_SECONDS = 2.0
HEADS = DESCRIPTOR.services_by_name["Heads"].full_name

log = structlog.get_logger(__name__)


class CannotListen(NotifyError):
    """gRPC cannot be served at NOTIFY_GRPC_HOST and NOTIFY_GRPC_PORT."""


def run(settings: Settings) -> None:
    """
    Serve until SIGTERM or SIGINT; calls that are under way are finished.

    Raises:
        CannotListen: The port is taken, or the address is not one of this machine.
    """
    database = wiring.database(settings)
    doorbell = wiring.doorbell(settings)
    threads = ThreadPoolExecutor(THREADS, "ingest")
    service = HeadsService(database, ingest=wiring.ingest(settings, database), doorbell=doorbell, threads=threads)
    try:
        asyncio.run(_serve(service, host=settings.grpc_host, port=settings.grpc_port))
    finally:
        threads.shutdown(wait=False, cancel_futures=True)
        doorbell.flush(at_most_seconds=FLUSH_SECONDS)
        database.close()


async def _serve(service: HeadsService, *, host: str, port: int) -> None:
    stopping = Event()
    for signal in (SIGTERM, SIGINT):
        get_running_loop().add_signal_handler(signal, stopping.set)
    server = aio.server(
        maximum_concurrent_rpcs=MOST_CALLS,
        # Otherwise a second server listens on the same port, and each gets some of the calls.
        options=[("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES)],
    )
    alive = health.aio.HealthServicer()
    add_HeadsServicer_to_server(service, server)
    add_HealthServicer_to_server(alive, server)
    reflection.enable_server_reflection((HEADS, health.SERVICE_NAME, reflection.SERVICE_NAME), server)
    address = _free(host, port)
    server.add_insecure_port(address)
    await server.start()
    for name in (health.OVERALL_HEALTH, HEADS):
        await alive.set(name, HealthCheckResponse.SERVING)
    log.info("grpc.serving", address=address)
    await stopping.wait()
    log.info("grpc.stopping")
    await alive.enter_graceful_shutdown()
    await server.stop(STOP_SECONDS)


def _free(host: str, port: int) -> str:
    """The address as gRPC takes it. gRPC would say why it is not free in lines of its own."""
    is_v6 = ":" in host
    address = f"[{host}]:{port}" if is_v6 else f"{host}:{port}"
    with socket(AF_INET6 if is_v6 else AF_INET) as probe:
        probe.setsockopt(SOL_SOCKET, SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise CannotListen(address=address, reason=error.strerror) from None
    return address
