"""Nobody keeps a connection for ever, neither with half of a call nor by not reading the answer."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from socket import SO_RCVBUF, SOL_SOCKET, create_connection, socket
from urllib.parse import urlsplit

import httpx
import pytest
from psutil import CONN_ESTABLISHED, net_connections

from notify.channels.links import SignedLinks
from tests.support.api_server import TIMEOUT_SECONDS, served
from tests.support.wait import until

CALLERS = 100
HEAD = b"POST %s HTTP/1.1\r\nHost: notify.test\r\nContent-Type: application/x-www-form-urlencoded\r\n"


@pytest.fixture(scope="module", params=["asyncio", "uvloop"])
def url(
    lasting_environment: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> Iterator[str]:
    """The address of a server that waits a second for its callers."""
    environment = {**lasting_environment, "NOTIFY_API_CLIENT_SECONDS": "1"}
    with served(environment, tmp_path_factory.mktemp("api") / "log", options=("--loop", request.param)) as at:
        yield at


@pytest.fixture
def link(lasting_environment: Mapping[str, str]) -> bytes:
    """Somebody's signed link."""
    links = SignedLinks(secrets=[lasting_environment["NOTIFY_SECRET_KEYS"]], public_url="")
    return links.preferences("dana").encode()


def called(url: str, sent: bytes) -> socket:
    """A connection on which this much of a call was sent."""
    address = urlsplit(url)
    connection = create_connection((address.hostname, address.port), timeout=TIMEOUT_SECONDS)
    connection.sendall(sent)
    connection.setblocking(False)
    return connection


def heard(connection: socket) -> bytes | None:
    """The answer; empty if the other side has hung up, null if it has said nothing yet."""
    try:
        return connection.recv(10_000)
    except BlockingIOError:
        return None
    except ConnectionResetError:
        return b""


def drip(connection: socket) -> bytes | None:
    """The answer; while there is none, one more byte is sent."""
    answer = heard(connection)
    if answer is None:
        with suppress(BrokenPipeError, ConnectionResetError, BlockingIOError):
            connection.send(b"a")
    return answer


def test_hundreds_of_unfinished_calls_are_closed_in_time_and_others_are_answered(url: str, link: bytes) -> None:
    half_a_body = HEAD % link + b"Content-Length: 1000\r\n\r\nsave=yes&"
    assert httpx.get(f"{url}/livez", timeout=TIMEOUT_SECONDS).status_code == 200
    heads = [called(url, HEAD % link + b"X-Slow: ") for _ in range(CALLERS)]
    bodies = [called(url, half_a_body) for _ in range(CALLERS // 10)]
    silent = [called(url, b"") for _ in range(CALLERS // 10)]
    again = [called(url, b"GET /livez HTTP/1.1\r\nHost: notify.test\r\n\r\nGET /li") for _ in range(CALLERS // 10)]
    unread = [called(url, HEAD.replace(b"POST", b"GET") % b"/livez" + b"Content-Length: 100000\r\n\r\na")]
    assert httpx.get(f"{url}/livez", timeout=TIMEOUT_SECONDS).status_code == 200

    answered = until(ended(heads), seconds=TIMEOUT_SECONDS)
    assert all(one.startswith(b"HTTP/1.1 408") for one in answered)
    answered = until(ended(bodies), seconds=TIMEOUT_SECONDS)
    assert all(b"HTTP/1.1 408" in one for one in answered)
    until(ended(silent, listen=heard), seconds=TIMEOUT_SECONDS)
    assert all(b"HTTP/1.1 200" in one for one in until(ended(again), seconds=TIMEOUT_SECONDS))
    assert all(b"HTTP/1.1 200" in one for one in until(ended(unread), seconds=TIMEOUT_SECONDS))


def ended(connections: list[socket], *, listen: Callable[[socket], bytes | None] = drip) -> Callable[[], list[bytes]]:
    """Asks whether all of these were closed: their answers; empty until then."""
    answers, waiting = dict.fromkeys(connections, b""), set(connections)

    def ask() -> list[bytes]:
        for one in list(waiting):
            answer = listen(one)
            answers[one] += answer or b""
            if answer == b"":
                one.close()
                waiting.discard(one)
        return [] if waiting else list(answers.values())

    return ask


def test_a_caller_that_does_not_read_the_answer_is_disconnected(url: str) -> None:
    assert httpx.get(f"{url}/livez", timeout=TIMEOUT_SECONDS).status_code == 200
    address = urlsplit(url)
    with socket() as connection:
        connection.setsockopt(SOL_SOCKET, SO_RCVBUF, 1)
        connection.connect((address.hostname, address.port))
        connection.sendall(b"GET /openapi.json HTTP/1.1\r\nHost: notify.test\r\n\r\n" * 30)
        mine = connection.getsockname()

        def connected() -> bool:
            return CONN_ESTABLISHED in {one.status for one in net_connections("tcp") if one.raddr == mine}

        until(lambda: not connected(), every_seconds=0.1)
