"""The drain compared with django-post_office, the best of the usual outboxes, tuned as its documentation advises."""

import json
import sys
from collections.abc import Iterator
from operator import attrgetter
from os import environ
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired, run

from notify.domain.errors import NotifyError
from tests.benchmarks.bench import Bench
from tests.benchmarks.benchmark_servers import BenchmarkServers
from tests.benchmarks.drained import Drained, Miscounted, drained
from tests.benchmarks.measures.builder import WRITTEN_BY_MIME
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.race import Finish, race
from tests.benchmarks.rows import Row, at_least, at_most
from tests.benchmarks.sample_emails import ready_bytes
from tests.benchmarks.sink import Sink, sink
from tests.support.messages import parsed, text_of
from tests.support.servers import new_database

PACKAGES = ("django-post_office", "psycopg[binary]")
SCRIPT = ROOT / "tests" / "benchmarks" / "peers" / "tuned_post_office.py"
INSTALL_SECONDS = 180
BESIDE = "django-post_office, 2 processes, 8 threads, batch 1,000"
ITS_OWN = frozenset({"from", "to", "subject", "date", "message-id"}) | WRITTEN_BY_MIME


class NotInstalled(NotifyError):
    """django-post_office could not be installed in an environment of its own."""


def measure(bench: Bench) -> Iterator[Row]:
    """Emails a second and processor time per email, with the same text, alternating; the best of each counts."""
    servers, emails = bench.servers, bench.scale.emails
    with sink(servers.folder) as near:
        try:
            python = _installed(servers.folder / "post_office")
        except NotInstalled as missing:
            yield from _rows(bench.near.ours, None, near, skipped=str(missing))
            return
        turns = [
            (drained(servers, near, emails=emails), _theirs(python, servers, near, emails))
            for _ in range(bench.scale.repeats)
        ]
        drains, finishes = zip(*turns, strict=True)
        yield from _rows(max(drains, key=attrgetter("rate")), min(finishes, key=attrgetter("seconds")), near)


def _rows(ours: Drained, theirs: Finish | None, near: Sink, *, skipped: str = "") -> Iterator[Row]:
    yield Row(
        what="drain, compared with post_office",
        unit="emails/s",
        figure=ours.rate,
        beside=BESIDE,
        other=ours.emails / theirs.seconds if theirs else None,
        goal=at_least(10, best=13),
        note=near.kind,
        skipped=skipped,
    )
    yield Row(
        what="worker CPU per email, compared with post_office",
        unit="µs CPU",
        figure=ours.cpu_microseconds,
        beside=BESIDE,
        other=theirs.cpu_seconds / ours.emails * 1e6 if theirs else None,
        goal=at_most(1 / 10, best=1 / 14),
        skipped=skipped,
    )


def _theirs(python: Path, servers: BenchmarkServers, near: Sink, emails: int) -> Finish:
    """
    Raises:
        Miscounted: The sink has more or fewer.
    """
    message = servers.folder / "message.json"
    message.write_text(json.dumps(_message()), encoding="utf-8")
    before = near.emails()
    with new_database(servers.database_server) as database:
        finish = race([[str(python), str(SCRIPT), database, str(near.port), str(emails), str(message)]])
    taken = near.wait_for(before + emails) - before
    if taken != emails:
        raise Miscounted(sent=emails, taken=taken, sink=near.kind)
    return finish


def _installed(folder: Path) -> Path:
    """
    The interpreter of its own environment; never a part of notify's locks.

    Raises:
        NotInstalled: The packages cannot be downloaded.
    """
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet", "--python", str(python), *PACKAGES]
    for command in ([sys.executable, "-m", "uv", "venv", "--quiet", "--python", sys.executable, str(folder)], install):
        try:
            run(command, check=True, capture_output=True, timeout=INSTALL_SECONDS, env=environ)
        except CalledProcessError as error:
            raise NotInstalled(because=error.stderr.decode(errors="replace").strip()[-300:]) from None
        except TimeoutExpired:
            raise NotInstalled(because=f"not done after {INSTALL_SECONDS} s") from None
    return python


def _message() -> dict[str, object]:
    """The text of one of our emails, and its headers except those that post_office writes."""
    original = parsed(ready_bytes())
    return {
        "subject": str(original["Subject"]),
        "message": text_of(original, "plain"),
        "html_message": text_of(original, "html"),
        "headers": {name: str(value) for name, value in original.items() if name.lower() not in ITS_OWN},
    }
