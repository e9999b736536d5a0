"""
One HTTP POST to a webhook endpoint.

Decided: an endpoint's name is resolved here, and one of its addresses is called: the one that was checked. Only public
    addresses may be called, and the private networks that are configured; plain HTTP only there.
Decided: no redirect is followed and no proxy is used. Of the answer only the status and a header are kept: its words
    may repeat what was sent, and nobody would erase them.
"""

import asyncio
import ssl
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from socket import SOCK_STREAM

import httpx

from notify.domain.errors import NotifyError
from notify.domain.http_times import retry_after
from notify.domain.webhooks import CallAnswer

Network = IPv4Network | IPv6Network
Address = IPv4Address | IPv6Address

CONNECT_SECONDS = 5.0
# Of an answer: enough to use the connection again after most of them.
MOST_READ = 16_384
MOST_OF_IPV4 = 2**32 - 1
# Source: RFC 6052 §2.1.
NAT64 = IPv6Network("64:ff9b::/96")
DEFAULT_PORTS = {"https": 443, "http": 80}


class AddressRefused(NotifyError):
    """The endpoint's address is private and in none of NOTIFY_WEBHOOK_NETWORKS."""


class PlainHttpRefused(NotifyError):
    """The endpoint is public; only networks in NOTIFY_WEBHOOK_NETWORKS are called without TLS."""


class WebhookClient:
    """
    Calls endpoints. Lives in one event loop.

    Args:
        networks: Private networks that may be called.
        seconds: Limit of a call.
        tls: What verifies certificates.
    """

    def __init__(self, *, networks: Sequence[Network], seconds: float, tls: ssl.SSLContext) -> None:
        self._seconds = seconds
        timeout = httpx.Timeout(seconds, connect=min(seconds, CONNECT_SECONDS))
        self._http = httpx.AsyncClient(transport=_CheckedTransport(networks, tls), timeout=timeout, trust_env=False)

    async def close(self) -> None:
        await self._http.aclose()

    async def post(self, url: str, *, headers: Mapping[str, str], body: bytes) -> CallAnswer:
        """What the endpoint answers; that it does not is an answer without a code."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._answer(url, headers, body)
        except TimeoutError:
            return CallAnswer(text=f"no answer within {self._seconds:g} s")
        except NotifyError as error:
            return CallAnswer(text=str(error))
        except (httpx.HTTPError, httpx.InvalidURL, OSError) as error:
            return CallAnswer(text=_cause(error))

    async def _answer(self, url: str, headers: Mapping[str, str], body: bytes) -> CallAnswer:
        async with self._http.stream("POST", url, headers=dict(headers), content=body) as response:
            read = 0
            async for piece in response.aiter_raw():
                read += len(piece)
                if read > MOST_READ:
                    break
            wait = retry_after(response.headers, now=datetime.now(UTC))
            return CallAnswer(code=response.status_code, retry_after=wait)


class _CheckedTransport(httpx.AsyncBaseTransport):
    """
    Connects to an address that may be called, by its number, and expects the certificate of the name.

    Each host has connections of its own: hosts behind one address must not share them.
    """

    def __init__(self, networks: Sequence[Network], tls: ssl.SSLContext) -> None:
        self._networks = networks
        self._tls = tls
        self._of_host: dict[str, httpx.AsyncHTTPTransport] = {}

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        host = request.url.host
        port = request.url.port or DEFAULT_PORTS[request.url.scheme]
        permitted = _permitted(await _addresses(host, port), self._networks, is_plain=request.url.scheme == "http")
        if host not in self._of_host:
            self._of_host[host] = httpx.AsyncHTTPTransport(verify=self._tls, trust_env=False)
        request.extensions = {**request.extensions, "sni_hostname": host}
        for address in permitted[:-1]:
            request.url = request.url.copy_with(host=str(address))
            with suppress(httpx.ConnectError):
                return await self._of_host[host].handle_async_request(request)
        request.url = request.url.copy_with(host=str(permitted[-1]))
        return await self._of_host[host].handle_async_request(request)

    async def aclose(self) -> None:
        for one in self._of_host.values():
            await one.aclose()


async def _addresses(host: str, port: int) -> list[Address]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=SOCK_STREAM)
    return [ip_address(where[0]) for *_, where in found]


def _permitted(addresses: Iterable[Address], networks: Sequence[Network], *, is_plain: bool) -> list[Address]:
    """
    The addresses that may be called, at least one.

    Raises:
        AddressRefused: There is none.
        PlainHttpRefused: There is none without TLS.
    """
    found = list(dict.fromkeys(addresses))
    permitted = [
        one for one in found if any(one in network for network in networks) or (not is_plain and _is_public(one))
    ]
    if not permitted:
        raise PlainHttpRefused if any(map(_is_public, found)) else AddressRefused
    return permitted


def _is_public(address: Address) -> bool:
    """An IPv6 address that stands for an IPv4 one is as public as that."""
    checked = address
    if isinstance(address, IPv6Address):
        within = IPv4Address(int(address) & MOST_OF_IPV4) if address in NAT64 else None
        checked = address.ipv4_mapped or address.sixtofour or within or address
    return checked.is_global and not checked.is_multicast


def _cause(error: BaseException) -> str:
    """The operating system's message; the client's own may repeat a header."""
    cause: BaseException | None = error
    words = type(error).__name__
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"certificate: {cause.verify_message}"
        if isinstance(cause, OSError) and cause.strerror:
            words = cause.strerror
        cause = cause.__cause__ or cause.__context__
    return words
