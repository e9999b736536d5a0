"""Forges and queues, from the forges file, which is read once for all that uses one database."""

from __future__ import annotations

from contextlib import ExitStack
from functools import cached_property, partial
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


class _Named:
    """
    What the forges file names, made once, each part when it is first asked for. Opens no connection.

    Raises:
        InvalidSettings: With every fault of the file.
    """

    def __init__(self, settings: Settings, database: Database) -> None:
        self._database = database
        self._mirrors, self._builds = _heads_folder(settings) / "mirrors", builds_folder(settings)
        self._clients = ExitStack()
        self.file = _read(settings)

    @cached_property
    def forges(self) -> Forges:
        from notify.work.forges import Forge, Forges

        made = {}
        if self.file.forges:
            from notify.forges import connect

            for name, one in self.file.forges.items():
                connected = connect.connected(one)
                made[name] = Forge(
                    one,
                    parser=connect.parser(one),
                    reader=connected.reader,
                    writer=connected.writer,
                    workflows=connected.workflows,
                    rivals=self.file.rivals(name),
                )
        forges = Forges(self._database, made)
        self._clients.callback(forges.close)
        return forges

    @cached_property
    def sources(self) -> dict[str, GitSourceControl]:
        """By queue, as *runners*."""
        from notify.vcs.git import GitSourceControl

        return {one.name: GitSourceControl(one, self._mirrors) for one in self.file.queues.values()}

    @cached_property
    def runners(self) -> dict[str, BuildRunner]:
        return {one.name: self._runner(one) for one in self.file.queues.values()}

    def close(self) -> None:
        """Close every connection."""
        self._clients.close()

    def _runner(self, queue: QueueSettings) -> BuildRunner:
        match queue.runner:
            case HttpRunner():
                from notify.heads.runners.http import HttpBuildRunner

                runner = HttpBuildRunner(queue.runner)
                self._clients.callback(runner.close)
                return runner
            case GitHubActionsRunner():
                from notify.heads.runners.github_actions import GitHubActionsBuildRunner

                workflows = self.forges.by_name[queue.forge].workflows
                assert workflows is not None, "the file names GitHub's"  # noqa: S101 - for the type checker
                return GitHubActionsBuildRunner(queue.runner, workflows, repository=queue.repository)
            case CommandRunner():
                from notify.heads.runners.command import CommandBuildRunner

                repository_with = self.sources[queue.name].repository_with
                return CommandBuildRunner(queue.runner, repository_with, self._builds)


_NAMED: WeakKeyDictionary[Database, _Named] = WeakKeyDictionary()


def _named(settings: Settings, database: Database) -> _Named:
    """One for a process, whose stages share a forge's connections and tokens."""
    if database not in _NAMED:
        _NAMED[database] = _Named(settings, database)
    return _NAMED[database]


def _read(settings: Settings) -> ForgesFile:
    if settings.forges_file is None:
        from notify.domain.forge_settings import ForgesFile

        return ForgesFile()
    from notify import forges_file

    return forges_file.load(settings.forges_file)


def forge_settings(settings: Settings, database: Database) -> ForgesFile:
    """
    What NOTIFY_FORGES_FILE said when it was read; nothing without one.

    Raises:
        InvalidSettings: With every fault of the file; so do the functions below.
    """
    return _named(settings, database).file


def forges(settings: Settings, database: Database) -> Forges:
    """Every configured forge."""
    return _named(settings, database).forges


def queues(settings: Settings, database: Database, *, doorbell: Doorbell) -> Queues:
    """Every configured queue, with what reads its history, builds its heads, and tells of them."""
    from notify.heads.reporter import CommitAndMail
    from notify.heads.stage import Queues

    named = _named(settings, database)
    sources, runners = named.sources, named.runners
    return Queues(
        named.file.queues,
        stores=head_stores(database),
        source_of=lambda queue: sources[queue.name],
        runner_of=lambda queue: runners[queue.name],
        reporter_of=lambda queue: CommitAndMail(database, queue, sources[queue.name], doorbell),
    )


def ingest(settings: Settings, database: Database) -> Callable[[str], RequestId]:
    """``notify.heads.ingest`` for the configured queues; needs no forge and no runner."""
    from notify.heads.ingest import ingest as take_in

    named = _named(settings, database)
    sources = named.sources
    return partial(
        take_in,
        queues=named.file.queues,
        source_of=lambda queue: sources[queue.name],
        stores=head_stores(database),
    )


def close_forges(database: Database) -> None:
    """Close the connections to forges and runners. Call it at the end of the process, when nothing uses them."""
    named = _NAMED.pop(database, None)
    if named is not None:
        named.close()


def builds_folder(settings: Settings) -> Path:
    """Where builds of commands are kept, a folder each."""
    return _heads_folder(settings) / "builds"


def _heads_folder(settings: Settings) -> Path:
    return settings.data_dir.absolute() / HEADS


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
