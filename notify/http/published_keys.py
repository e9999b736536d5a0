"""The keys that an issuer of tokens publishes (a JWK Set): fetched in the background, kept, and asked for seldom."""

from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from threading import BoundedSemaphore, Event, Lock, Thread
from time import monotonic
from types import MappingProxyType
from typing import Any

import jwt
import structlog

from notify.domain.errors import NotifyError
from notify.resources import version

FETCH_SECONDS = 5.0
ABANDONED_SECONDS = 60.0
MOST_WAITING = 20
FRESH = timedelta(minutes=5).total_seconds()
KEPT = timedelta(days=1).total_seconds()
PAUSE_SECONDS = 30.0
PAUSE_AFTER_FAILURE_SECONDS = 5.0

RSA = ("RS256", "RS384", "RS512", "PS256", "PS384", "PS512")
# What a key of each kind may have signed. A symmetric key (oct) that is published proves nothing.
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
    Finds keys by their id and algorithm, in the set that an issuer publishes.

    A key that is known is given at once. A set older than five minutes is fetched anew meanwhile, and used for a day
    if the issuer does not answer. A key that is not known is looked for at most twice a minute, whoever asks, so that
    made-up ids cost the issuer nothing; who waits for it waits five seconds at most, and few wait at a time. Safe for
    threads; blocks, so it must not be called in an event loop.
    """

    def __init__(self, url: str, *, clock: Callable[[], float] = monotonic) -> None:
        headers = {"User-Agent": f"notify/{version()}", "Accept": "application/jwk-set+json, application/json"}
        self._client = jwt.PyJWKClient(url, headers=headers, timeout=FETCH_SECONDS, cache_jwk_set=False)
        self._clock = clock
        self._lock = Lock()
        self._waiting = BoundedSemaphore(MOST_WAITING)
        self._keys: Keys = {}
        self._fetched_at = self._asked_at = -KEPT
        self._fetching: Event | None = None
        self._failure: str | None = None

    def find(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        """
        The key; None if the issuer publishes none such.

        Raises:
            KeysUnavailable: Nobody can say at the moment.
        """
        if algorithm not in ASYMMETRIC:
            return None
        key = self._known(kid, algorithm)
        if key is not None:
            if self._clock() > self._fetched_at + FRESH:
                self._fetch_aside()
            return key
        fetching = self._fetch_aside()
        if fetching is not None:
            self._wait_for(fetching)
        if self._failure is not None:
            raise KeysUnavailable(reason=self._failure)
        return self._known(kid, algorithm)

    def _known(self, kid: str | None, algorithm: str) -> jwt.PyJWK | None:
        return self._keys.get((kid, algorithm)) if self._clock() < self._fetched_at + KEPT else None

    def _fetch_aside(self) -> Event | None:
        """Begin to fetch, or join the fetch that has begun; None while it is too soon for another one."""
        with self._lock:
            now = self._clock()
            if self._fetching is not None and now < self._asked_at + ABANDONED_SECONDS:
                return self._fetching
            if now < self._asked_at + (PAUSE_AFTER_FAILURE_SECONDS if self._failure else PAUSE_SECONDS):
                return None
            self._asked_at, self._fetching = now, Event()
            Thread(target=self._fetch, args=[self._fetching], name="published-keys", daemon=True).start()
            return self._fetching

    def _wait_for(self, fetching: Event) -> None:
        left = self._asked_at + FETCH_SECONDS - self._clock()
        if not self._waiting.acquire(blocking=False):
            raise KeysUnavailable(reason="too many wait for them")
        try:
            if not fetching.wait(max(left, 0)):
                raise KeysUnavailable(reason="no answer in time")
        finally:
            self._waiting.release()

    def _fetch(self, done: Event) -> None:
        try:
            found = dict(_usable(self._client.fetch_data()))
            failure = None if found else "no usable keys"
        except Exception as error:  # noqa: BLE001 - whatever is published, the next try may find something else
            found, failure = {}, type(error).__name__
        if failure is not None:
            log.warning("published_keys.unavailable", error=failure)
        with self._lock:
            self._failure = failure
            if found:
                self._keys, self._fetched_at = found, self._clock()
            if self._fetching is done:
                self._fetching = None
        done.set()


def _usable(document: Mapping[str, Any]) -> Iterator[tuple[tuple[str | None, str], jwt.PyJWK]]:
    """
    Every key that may have signed a token, once for each algorithm that it may have been used with.

    Source: RFC 7517 §4.2 to §4.4: ``use``, ``key_ops`` and ``alg`` restrict a key where they are stated.
    """
    for one in document["keys"]:
        try:
            verifies = one.get("use", "sig") == "sig" and "verify" in one.get("key_ops", ["verify"])
            for algorithm in ALGORITHMS.get((one["kty"], one.get("crv")), ()) if verifies else ():
                if one.get("alg") in {None, algorithm}:
                    kid = one.get("kid")
                    yield (kid if kid is None else str(kid), algorithm), jwt.PyJWK(one, algorithm)
        except (jwt.PyJWTError, AttributeError, LookupError, TypeError, ValueError) as error:
            log.warning("published_keys.unusable", error=type(error).__name__)
