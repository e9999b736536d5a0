"""Forges and queues, from the forges file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING
from weakref import WeakKeyDictionary

from notify.domain.forge_settings import CommandRunner, GitHubActionsRunner, HttpRunner
from notify.domain.ports import Doorbell
from notify.domain.stages import HEADS
from notify.settings import Settings
from notify.store.database import Database

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from notify.domain.forge_settings import ForgesFile, QueueSettings
    from notify.domain.head_ports import BuildRunner, Stores
    from notify.domain.heads import RequestId
    from notify.heads.stage import Queues
    from notify.vcs.git import GitSourceControl
    from notify.work.forges import Forges


# Stages of one process share a forge's connections and tokens.
_FORGES: WeakKeyDictionary[Database, Forges] = WeakKeyDictionary()


def forge_settings(settings: Settings) -> ForgesFile:
    """
    What NOTIFY_FORGES_FILE says; nothing without one.

    Raises:
        InvalidSettings: With every fault of the file.
    """
    from notify.domain.forge_settings import ForgesFile

    if settings.forges_file is None:
        return ForgesFile()
    from notify import forges_file

    return forges_file.load(settings.forges_file)


def forges(settings: Settings, database: Database) -> Forges:
    """Every configured forge: one set for all that uses this database. Opens no connection."""
    from notify.work.forges import Forge, Forges

    if database not in _FORGES:
        file = forge_settings(settings)
        made = {}
        if file.forges:
            from notify.forges import connect

            for name, one in file.forges.items():
                connected = connect.connected(one)
                made[name] = Forge(
                    one,
                    parser=connect.parser(one),
                    reader=connected.reader,
                    writer=connected.writer,
                    rivals=file.rivals(name),
                )
        _FORGES[database] = Forges(database, made)
    return _FORGES[database]


def queues(settings: Settings, database: Database, *, doorbell: Doorbell) -> Queues:
    """Every configured queue, with what reads its history, builds its heads, and tells of them. Opens no connection."""
    from notify.heads.reporter import CommitAndMail
    from notify.heads.stage import Queues

    configured = forge_settings(settings)
    folder = _heads_folder(settings)
    sources = _sources(configured, folder)
    runners = {one.name: _runner(one, configured, sources[one.name], folder) for one in configured.queues.values()}
    return Queues(
        configured.queues,
        stores=head_stores(database),
        source_of=lambda queue: sources[queue.name],
        runner_of=lambda queue: runners[queue.name],
        reporter_of=lambda queue: CommitAndMail(database, queue, sources[queue.name], doorbell),
    )


def ingest(settings: Settings, database: Database) -> Callable[[str], RequestId]:
    """``notify.heads.ingest`` for the configured queues; needs no forge and no runner. Opens no connection."""
    from notify.heads.ingest import ingest as take_in

    configured = forge_settings(settings)
    sources = _sources(configured, _heads_folder(settings))
    return partial(
        take_in,
        queues=configured.queues,
        source_of=lambda queue: sources[queue.name],
        stores=head_stores(database),
    )


def _heads_folder(settings: Settings) -> Path:
    return settings.data_dir.absolute() / HEADS


def _sources(configured: ForgesFile, folder: Path) -> dict[str, GitSourceControl]:
    from notify.vcs.git import GitSourceControl

    return {one.name: GitSourceControl(one, folder / "mirrors") for one in configured.queues.values()}


def head_stores(database: Database) -> Stores:
    """The stores of heads on PostgreSQL."""
    from notify.domain.head_ports import Stores
    from notify.store.heads.builds import Builds, Facts
    from notify.store.heads.queues import Queues
    from notify.store.heads.requests import Counters, Requests, RequestUris

    return Stores(
        requests=Requests(database),
        uris=RequestUris(database),
        queues=Queues(database),
        builds=Builds(database),
        facts=Facts(database),
        counters=Counters(database),
    )


def _runner(queue: QueueSettings, configured: ForgesFile, source: GitSourceControl, folder: Path) -> BuildRunner:
    match queue.runner:
        case HttpRunner():
            from notify.heads.runners.http import HttpBuildRunner

            return HttpBuildRunner(queue.runner)
        case GitHubActionsRunner():
            from notify.forges import connect
            from notify.heads.runners.github_actions import GitHubActionsBuildRunner

            workflows = connect.workflows(configured.forges[queue.forge])
            return GitHubActionsBuildRunner(queue.runner, workflows, repository=queue.repository)
        case CommandRunner():
            from notify.heads.runners.command import CommandBuildRunner

            return CommandBuildRunner(queue.runner, source.repository_with, folder / "builds")
