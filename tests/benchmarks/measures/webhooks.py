"""How fast deliveries of 10 KB are accepted, compared with a bare endpoint that inserts the same bytes."""

import asyncio
import hmac
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from itertools import count
from json import dumps
from pathlib import Path
from signal import SIGTERM
from socket import socket
from statistics import median
from subprocess import STDOUT, Popen
from time import perf_counter

from notify.domain.errors import NotifyError
from notify.embedded.ports import LOOPBACK, free_port
from notify.embedded.processes import stop
from notify.store.database import Database
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers
from tests.benchmarks.measures.latency import p99
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.bare_endpoint import TABLE
from tests.benchmarks.rows import Row, at_least, at_most
from tests.support.wait import until

SECRET = "a secret of a webhook, long enough"
BODY_BYTES = 10_000
CONNECTIONS = 8
STOP_SECONDS = 10
API = ("notify.api.app:create_app", "--http", "notify.api.connections:Connection")
BARE = ("tests.benchmarks.peers.bare_endpoint:create_app",)


class NotAccepted(NotifyError):
    """A delivery was not answered with 202."""


def measure(bench: Bench) -> Iterator[Row]:
    """The fastest of a few runs of each, by turns; then how even the answers are at a third of the rate."""
    with bench.servers.database() as database:
        with database.begin() as connection:
            connection.exec_driver_sql(TABLE)
        with _server(bench.servers, database, BARE) as bare, _server(bench.servers, database, API) as api:
            number = count()
            for port in (bare, api):  # connections, statements and Celery are made at the first ones
                _rate(port, number, bench.scale.deliveries)
            runs = [
                (_rate(port, number, bench.scale.deliveries) for port in (bare, api))
                for _ in range(bench.scale.repeats)
            ]
            rates = [tuple(run) for run in runs]
            theirs, ours = max(one for one, _ in rates), max(one for _, one in rates)
            yield Row(
                what="deliveries of 10 KB accepted",
                unit="deliveries/s",
                figure=ours,
                beside="bare endpoint",
                other=theirs,
                goal=at_least(0.7),
                note=f"{CONNECTIONS} connections, one process each",
            )
            times = asyncio.run(_paced(api, number, bench.scale.deliveries, rate=ours / 3))
            yield Row(
                what="accepting at a third of that rate, p99",
                unit="ms",
                figure=p99(times),
                beside="median",
                other=median(times),
                goal=at_most(3),
            )


@contextmanager
def _server(servers: BenchmarkServers, database: Database, command: tuple[str, ...]) -> Iterator[int]:
    """One process of uvicorn; its port."""
    port = free_port()
    forges = servers.folder / "forges.toml"
    forges.write_text(
        "[forges.github]\nkind = 'gitea'\nweb_url = 'http://127.0.0.1:9'\ntoken = 'env:FORGE_TOKEN'\n"
        "webhook_secrets = ['env:FORGE_SECRET']\n"
    )
    environment = {
        **servers.environment(database, forges_file=str(forges), log_level="error", api_calls_per_minute="1000000"),
        "FORGE_SECRET": SECRET,
        "FORGE_TOKEN": "unused",
        "PYTHONPATH": str(ROOT),
        "PATH": "/usr/bin:/bin",
    }
    arguments = ("-m", "uvicorn", "--factory", *command, "--port", str(port), "--no-access-log")
    log = Path(servers.folder, f"{command[0].partition(':')[0]}.log")
    with log.open("wb") as output:
        process = Popen((sys.executable, *arguments), env=environment, cwd=ROOT, stdout=output, stderr=STDOUT)
        try:
            until(lambda: _answers(port), seconds=30)
            yield port
        finally:
            stop(process, (SIGTERM, STOP_SECONDS))


def _answers(port: int) -> bool:
    with socket() as caller:
        return caller.connect_ex((LOOPBACK, port)) == 0


def _request(number: int) -> bytes:
    body = dumps({"number": number, "words": "x" * BODY_BYTES})[: BODY_BYTES + 40].encode()
    signature = hmac.digest(SECRET.encode(), body, sha256).hex()
    head = (
        "POST /webhooks/github HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
        f"X-Gitea-Event-Type: push\r\nX-Gitea-Event: push\r\nX-Gitea-Delivery: bench-{number}\r\n"
        f"X-Gitea-Signature: {signature}\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


def _rate(port: int, number: "count[int]", deliveries: int) -> float:
    """Deliveries a second over all connections."""
    requests = [_request(next(number)) for _ in range(deliveries)]
    began = perf_counter()
    asyncio.run(_all(port, requests))
    return deliveries / (perf_counter() - began)


async def _all(port: int, requests: list[bytes]) -> None:
    shares = [requests[first::CONNECTIONS] for first in range(CONNECTIONS)]
    await asyncio.gather(*(_one_after_another(port, share) for share in shares))


async def _one_after_another(port: int, requests: list[bytes]) -> None:
    reader, writer = await asyncio.open_connection(LOOPBACK, port)
    for request in requests:
        await _post(reader, writer, request)
    writer.close()


async def _post(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: bytes) -> None:
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    if not head.startswith(b"HTTP/1.1 202"):
        raise NotAccepted(answer=head.partition(b"\r\n")[0].decode())
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))


async def _paced(port: int, number: "count[int]", deliveries: int, *, rate: float) -> list[float]:
    """Milliseconds of each answer, while deliveries come at this rate whatever the answers do."""
    free: asyncio.Queue[tuple[asyncio.StreamReader, asyncio.StreamWriter]] = asyncio.Queue()
    for _ in range(CONNECTIONS):
        free.put_nowait(await asyncio.open_connection(LOOPBACK, port))
    times: list[float] = []
    requests = [_request(next(number)) for _ in range(deliveries)]

    async def deliver(request: bytes, due: float) -> None:
        connection = await free.get()
        await _post(*connection, request)
        times.append((perf_counter() - due) * 1e3)
        free.put_nowait(connection)

    began = perf_counter()
    async with asyncio.TaskGroup() as deliveries_on_their_way:
        for position, request in enumerate(requests):
            due = began + position / rate
            await asyncio.sleep(max(0.0, due - perf_counter()))
            deliveries_on_their_way.create_task(deliver(request, due))
    while not free.empty():
        free.get_nowait()[1].close()
    return times
