"""Translates the broker's URL for Celery, including Redis Sentinel."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import SplitResult, parse_qsl, urlsplit

SCHEMES = ("redis://", "rediss://", "redis+socket://", "sentinel://", "amqp://", "amqps://")
SENTINEL = "sentinel://"
SENTINEL_PORT = 26379
REDIS_TLS = "rediss://"
MASTER_NAME = "master_name"
SENTINEL_USER = {"sentinel_username": "username", "sentinel_password": "password"}


@dataclass(frozen=True, slots=True)
class Broker:
    """
    The broker that doorbells are sent to.

    Attributes:
        url: For Celery; may contain a password.
        options: For kombu's transport, which does not read them from the URL.
        tls: How to check a Redis server's certificate; None without TLS, and for other brokers.
    """

    url: str
    options: Mapping[str, object] = field(default_factory=dict)
    tls: Mapping[str, str] | None = None

    @property
    def celery_settings(self) -> dict[str, object]:
        return {"broker_url": self.url, **({} if self.tls is None else {"broker_use_ssl": dict(self.tls)})}


def broker(stated: str) -> Broker:
    """
    The broker for a configured URL.

    ``sentinel://:PASSWORD@one:26379;two:26379/0?master_name=NAME`` names any number of sentinels. User, password and
    database number are those of the Redis servers, given once; ``sentinel_username`` and ``sentinel_password`` are for
    the sentinels themselves.

    Raises:
        ValueError: The URL is invalid; the message contains nothing of it.
    """
    if not stated.startswith(SCHEMES):
        message = f"expected a URL that begins with one of {', '.join(SCHEMES)}"
        raise ValueError(message)
    if stated.startswith(REDIS_TLS):
        return Broker(stated, tls=_tls(stated))
    return _sentinels(stated) if stated.startswith(SENTINEL) else Broker(stated)


def _tls(stated: str) -> Mapping[str, str]:
    """
    The certificate is checked unless the URL has ``ssl_cert_reqs=none``.

    Without this, kombu would check nothing by default, and Flower would fail.
    """
    asked = {name: value for name, value in parse_qsl(urlsplit(stated).query) if name.startswith("ssl_")}
    asked["ssl_cert_reqs"] = asked.get("ssl_cert_reqs", "required").lower().removeprefix("cert_")
    return asked


def _sentinels(stated: str) -> Broker:
    parts = [urlsplit(f"//{part.removeprefix(SENTINEL)}") for part in stated.split(";")]
    asked = dict(parse_qsl("&".join(part.query for part in parts)))
    if set(asked) - {MASTER_NAME, *SENTINEL_USER} or not asked.get(MASTER_NAME):
        message = "expected sentinel://host:26379;host:26379/0?master_name=… and nothing else but sentinel_password"
        raise ValueError(message)
    hosts = [_address(part) for part in parts]
    user = next((f"{part.netloc.rpartition('@')[0]}@" for part in parts if "@" in part.netloc), "")
    path = next((part.path for part in parts if part.path.strip("/")), "/0")
    options: dict[str, object] = {MASTER_NAME: asked[MASTER_NAME]}
    if theirs := {name: asked[key] for key, name in SENTINEL_USER.items() if key in asked}:
        options["sentinel_kwargs"] = theirs
    return Broker(";".join(f"{SENTINEL}{user}{host}{path}" for host in hosts), options)


def _address(part: SplitResult) -> str:
    try:
        host, port = part.hostname, part.port or SENTINEL_PORT
    except ValueError:
        host = None
    if not host:
        message = "expected a host, and a port between 1 and 65535, for each sentinel"
        raise ValueError(message)
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
