"""Reads listings page by page: by ``Link``, else by Gitea's total count, else until a page is empty."""

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
        """The result of *read* for the object at this address."""
        reply = self.client.get(path, scope)
        assert reply is not None, "no etag was given"  # noqa: S101 - for the type checker
        return self.read(reply, read)

    def read(self, reply: Reply, read: Callable[[Fields], T]) -> T:
        """The result of *read* for the object in a successful answer."""
        try:
            return read(Fields(self.client.read(reply)))
        except Misfit as misfit:
            raise self._garbled(reply, misfit) from None

    def array(
        self, path: str, scope: Scope, read: Callable[[Fields], T], *, params: Mapping[str, str] | None = None
    ) -> Sequence[T]:
        """The results of *read* for an array that has no pages."""
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
        The results of *read* for all items; None is left out.

        Args:
            inside: The array's name, if a page is an object that contains it.
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
                return  # this address has no pages and always answers the same
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
        """The fault for a successful answer that does not have the documented shape."""
        return self.client.connection.fault_of(reply, Unavailable(reason="garbled", words=str(misfit)))


def _all_seen(reply: Reply, seen: int) -> bool:
    """Whether all items were read, by Gitea's own count."""
    stated = reply.headers.get("x-total-count", "")
    return stated.isascii() and stated.isdigit() and seen >= int(stated)


def until(changes: Iterator[Change], since: datetime) -> Iterator[Change]:
    """The items before the first one that was updated earlier; later pages are not read."""
    return takewhile(lambda change: change.updated_at >= since, changes)
