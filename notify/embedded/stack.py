"""The embedded stack: servers, catcher, API, worker, beat and Flower under one supervisor."""

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import replace
from pathlib import Path
from secrets import token_urlsafe
from signal import SIG_IGN, SIGHUP, SIGINT, SIGTERM, getsignal, signal
from threading import Event
from time import monotonic, sleep
from typing import Self

from alembic.util import CommandError
from rich.console import Console
from rich.text import Text
from sqlalchemy.exc import ProgrammingError

from notify import wiring
from notify.domain.errors import NotifyError
from notify.embedded.catcher import running_catcher
from notify.embedded.commands import COMMANDS, Command, environment
from notify.embedded.completion import MAIL_FROM, as_string, as_text, completed, for_running_stack, replaced
from notify.embedded.data_folder import (
    STACK_FILE,
    AlreadyRunning,
    ProcessId,
    RunningStack,
    end_leftovers,
    locked,
    running,
)
from notify.embedded.forge.server import FORGE, forging
from notify.embedded.ports import LOOPBACK, free_port, url
from notify.embedded.postgres import PostgresServer
from notify.embedded.processes import POLL_SECONDS
from notify.embedded.supervised import NotifyProcess, Supervised
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from notify.store.database import Database
from notify.store.operations.migrate import has_every_column, upgrade

EMAILS = "emails"
FORGE_FOLDER = "forge"
BEAT_SCHEDULE = "beat-schedule"
WORKER_NAME = "worker@notify"

LOCK_SECONDS = 20
READY_SECONDS = 60
TICK_SECONDS = 0.2

SUPERVISOR = "notify"
COLOURS = {"api": "cyan", "beat": "magenta", "flower": "yellow", "worker": "green", SUPERVISOR: "bold blue"}


class NotReady(NotifyError):
    """The stack did not start in time."""


class OldDataFolder(NotifyError):
    """An earlier version of notify made this data folder. Delete it, or name another one in NOTIFY_DATA_DIR."""


class Stack:
    """
    All embedded servers and processes. A context manager, for one use.

    They start in order and stop in reverse order. A database, broker or relay that a setting names is used instead of
    an embedded one. Data stays in the data folder, which is locked while the stack runs. The next stack ends
    processes that a killed one left running.

    A process or server that ends, or stops answering, is restarted with increasing delays; the others keep running.

    Args:
        settings: Those that are None are filled in; ``settings`` has the result after the start.
        commands: The processes to run, in the order in which they stop.
        console: Takes the supervisor's own lines.
        log: Takes the lines of the processes; None: the console does.
        durable: False lets the embedded PostgreSQL skip every flush to disk. For tests.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        commands: Sequence[Command] = COMMANDS,
        console: Console | None = None,
        log: Console | None = None,
        durable: bool = True,
    ) -> None:
        self.settings = replaced(settings, data_dir=settings.data_dir.resolve())
        self.data_dir = self.settings.data_dir
        self.commands = commands
        self.console = console or Console()
        self.log = log or self.console
        self.durable = durable
        self.stopping = Event()
        self.state = RunningStack(supervisor=ProcessId.of(SUPERVISOR, os.getpid()))
        self._running: list[Supervised] = []
        self._stops = ExitStack()

    def start(self) -> None:
        """Start everything, without waiting until the processes answer."""
        try:
            self._stops.enter_context(locked(self.data_dir, seconds=LOCK_SECONDS))
            for child in end_leftovers(self.data_dir):
                self.say(SUPERVISOR, f"ended {child.name} (pid {child.pid}), left running by a stack that was killed")
            self._record()
            self._stops.callback((self.data_dir / STACK_FILE).unlink, missing_ok=True)
            self._start_servers()
            self._complete_settings()
            self._record(ready=True)
            self._start_children()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Stop everything: the processes that bring work in, then the worker, then the servers."""
        self._stops.close()
        self._running.clear()

    def run(self, on_ready: Callable[[RunningStack], None] | None = None, *, stay: bool = True) -> None:
        """
        Start, wait until everything answers, call *on_ready*, and stay until SIGINT, SIGTERM or SIGHUP.

        Call it in the main thread. It returns after an orderly stop; further signals are ignored meanwhile.

        Args:
            on_ready: None says where everything is.
            stay: False stops as soon as *on_ready* returns.
        """
        with _signals(self.stopping), self:
            self.wait_until_ready()
            if not self.stopping.is_set():
                (on_ready or self._say_where)(self.state)
            while stay and not self.stopping.wait(TICK_SECONDS):
                self._watch()
            self.say(SUPERVISOR, "stopping")

    def wait_until_ready(self) -> None:
        """Return when every process that is probed has answered, or a signal asks us to stop."""
        end = monotonic() + READY_SECONDS
        while waiting := [one for one in self._running if not one.is_up]:
            if self.stopping.wait(TICK_SECONDS):
                return
            self._watch()
            for one in waiting:
                if one.health and one.keeps_ending:
                    raise NotReady(keeps_ending=one.name)
            if monotonic() > end:
                raise NotReady(waiting_for=", ".join(one.name for one in waiting))

    def say(self, name: str, line: str) -> None:
        prefix = Text(f"{name:<8}", style=COLOURS.get(name, ""))
        out = self.console if name == SUPERVISOR else self.log
        out.print(prefix.append(" "), Text.from_ansi(line), sep="", soft_wrap=True)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _say_where(self, state: RunningStack) -> None:
        for name, at in sorted(state.urls.items()):
            self.say(SUPERVISOR, f"{name} at {at}")

    def _start_servers(self) -> None:
        """Start the servers that no setting names, and migrate the database."""
        if self.settings.database_url is None:
            self._supervise(
                Supervised("postgres", postgres := PostgresServer(self.data_dir, durable=self.durable), say=self.say)
            )
            self._fill(database_url=postgres.url)
            _migrate(postgres.url, self.data_dir)
        else:
            upgrade(as_string(self.settings.database_url))
        if self.settings.broker_url is None:
            valkey = ValkeyServer(self.data_dir, password=token_urlsafe())
            self._supervise(Supervised("valkey", valkey, say=self.say))
            self._fill(broker_url=valkey.url)
        if self.settings.smtp_url is None:
            self._start_catcher()

    def _supervise(self, supervised: Supervised) -> None:
        self._stops.callback(supervised.stop)
        supervised.start()
        self._running.append(supervised)
        self._record()

    def _start_catcher(self) -> None:
        smtp = self._port("the catcher", self.settings.catcher_port)
        web = self._port("the inbox", self.settings.inbox_port, taken=[smtp])
        catcher = self._stops.enter_context(running_catcher(self.data_dir / EMAILS, smtp_port=smtp, inbox_port=web))
        self._fill(smtp_url=catcher.smtp_url, catcher_port=smtp, inbox_port=web)
        self.state = replace(self.state, urls={**self.state.urls, "inbox": catcher.inbox_url})

    def _start_forge(self, api_url: str, *, taken: Sequence[int]) -> None:
        port = self._port("the forge", self.settings.forge_port, taken=taken)
        forge = self._stops.enter_context(
            forging(
                self.data_dir / FORGE_FOLDER,
                webhook_url=f"{api_url}/webhooks/{FORGE}",
                port=port,
                builds=wiring.builds_folder(self.settings),
            )
        )
        self._fill(forges_file=forge.configuration, forge_port=port)
        self.state = replace(self.state, urls={**self.state.urls, "forge": forge.url})

    def _complete_settings(self) -> None:
        api = self._port("the API", self.settings.api_port, host=self.settings.api_host)
        flower = self._port("Flower", self.settings.flower_port, taken=[api])
        urls = {"api": url(self.settings.api_host, api), "flower": url(LOOPBACK, flower)}
        self._fill(api_port=api, flower_port=flower)
        if self.settings.forges_file is None:
            self._start_forge(urls["api"], taken=[api, flower])
        if self.settings.mail_from is None and "inbox" not in self.state.urls:
            self.say(SUPERVISOR, f"NOTIFY_MAIL_FROM is not set: emails are sent from {MAIL_FROM}")
        if self.settings.worker_health_port is None:
            self._fill(worker_health_host=LOOPBACK, worker_health_port=free_port(taken=[api, flower]))
        self.settings = completed(self.settings)
        self.state = replace(self.state, urls={**urls, **self.state.urls})

    def _port(self, name: str, wanted: int, *, host: str = LOOPBACK, taken: Sequence[int] = ()) -> int:
        port = free_port(wanted, host=host, taken=taken)
        if port != wanted:
            self.say(SUPERVISOR, f"port {wanted} is busy: {name} is on {port}")
        return port

    def _start_children(self) -> None:
        facts = {
            **self.settings.model_dump(),
            "api_url": self.state.urls["api"],
            "flower_url": self.state.urls["flower"],
            "worker_health_url": url(
                self.settings.worker_health_host or LOOPBACK, self.settings.worker_health_port or 0
            ),
            "beat_schedule": self.data_dir / BEAT_SCHEDULE,
            "flower_host": LOOPBACK,
            "worker_name": WORKER_NAME,
        }
        settings = self.settings
        if settings.log_format == "auto":  # the output of the processes is a pipe
            settings = replaced(settings, log_format="console" if self.log.is_terminal else "json")
        variables = {**environment(settings), "PYTHONUNBUFFERED": "1"}
        for command in reversed(self.commands):
            process = NotifyProcess(command, facts, environment=variables, say=self.say)
            health = command.health and command.health.format(**facts)
            self._supervise(
                Supervised(command.name, process, say=self.say, health=health, probe_seconds=command.probe_seconds)
            )

    def _watch(self) -> None:
        if [one for one in self._running if one.watch()]:
            self._record()

    def _fill(self, **values: object) -> None:
        self.settings = replaced(self.settings, **values)

    def _record(self, *, ready: bool = False) -> None:
        """Save what is running, so that other commands can use it, or end it if we are killed."""
        self.state = replace(
            self.state,
            ready=self.state.ready or ready,
            settings=as_text(self.settings),
            children=tuple(ProcessId.of(one.name, pid) for one in self._running if (pid := one.pid)),
        )
        self.state.save(self.data_dir)


@contextmanager
def stack_settings(settings: Settings) -> Iterator[Settings]:
    """
    Complete settings for one command on the embedded stack.

    If no stack is running, PostgreSQL is started on the data folder, migrated, and stopped at the end; emails then wait
    for the stack. If another command is doing the same, this one waits for it.
    """
    settings = replaced(settings, data_dir=settings.data_dir.resolve())
    with ExitStack() as exits:
        try:
            exits.enter_context(locked(settings.data_dir, seconds=LOCK_SECONDS))
            stack = None
        except AlreadyRunning:
            stack = _started(settings.data_dir)
        if stack is not None:
            yield for_running_stack(settings, stack.settings)
            return
        end_leftovers(settings.data_dir)
        postgres = exits.enter_context(PostgresServer(settings.data_dir))
        _migrate(postgres.url, settings.data_dir)
        yield completed(replaced(settings, database_url=postgres.url))


def _migrate(database_url: str, data_dir: Path) -> None:
    """
    Raises:
        OldDataFolder: The folder's database has other migrations.
    """
    try:
        upgrade(database_url)
    except (ProgrammingError, CommandError) as error:
        raise OldDataFolder(folder=str(data_dir)) from error
    if not has_every_column(database_url):
        raise OldDataFolder(folder=str(data_dir))
    with closing(Database(database_url, pool_size=1)) as database:
        wiring.store_event_types(database)


def _started(data_dir: Path) -> RunningStack:
    """The stack that is starting here, as soon as its database can be used."""
    end = monotonic() + READY_SECONDS
    while (stack := running(data_dir)) and monotonic() < end:
        if stack.ready:
            return stack
        sleep(POLL_SECONDS)
    raise NotReady(folder=str(data_dir))


@contextmanager
def _signals(stopping: Event) -> Iterator[None]:
    """Have SIGINT, SIGTERM and SIGHUP set *stopping* and do nothing else. ``nohup`` is respected."""
    stopping_signals = [SIGINT, SIGTERM] if getsignal(SIGHUP) is SIG_IGN else [SIGINT, SIGTERM, SIGHUP]
    before = {number: signal(number, lambda *_: stopping.set()) for number in stopping_signals}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal(number, handler)
