"""The stores of heads in memory, held to the same contract as those on PostgreSQL."""

from collections import Counter
from dataclasses import dataclass, field, replace
from threading import Lock

from notify.domain.head_ports import AlreadyExists, NotFound, Stores, VersionMismatch
from notify.domain.heads import Build, Fact, Queue, Request, RequestId


def in_memory() -> Stores:
    return Stores(
        requests=RequestsInMemory(),
        uris=UrisInMemory(),
        queues=QueuesInMemory(),
        builds=BuildsInMemory(),
        facts=FactsInMemory(),
        counters=CountersInMemory(),
    )


@dataclass(slots=True)
class RequestsInMemory:
    rows: dict[RequestId, Request] = field(default_factory=dict)

    def create(self, request: Request) -> None:
        if self.rows.setdefault(request.id, request) is not request:
            raise AlreadyExists(request=request.id)

    def get(self, id_: RequestId) -> Request:
        if id_ not in self.rows:
            raise NotFound(request=id_)
        return self.rows[id_]

    def update(self, request: Request, *, old_version: int, new_version: int) -> None:
        found = self.rows.get(request.id)
        if found is None or found.version != old_version:
            raise VersionMismatch(request=request.id, version=old_version)
        self.rows[request.id] = replace(request, version=new_version)


@dataclass(slots=True)
class UrisInMemory:
    rows: dict[tuple[str, str], RequestId] = field(default_factory=dict)
    lock: Lock = field(default_factory=Lock)

    def create(self, queue: str, uri: str, id_: RequestId) -> None:
        if self.rows.setdefault((queue, uri), id_) is not id_:
            raise AlreadyExists(queue=queue, uri=uri)

    def get_id_by_uri(self, queue: str, uri: str) -> RequestId:
        if (queue, uri) not in self.rows:
            raise NotFound(queue=queue, uri=uri)
        return self.rows[queue, uri]

    def move(self, queue: str, uri: str, *, old: RequestId, new: RequestId) -> None:
        with self.lock:
            if self.rows.get((queue, uri)) != old:
                raise VersionMismatch(queue=queue, uri=uri, request=old)
            self.rows[queue, uri] = new


@dataclass(slots=True)
class QueuesInMemory:
    rows: dict[str, Queue] = field(default_factory=dict)

    def get(self, name: str) -> Queue:
        return self.rows.get(name, Queue(name=name))

    def update(self, queue: Queue, *, old_version: int, new_version: int) -> None:
        if self.get(queue.name).version != old_version:
            raise VersionMismatch(queue=queue.name, version=old_version)
        self.rows[queue.name] = replace(queue, version=new_version)


@dataclass(slots=True)
class BuildsInMemory:
    rows: dict[tuple[str, str], Build] = field(default_factory=dict)

    def create(self, build: Build) -> None:
        taken = any(one.request == build.request for one in self.rows.values())
        if taken or (build.request.queue, build.id) in self.rows:
            raise AlreadyExists(build=build.id, request=build.request)
        self.rows[build.request.queue, build.id] = build

    def get(self, queue: str, id_: str) -> Build:
        if (queue, id_) not in self.rows:
            raise NotFound(queue=queue, build=id_)
        return self.rows[queue, id_]

    def of_request(self, id_: RequestId) -> Build:
        for one in self.rows.values():
            if one.request == id_:
                return one
        raise NotFound(request=id_)

    def update(self, build: Build, *, old_version: int, new_version: int) -> None:
        key = (build.request.queue, build.id)
        if key not in self.rows or self.rows[key].version != old_version:
            raise VersionMismatch(build=build.id, version=old_version)
        self.rows[key] = replace(build, version=new_version)


@dataclass(slots=True)
class FactsInMemory:
    rows: dict[tuple[str, str, str], Fact] = field(default_factory=dict)

    def create(self, fact: Fact) -> None:
        if self.rows.setdefault((fact.queue, fact.uri, fact.project), fact).request != fact.request:
            raise AlreadyExists(queue=fact.queue, uri=fact.uri, project=fact.project)

    def get(self, queue: str, uri: str, project: str) -> Fact:
        if (queue, uri, project) not in self.rows:
            raise NotFound(queue=queue, uri=uri, project=project)
        return self.rows[queue, uri, project]


@dataclass(slots=True)
class CountersInMemory:
    values: Counter[tuple[str, str]] = field(default_factory=Counter)
    lock: Lock = field(default_factory=Lock)

    def next(self, queue: str, domain: str) -> int:
        with self.lock:
            self.values[queue, domain] += 1
            return self.values[queue, domain]
