"""How many heads are validated a second, compared with a plain script, and how soon a broken one is told."""

import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from time import monotonic, perf_counter, sleep
from uuid import uuid4

import psutil
from sqlalchemy import text

from notify import wiring
from notify.domain.errors import NotifyError
from notify.domain.stages import HEADS
from notify.doorbell import NoDoorbell
from notify.heads.stage import THREADS
from tests.benchmarks.bench import Bench
from tests.benchmarks.build_service import Ends, build_service
from tests.benchmarks.head_fleet import PROCESSES, HeadFleet, head_fleet, is_broken, verdicts
from tests.benchmarks.measures.latency import PAUSE_SECONDS, p99
from tests.benchmarks.meter import family_seconds
from tests.benchmarks.paused_workers import ROOT
from tests.benchmarks.peers.race import Finish, race
from tests.benchmarks.repositories import GREEN, repositories
from tests.benchmarks.rows import Row, at_most
from tests.support.statements import statements
from tests.support.wait import until

QUEUES = 50
COUNTED, IDLE = "counted", "idle"
COUNTED_HEADS = 10
# Of each queue: connections, statements and mirrors are made at the first ones.
WARM_UP = 1
MOST_IDLE_HEADS = 60
# Of so many heads that are pushed at once, one more is pushed when the one before it is at its end.
ONE_BY_ONE_OF = 5
# From the runner's answer to the relay's.
LATEST_MS = 2_000
BROKEN = "failure"
PLAIN = ROOT / "tests" / "benchmarks" / "peers" / "plain_heads.py"
HOLD = text("UPDATE notify.work_items SET due_at = due_at + interval '1 day' WHERE stage = 'heads'")
RELEASE = text("UPDATE notify.work_items SET due_at = due_at - interval '1 day' WHERE stage = 'heads'")
ENDS = text("""
    SELECT (SELECT count(*) FROM notify.requests WHERE state IN ('succeeded', 'failed') AND NOT forced) AS validated,
        (SELECT count(*) FROM notify.requests WHERE state = 'superseded') AS superseded,
        (SELECT count(*) FROM notify.requests) AS requests,
        (SELECT count(*) FROM notify.facts WHERE project = '') AS facts,
        (SELECT count(*) FROM notify.facts WHERE project = '' AND degree = 1) AS broken,
        (SELECT count(*) FROM notify.events WHERE type = 'queue.head.broken') AS broken_events,
        (SELECT count(*) FROM notify.commit_statuses WHERE applied_state = 'failure') AS shown_as_broken,
        (SELECT count(*) FROM notify.commit_statuses WHERE applied_version = wanted_version) AS shown,
        (SELECT count(*) FROM notify.notifications WHERE decision = 'told') AS told,
        (SELECT coalesce(sum(in_flight_count), 0) FROM notify.queues) AS slots,
        (SELECT count(*) FROM notify.work_items WHERE stage <> 'reconcile') AS items""")
LAST_GREEN = text("SELECT name, right(last_green_uri, 40) AS sha FROM notify.queues")


class WrongEnd(NotifyError):
    """Something is not as it must be once all heads are validated."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Drained:
    """A drain of so many requests; processor seconds of the workers, of the git that they ran, and of PostgreSQL."""

    requests: int
    seconds: float
    worker_seconds: float
    git_seconds: float
    server_seconds: float


@dataclass(slots=True)
class Expected:
    """The numbers of the heads of each queue that must have been validated by now, and how many were superseded."""

    validated: dict[str, list[int]] = field(default_factory=dict)
    superseded: int = 0

    def validate(self, names: Sequence[str], numbers: Sequence[int]) -> None:
        for name in names:
            self.validated.setdefault(name, []).extend(numbers)


def measure(bench: Bench) -> Iterator[Row]:
    """One head after another on each queue; then many at once; then idle, one at a time."""
    at_a_time, samples = bench.scale.heads // QUEUES, min(bench.scale.samples, MOST_IDLE_HEADS)
    each = at_a_time // ONE_BY_ONE_OF
    names = [f"queue-{number:02}" for number in range(QUEUES)]
    ends = {name: (Ends.AT_ONCE, Ends.TOLD)[number % 2] for number, name in enumerate(names)}
    others = {COUNTED: Ends.AT_ONCE, IDLE: Ends.WHEN_ASKED}
    commits = max(WARM_UP + each + at_a_time, COUNTED_HEADS, 2 * samples)
    with head_fleet(bench.servers, {**ends, **others}, commits=commits) as fleet:
        expected = Expected()
        sent = _statements(fleet, expected)
        with fleet.workers() as running:
            fleet.follow(names, heads=WARM_UP)
            one_by_one = _drained(bench, running.process.pid, each, lambda: fleet.follow(names, heads=each))
        expected.validate(names, range(WARM_UP + each))
        _check(fleet, expected)
        yield from _one_by_one(one_by_one, _plain(bench, fleet, heads=each), sent=sent)
        _push_at_once(fleet, names, heads=at_a_time)
        with fleet.workers() as running:
            at_once = _drained(bench, running.process.pid, at_a_time, lambda: _release(fleet))
            expected.superseded += QUEUES * (at_a_time - 1)
            expected.validate(names, [WARM_UP + each + at_a_time - 1])
            _check(fleet, expected)
            yield Row(
                what="heads pushed at once, of which each queue's last is validated",
                unit="heads/s",
                figure=at_once.requests / at_once.seconds,
                note=f"{at_once.requests:,} over {QUEUES} queues",
            )
            yield from _idle(fleet, samples)


def _one_by_one(one_by_one: Drained, plain: Finish, *, sent: float) -> Iterator[Row]:
    beside = "plain script: git, runner and forge"
    each = 1e3 / one_by_one.requests
    yield Row(
        what="heads validated, one after another on each queue",
        unit="heads/s",
        figure=one_by_one.requests / one_by_one.seconds,
        beside=beside,
        other=one_by_one.requests / plain.seconds,
        note=f"{one_by_one.requests:,} over {QUEUES} queues, {PROCESSES} processes; half of the builds are told",
    )
    yield Row(
        what="workers' CPU per head, git's included",
        unit="ms CPU",
        figure=(one_by_one.worker_seconds + one_by_one.git_seconds) * each,
        beside=beside,
        other=plain.cpu_seconds * each,
        note=f"git's {one_by_one.git_seconds * each:.1f} ms",
    )
    yield Row(what="PostgreSQL's CPU per head", unit="ms CPU", figure=one_by_one.server_seconds * each)
    yield Row(what="statements per head, from ingest to its end", unit="statements", figure=sent)


def _drained(bench: Bench, worker: int, each: int, drain: Callable[[], None]) -> Drained:
    processes = psutil.Process(worker).children()
    before, server = _spent(processes), family_seconds(bench.servers.database_pid)
    began = perf_counter()
    drain()
    seconds, after = perf_counter() - began, _spent(processes)
    return Drained(
        requests=QUEUES * each,
        seconds=seconds,
        worker_seconds=after[0] - before[0],
        git_seconds=after[1] - before[1],
        server_seconds=family_seconds(bench.servers.database_pid) - server,
    )


def _spent(processes: Sequence[psutil.Process]) -> tuple[float, float]:
    """Processor seconds of these, and of the commands that they have waited for."""
    spent = [one.cpu_times() for one in processes]
    return sum(one.user + one.system for one in spent), sum(one.children_user + one.children_system for one in spent)


def _statements(fleet: HeadFleet, expected: Expected) -> float:
    """How many a head costs in the stage, which this process works."""
    stage = wiring.heads(fleet.settings, fleet.database, doorbell=NoDoorbell(), worker=uuid4())
    with statements(fleet.database) as sent:
        for _ in range(COUNTED_HEADS):
            fleet.push([COUNTED])
            stage.drain()
    stage.stop()
    expected.validate([COUNTED], range(COUNTED_HEADS))
    return len(sent) / COUNTED_HEADS - 1  # make_due, which the push costs


def _check(fleet: HeadFleet, expected: Expected) -> None:
    """
    Each request is at its one end, with one fact, shown and told; no slot is taken, and the green refs are right.

    Raises:
        WrongEnd: Something else is the case.
    """
    with fleet.database.begin() as connection:
        found = dict(connection.execute(ENDS).mappings().one())
        green = {row.name: row.sha for row in connection.execute(LAST_GREEN)}
    emails = fleet.sink.wait_for(found["told"])
    numbers = list(chain.from_iterable(expected.validated.values()))
    broken, requests = sum(map(is_broken, numbers)), len(numbers) + expected.superseded
    wanted = {
        "validated": len(numbers),
        "superseded": expected.superseded,
        "requests": requests,
        "facts": len(numbers),
        "broken": broken,
        "broken_events": broken,
        "shown_as_broken": broken,
        "shown": requests,
        "told": emails,
        "slots": 0,
        "items": 0,
    }
    wrong = {name: (found[name], number) for name, number in wanted.items() if found[name] != number}
    for name, known in expected.validated.items():
        remote, newest = fleet.remotes[name], max(number for number in known if not is_broken(number))
        if not remote.ref(GREEN) == green[name] == remote.commits[newest]:
            wrong[name] = (remote.ref(GREEN), green[name])
    if wrong:
        raise WrongEnd(**wrong)


def _plain(bench: Bench, fleet: HeadFleet, *, heads: int) -> Finish:
    """The same by a plain script on repositories of its own, in as many processes and threads."""
    names = [f"plain-{number:02}" for number in range(QUEUES)]
    with TemporaryDirectory(dir=bench.servers.folder) as name:
        folder = Path(name)
        remotes = repositories(folder, names, commits=heads)
        shas = remotes[names[0]].commits
        (folder / "shas").write_text("\n".join(shas))
        with build_service(dict.fromkeys(names, Ends.AT_ONCE), verdicts(shas)) as service:
            given = [service.url, fleet.forge_url, str(folder / "shas"), str(THREADS)]
            queues = [f"{name}={remotes[name].folder}" for name in names]
            return race([(sys.executable, str(PLAIN), *given, *queues[one::PROCESSES]) for one in range(PROCESSES)])


def _push_at_once(fleet: HeadFleet, names: Sequence[str], *, heads: int) -> None:
    """Push and take in so many heads of each queue, and keep them from the workers."""
    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(lambda name: fleet.take_in(name, heads=heads), names))
    with fleet.database.begin() as connection:
        connection.execute(HOLD)


def _release(fleet: HeadFleet) -> None:
    with fleet.database.begin() as connection:
        connection.execute(RELEASE)
    fleet.bell.ring(HEADS)
    fleet.finish()


def _idle(fleet: HeadFleet, samples: int) -> Iterator[Row]:
    """From a build's end to the relay's answer: told by the runner, and found out by asking it."""
    told = [_told(fleet) for _ in range(samples)]
    asked = [_asked(fleet) for _ in range(samples)]
    for what, times, goal in (
        ("runner tells", told, at_most(LATEST_MS)),
        ("runner is asked: its answer", [one for _, one in asked], at_most(LATEST_MS)),
        ("runner is asked: its build's end", [one for one, _ in asked], None),
    ):
        for name, of in (("median", median), ("p99", p99)):
            yield Row(
                what=f"idle, {what} to 250 of the email, {name}",
                unit="ms",
                figure=of(times),
                goal=goal,
                note=f"{samples} broken heads",
            )


def _told(fleet: HeadFleet) -> float:
    """Milliseconds from the call that reports a build's end to the relay's answer."""
    id_, emails = _started(fleet)
    told_at = monotonic()
    fleet.service.tell(IDLE, id_, BROKEN)
    return (fleet.sink.ask(least=emails + 1).answered_at - told_at) * 1e3


def _asked(fleet: HeadFleet) -> tuple[float, float]:
    """The same from a build's end, of which nobody tells, and from the answer that says so."""
    id_, emails = _started(fleet)
    ended_at = monotonic()
    fleet.service.end(id_, BROKEN)
    mailed_at = fleet.sink.ask(least=emails + 1).answered_at
    answered_at = fleet.service.builds[id_].answered_at
    assert answered_at is not None, "it was told of without having been asked for"
    return (mailed_at - ended_at) * 1e3, (mailed_at - answered_at) * 1e3


def _started(fleet: HeadFleet) -> tuple[str, int]:
    """The build of a new head, once the fleet waits for nothing else; and how many emails there are."""
    fleet.finish()
    fleet.push([IDLE])
    head = fleet.remotes[IDLE].head
    builds = fleet.service.builds
    id_ = until(lambda: next((id_ for id_, one in list(builds.items()) if (one.queue, one.head) == (IDLE, head)), ""))
    until(lambda: builds[id_].is_looked_at)
    sleep(PAUSE_SECONDS)
    return id_, fleet.sink.emails()
