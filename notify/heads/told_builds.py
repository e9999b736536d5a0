"""Takes in what a runner says of a build by itself, so that nobody need ask for it."""

from dataclasses import replace

from notify.domain.head_ports import Stores
from notify.domain.heads import Build, BuildReport
from notify.heads.steps import record_build
from notify.store.database import Database
from notify.store.heads import requests


def take_in(database: Database, stores: Stores, queue: str, build_id: str, report: BuildReport) -> Build:
    """
    Record the report; its request is due at once. The first final status stands, also against another.

    Raises:
        NotFound: The queue has no such build.
    """
    build = stores.builds.get(queue, build_id)
    if not build.status.is_final:
        told = replace(build, status=report.status, url=report.url or build.url, projects=report.projects)
        build = record_build(stores, told)
    with database.begin() as connection:
        requests.make_due(connection, build.request)
    return build
