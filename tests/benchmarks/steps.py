"""The two steps of ``tests.benchmarks.drain``: what each does before ``ready``, and between the line and ``done``."""

import os
import socket
import sys
from argparse import ArgumentParser, ArgumentTypeError, Namespace
from collections.abc import Sequence
from contextlib import chdir, closing
from dataclasses import asdict
from json import dumps
from pathlib import Path
from signal import SIGTERM, signal
from tempfile import TemporaryDirectory
from time import monotonic
from typing import NoReturn

from kombu.exceptions import OperationalError as BrokerAway
from sqlalchemy.exc import DBAPIError

from notify import logs, wiring
from notify.channels.email.smtp.relay import Relay
from notify.domain.errors import InvalidSettings, NotifyError
from notify.settings import Settings, load
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from tests.benchmarks import workload
from tests.benchmarks.benchmark_servers import MAIL
from tests.benchmarks.paused_workers import NoRelay, paused_workers
from tests.benchmarks.tally import now, tally

READY, DONE = "ready", "done"
ANSWER_SECONDS = 5
USAGE = 1


class NobodySaidGo(NotifyError):
    """Standard input ended before a line came; nothing was done."""


class Unreachable(NotifyError):
    """A server does not answer."""


def main() -> int:
    """Run the step that the command line names, as a process of its own; the exit code."""
    logs.configure(level="warning", style="auto")
    signal(SIGTERM, _leave)
    return run(sys.argv[1:])


def run(arguments: Sequence[str]) -> int:
    """Run the step that the arguments name; the exit code."""
    asked = _parser().parse_args(arguments)
    for name, value in MAIL.items():
        os.environ.setdefault(name, value)
    try:
        with TemporaryDirectory(prefix="notify-bench-") as folder, chdir(folder):
            _do(asked, Path(folder))
    except (NotifyError, DBAPIError) as error:
        sys.stderr.write(f"{asked.step}: {error}\n")
        return USAGE
    return 0


def enqueue(settings: Settings, database: Database, *, emails: int) -> None:
    """Enqueue emails after the start signal; the directory is filled before. None is sent."""
    workload.fill_directory(database)
    _await_go()
    began = monotonic()
    workload.enqueue(settings, database, emails=emails)
    _say(DONE)
    _note(emails=emails, seconds=monotonic() - began)


def drain(settings: Settings, database: Database, folder: Path) -> None:
    """Drain with workers that were started before, until nothing is due; then stop them."""
    _refuse_unreachable(settings)
    with paused_workers(settings, database, folder) as workers:
        _await_go()
        began, instant = monotonic(), now(database)
        workers.start()
        workers.finish()
        seconds = monotonic() - began
        _say(DONE)
    _note(seconds=seconds, **asdict(tally(database, since=instant)))


def _parser() -> ArgumentParser:
    parser = ArgumentParser(prog="python -m tests.benchmarks.drain")
    steps = parser.add_subparsers(dest="step", required=True)
    first = steps.add_parser("enqueue", help="emit and fan out until this many more emails are pending")
    first.add_argument("emails", type=_count, metavar="N")
    steps.add_parser("drain", help="let Celery workers send until nothing is due")
    return parser


def _count(word: str) -> int:
    if not word.isdigit() or not int(word):
        message = f"{word!r} is not a number of emails; expected 1 or more"
        raise ArgumentTypeError(message)
    return int(word)


def _do(asked: Namespace, folder: Path) -> None:
    settings = load(env_file=None)
    with closing(wiring.database(settings)) as database:
        upgrade(database.url)
        if asked.step == "enqueue":
            enqueue(settings, database, emails=asked.emails)
        else:
            drain(settings, database, folder)


def _refuse_unreachable(settings: Settings) -> None:
    """Workers would wait for a broker and a relay indefinitely; a benchmark should fail instead."""
    if settings.smtp_url is None:
        raise NoRelay
    if settings.broker_url is None:
        raise InvalidSettings(wiring.NO_BROKER)
    relay = Relay.from_url(settings.smtp_url.get_secret_value())
    try:
        socket.create_connection((relay.host, relay.port), timeout=ANSWER_SECONDS).close()
    except OSError as error:
        raise Unreachable(relay=relay.name, error=str(error)) from None
    with wiring.celery_app(settings).connection(connect_timeout=ANSWER_SECONDS) as broker:
        try:
            broker.ensure_connection(max_retries=1, interval_start=0)
        except BrokerAway as error:
            raise Unreachable(broker=broker.as_uri(), error=str(error)) from None


def _await_go() -> None:
    _say(READY)
    if not sys.stdin.readline():
        raise NobodySaidGo


def _say(word: str) -> None:
    print(word, flush=True)  # noqa: T201 - what the harness reads


def _note(**facts: object) -> None:
    sys.stderr.write(dumps(facts, default=str) + "\n")


def _leave(number: int, _: object) -> NoReturn:
    """Exit normally, which stops the workers."""
    sys.exit(128 + number)
