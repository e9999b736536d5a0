"""Builds, and the facts that they establish."""

from json import dumps

from sqlalchemy import Row

from notify.domain.head_ports import AlreadyExists, NotFound, VersionMismatch
from notify.domain.heads import Build, BuildStatus, Fact, ProjectResult, RequestId
from notify.store.database import Database

_CREATE_BUILD = """
    INSERT INTO notify.builds (queue, id, request_id, status, url, projects, version)
    VALUES (%(queue)s, %(id)s, %(request_id)s, %(status)s, %(url)s, %(projects)s::jsonb, %(version)s)
    ON CONFLICT DO NOTHING"""
_BUILD = """
    SELECT queue, id, request_id, status, url, projects, version FROM notify.builds WHERE queue = %(queue)s AND {0}"""
_BUILD_BY_ID = _BUILD.format("id = %(id)s")
_BUILD_OF_REQUEST = _BUILD.format("request_id = %(request_id)s")
_UPDATE_BUILD = """
    UPDATE notify.builds
    SET status = %(status)s, url = %(url)s, projects = %(projects)s::jsonb, version = %(new_version)s
    WHERE queue = %(queue)s AND id = %(id)s AND version = %(old_version)s"""
# The first writer's fact stands; its request may write it again.
_CREATE_FACT = """
    WITH made AS (
        INSERT INTO notify.facts (queue, uri, project, degree, request_id)
        VALUES (%(queue)s, %(uri)s, %(project)s, %(degree)s, %(request_id)s)
        ON CONFLICT (queue, uri, project) DO NOTHING RETURNING request_id
    )
    SELECT request_id FROM made
    UNION ALL
    SELECT request_id FROM notify.facts WHERE queue = %(queue)s AND uri = %(uri)s AND project = %(project)s"""
_FACT = """
    SELECT queue, uri, project, degree, request_id, created_at FROM notify.facts
    WHERE queue = %(queue)s AND uri = %(uri)s AND project = %(project)s"""


class Builds:
    """A ``BuildStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, build: Build) -> None:
        with self._database.single() as connection:
            if not connection.exec_driver_sql(_CREATE_BUILD, _values(build)).rowcount:
                raise AlreadyExists(build=build.id, request=build.request)

    def get(self, queue: str, id_: str) -> Build:
        with self._database.single() as connection:
            row = connection.exec_driver_sql(_BUILD_BY_ID, {"queue": queue, "id": id_}).first()
        if row is None:
            raise NotFound(queue=queue, build=id_)
        return _build(row)

    def of_request(self, id_: RequestId) -> Build:
        with self._database.single() as connection:
            values = {"queue": id_.queue, "request_id": id_.number}
            row = connection.exec_driver_sql(_BUILD_OF_REQUEST, values).first()
        if row is None:
            raise NotFound(request=id_)
        return _build(row)

    def update(self, build: Build, *, old_version: int, new_version: int) -> None:
        values = _values(build) | {"old_version": old_version, "new_version": new_version}
        with self._database.single() as connection:
            if not connection.exec_driver_sql(_UPDATE_BUILD, values).rowcount:
                raise VersionMismatch(build=build.id, version=old_version)


class Facts:
    """A ``FactStore``."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def create(self, fact: Fact) -> None:
        values = {
            "queue": fact.queue,
            "uri": fact.uri,
            "project": fact.project,
            "degree": fact.degree,
            "request_id": fact.request.number,
        }
        with self._database.single() as connection:
            found = connection.exec_driver_sql(_CREATE_FACT, values).scalar()
        if found != fact.request.number:
            raise AlreadyExists(queue=fact.queue, uri=fact.uri, project=fact.project)

    def get(self, queue: str, uri: str, project: str) -> Fact:
        with self._database.single() as connection:
            row = connection.exec_driver_sql(_FACT, {"queue": queue, "uri": uri, "project": project}).first()
        if row is None:
            raise NotFound(queue=queue, uri=uri, project=project)
        return Fact(
            queue=queue,
            uri=uri,
            project=project,
            degree=row.degree,
            request=RequestId(queue, row.request_id),
            created_at=row.created_at,
        )


def _values(build: Build) -> dict[str, object]:
    return {
        "queue": build.request.queue,
        "id": build.id,
        "request_id": build.request.number,
        "status": build.status.value,
        "url": build.url,
        "projects": dumps({one.name: one.degree for one in build.projects}),
        "version": build.version,
    }


def _build(row: Row[tuple[object, ...]]) -> Build:
    return Build(
        id=row.id,
        request=RequestId(row.queue, row.request_id),
        status=BuildStatus(row.status),
        url=row.url,
        projects=tuple(ProjectResult(name, float(degree)) for name, degree in row.projects.items()),
        version=row.version,
    )
