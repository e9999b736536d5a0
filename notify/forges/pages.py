"""Listings page by page: ``Link`` names the next one; without it, Gitea counts all items or ends with an empty page."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from re import compile as pattern
from typing import TypeVar

from notify.domain.forge import Change, Listing
from notify.domain.forge_answers import ForgeFault, Refused, Unavailable
from notify.domain.forge_settings import ForgeKind
from notify.forges.client import ForgeClient, Reply, Scope
from notify.forges.common.fields import Fields, Misfit

T = TypeVar("T")

MOST_PAGES = 10_000
NEXT = pattern(r'<([^<>]+)>\s*(?:;[^,<>]*)?;\s*rel="?next"?')


@dataclass(frozen=True, slots=True)
class Pages:
    """The listings of one forge."""

    client: ForgeClient
    kind: ForgeKind

    def one(self, path: str, scope: Scope, read: Callable[[Fields], T]) -> T:
        """What *read* makes of the one object at this address."""
        reply = self.client.get(path, scope)
        assert reply is not None, "no etag was given"  # noqa: S101 - for the type checker
        return self.read(reply, read)

    def read(self, reply: Reply, read: Callable[[Fields], T]) -> T:
        """What *read* makes of the one object in a good answer."""
        try:
            return read(Fields(self.client.read(reply)))
        except Misfit as misfit:
            raise self._garbled(reply, misfit) from None

    def array(
        self, path: str, scope: Scope, read: Callable[[Fields], T], *, params: Mapping[str, str] | None = None
    ) -> Sequence[T]:
        """What *read* makes of the objects at this address, which are not in pages."""
        reply = self.client.get(path, scope, params=params)
        return list(self._read(reply, self._values(reply, None), read)) if reply else ()

    def listing(
        self,
        path: str,
        scope: Scope,
        read: Callable[[Fields], T | None],
        *,
        params: Mapping[str, str] | None = None,
        etag: str | None = None,
        inside: str | None = None,
    ) -> Listing[T]:
        """
        What *read* makes of each item; what it has no use for (None) is left out.

        Args:
            inside: The name of the array, where a page is an object that holds it.
        """
        size = {"per_page": "100"} if self.kind is ForgeKind.GITHUB else {"limit": "50"}
        asked = size | dict(params or {})
        first = self.client.get(path, scope, params=asked, etag=etag)
        if first is None:
            return Listing(items=iter(()), etag=etag, unchanged=True)
        return Listing(items=self._items(first, path, scope, asked, read=read, inside=inside), etag=first.etag)

    def _items(
        self,
        first: Reply,
        path: str,
        scope: Scope,
        params: Mapping[str, str],
        *,
        read: Callable[[Fields], T | None],
        inside: str | None,
    ) -> Iterator[T]:
        reply: Reply | None = first
        before: bytes | None = None
        seen = 0
        for page in range(2, MOST_PAGES + 2):
            assert reply is not None, "only the first page is conditional"  # noqa: S101 - for the type checker
            if reply.body == before:
                return  # the address knows no pages and gives the same for each
            before, values = reply.body, self._values(reply, inside)
            seen += len(values)
            yield from self._read(reply, values, read)
            following = NEXT.search(reply.headers.get("link", ""))
            if following:
                reply = self.client.get(following[1], scope)
            elif self.kind is ForgeKind.GITHUB or not values or _all_seen(reply, seen):
                return
            else:
                reply = self.client.get(path, scope, params={**params, "page": str(page)})
        raise self.client.connection.fault("GET", path, None, Refused(reason="unexpected", words="too many pages"))

    def _values(self, reply: Reply, inside: str | None) -> Sequence[object]:
        found = self.client.read(reply)
        if inside is not None and isinstance(found, dict):
            found = found.get(inside)
        if found is None and self.kind is ForgeKind.GITEA:
            return ()
        if not isinstance(found, list):
            raise self.client.connection.fault_of(reply, Unavailable(reason="garbled"))
        return found

    def _read(self, reply: Reply, values: Sequence[object], read: Callable[[Fields], T | None]) -> Iterator[T]:
        for value in values:
            try:
                one = read(Fields(value))
            except Misfit as misfit:
                raise self._garbled(reply, misfit) from None
            if one is not None:
                yield one

    def _garbled(self, reply: Reply, misfit: Misfit) -> ForgeFault:
        """A good answer that has not the shape which its forge documents."""
        return self.client.connection.fault_of(reply, Unavailable(reason="garbled", words=str(misfit)))


def _all_seen(reply: Reply, seen: int) -> bool:
    """By Gitea's own count of all items."""
    stated = reply.headers.get("x-total-count", "")
    return stated.isascii() and stated.isdigit() and seen >= int(stated)


def until(changes: Iterator[Change], since: datetime) -> Iterator[Change]:
    """Those that come before the first one that was updated earlier; pages behind it are not read."""
    return takewhile(lambda change: change.updated_at >= since, changes)
