"""The public keys of people's tokens, from the issuer's JWK Set: fetched rarely and cached."""

from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import timedelta
from threading import BoundedSemaphore, Lock
from time import monotonic
from types import MappingProxyType
from typing import Any

import jwt
import structlog

from notify.domain.errors import NotifyError
from notify.resources import version

FETCH_SECONDS = 5.0
MAX_WAITING = 20
FRESH = timedelta(minutes=5).total_seconds()
KEPT = timedelta(days=1).total_seconds()
PAUSE_SECONDS = 30.0
PAUSE_AFTER_FAILURE_SECONDS = 5.0

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# The algorithms of each kind of key. A published symmetric key (oct) proves nothing.
ALGORITHMS: Mapping[tuple[str, str | None], tuple[str, ...]] = MappingProxyType(
    {
        ("RSA", None): RSA,
        ("EC", "P-256"): ("ES256",),
        ("EC", "P-384"): ("ES384",),
        ("EC", "P-521"): ("ES512",),
        ("EC", "secp256k1"): ("ES256K",),
        ("OKP", "Ed25519"): ("EdDSA",),
        ("OKP", "Ed448"): ("EdDSA",),
    }
)

ASYMMETRIC = frozenset(algorithm for found in ALGORITHMS.values() for algorithm in found)

Keys = Mapping[tuple[str | None, str], jwt.PyJWK]

log = structlog.get_logger(__name__)


class KeysUnavailable(NotifyError):
    """The keys of people's tokens cannot be fetched."""


class PublishedKeys:
    """
    Finds keys by id and algorithm in the set that an issuer publishes.

    A known key is returned immediately. A set older than five minutes is refreshed in the background, and used for up
    to a day if the issuer does not answer. An unknown key causes at most two fetches a minute, so that made-up ids
    cost the issuer nothing. At most 20 callers wait for a fetch, for five seconds. Thread-safe; blocks, so do not call
    it in an event loop.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = monotonic) -> None:
        headers = {"User-Agent": f"notify/{version()}", "Accept": "application/jwk-set+json, application/json"}
        self._client = jwt.PyJWKClient(url, headers=headers, timeout=FETCH_SECONDS, cache_jwk_set=False)
        self._clock = clock
        self._lock = Lock()
        self._waiting = BoundedSemaphore(MAX_WAITING)
        self._fetcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="published-keys")
        self._last_fetch: Future[None] | None = None
        self._keys: Keys = {}
        self._fetched_at = self._asked_at = -KEPT

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """
        The key; None if the issuer does not publish it.

        Raises:
            KeysUnavailable: The keys could not be fetched.
        """
        if algorithm not in ASYMMETRIC:
            return None
        key = self._known(kid, algorithm)
        if key is not None and self._clock() <= self._fetched_at + FRESH:
            return key
        fetch = self._latest_fetch()
        if key is not None:
            return key
        self._wait_for(fetch)
        return self._known(kid, algorithm)

    def _known(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        return self._keys.get((kid, algorithm)) if self._clock() < self._fetched_at + KEPT else None

    def _latest_fetch(self) -> Future[None]:
        """The current fetch; else the last one, or a new one if that was long enough ago."""
        with self._lock:
            last, now = self._last_fetch, self._clock()
            if last is None or (last.done() and now >= self._asked_at + _pause_after(last)):
                self._asked_at = now
                last = self._last_fetch = self._fetcher.submit(self._fetch)
            return last

    def _wait_for(self, fetch: Future[None]) -> None:
        if not self._waiting.acquire(blocking=False):
            raise KeysUnavailable(reason="too many calls are waiting")
        try:
            fetch.result(FETCH_SECONDS)
        except Exception as error:  # noqa: BLE001 - whatever is published, the next fetch may find something else
            raise KeysUnavailable(reason=type(error).__name__) from None
        finally:
            self._waiting.release()

    def _fetch(self) -> None:
        try:
            found = _usable(self._client.fetch_data())
        except Exception as error:
            log.warning("published_keys.unavailable", error=type(error).__name__)
            raise
        self._keys, self._fetched_at = found, self._clock()


def _pause_after(fetch: Future[None]) -> float:
    return PAUSE_SECONDS if fetch.exception() is None else PAUSE_AFTER_FAILURE_SECONDS


def _usable(document: Mapping[str, Any]) -> Keys:
    """
    Every key that may have signed a token, once for each algorithm it can be used with.

    Raises:
        KeysUnavailable: There is none.

    Source: RFC 7517 §4.2 to §4.4: ``use``, ``key_ops`` and ``alg`` restrict a key if present.
    """
    found: dict[tuple[str | None, str], jwt.PyJWK] = {}
    for one in document["keys"]:
        try:
            verifies = one.get("use", "sig") == "sig" and "verify" in one.get("key_ops", ["verify"])
            kid = None if one.get("kid") is None else str(one["kid"])
            for algorithm in ALGORITHMS.get((one["kty"], one.get("crv")), ()) if verifies else ():
                if one.get("alg") in {None, algorithm}:
                    found[kid, algorithm] = jwt.PyJWK(one, algorithm)
        except (jwt.PyJWTError, AttributeError, LookupError, TypeError, ValueError) as error:
            log.warning("published_keys.unusable", error=type(error).__name__)
    if not found:
        raise KeysUnavailable(reason="no usable keys")
    return found
