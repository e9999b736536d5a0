"""
Many statuses under faults: ``python -m tests.faults.statuses_soak --targets 10000``.

Applications publish five updates of each target, while workers are killed and the forge fails, forgets its tokens and
limits the rate. Ends with one table; exit code 1 if a promise was broken.
"""

import os
import sys
from argparse import ArgumentParser
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from secrets import token_hex
from tempfile import TemporaryDirectory
from threading import Event, Thread
from time import monotonic
from typing import Any

import psutil
from rich.console import Console
from rich.table import Table
from sqlalchemy import text

import notify
from notify import wiring
from notify.domain.ports import Doorbell
from notify.embedded.forge.misbehaviour import LOST, Answer
from notify.embedded.forge.server import EmbeddedForge, forging
from notify.embedded.forge.statuses import CallKind, StatusCall
from notify.embedded.postgres import PostgresServer
from notify.embedded.valkey import ValkeyServer
from notify.settings import Settings
from notify.store.database import Database
from notify.store.operations.migrate import upgrade
from notify.wiring import STATUS_BATCH
from tests.support import fork_server
from tests.support.wait import until
from tests.support.worker import RunningWorker, worker

REPOSITORY = "acme/app"
PROCESSES = 2
UPDATES = 5
TARGETS_A_COMMIT = 20
TARGETS_A_TRANSACTION = 20
STATES = {
    "status": ("pending", "success", "failure", "error"),
    "check_run": ("queued", "in_progress", "success", "failure", "timed_out"),
}
# Half of the calls that fail have done what was asked, and the worker cannot know.
FAILING = 0.05
RETRY_LATER = {"retry-after": "1"}
CALLS_A_TARGET = 1.5

LEFT = text("SELECT count(*) FROM notify.commit_statuses WHERE status = 'pending'")
# As if the delays after failed calls had passed; a pause that the forge asks for has its full length.
TIME_PASSES = text("UPDATE notify.work_items SET due_at = now() WHERE stage = 'statuses' AND failures > 0 AND lane < 8")
BELIEVED = text("""
    SELECT context, status, state, applied_state, wanted_version, applied_version, replaced
    FROM notify.commit_statuses""")


@dataclass(frozen=True, slots=True, kw_only=True)
class Trouble:
    """
    What goes wrong.

    Args:
        kill_every: Seconds between two kills; ``expire_every`` between two times that all tokens expire.
        kills: At most so many. A status whose worker dies three times is given up.
        limited: The share of calls that are answered with 403 and ``retry-after``.
        lost: The share of calls that are done, and not answered.
        in_a_hurry: Calls that failed are repeated at once.
    """

    kill_every: float
    kills: int
    expire_every: float
    limited: float
    lost: float
    in_a_hurry: bool = False


LASTING = Trouble(kill_every=5.0, kills=1_000, expire_every=60.0, limited=0.001, lost=0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """Where an application shows something; its last update is in ``states`` last."""

    context: str
    kind: str
    sha: str
    states: Sequence[str]

    def update(self, number: int) -> Mapping[str, Any]:
        return {
            "forge": "github",
            "repository": REPOSITORY,
            "sha": self.sha,
            "context": self.context,
            "kind": self.kind,
            "state": self.states[number],
            "description": f"{number + 1}",
        }


@dataclass(slots=True, kw_only=True)
class Figures:
    """
    One phase in figures.

    Args:
        shown: Different updates that the forge was told of.
        repeated: Calls that told it the same again.
        unheard: Calls that were done, and answered as if not, or not at all.
        refused: Calls that were not done.
        replaced: Updates that were never shown, as notify counts them.
    """

    targets: int
    updates: int = 0
    shown: int = 0
    repeated: int = 0
    unheard: int = 0
    refused: int = 0
    replaced: int = 0
    check_runs: int = 0
    killed: int = 0
    tokens_expired: int = 0
    seconds: float = 0.0
    broken: list[str] = field(default_factory=list)

    @property
    def calls(self) -> int:
        """Calls that were done."""
        return self.shown + self.repeated


class Soak:
    """Applications, a forge and workers; each phase has targets of its own."""

    def __init__(self, database: Database, forge: EmbeddedForge, running: RunningWorker, *, bell: Doorbell) -> None:
        self._database, self._forge, self._running, self._bell = database, forge, running, bell

    def together(self, targets: int, *, seed: int) -> Figures:
        """The five updates of each target come one after the other, within a second, and nothing goes wrong."""
        chosen = self._targets("together", targets, Random(seed))
        figures, began = Figures(targets=targets), monotonic()
        for one in chosen:
            for number in range(UPDATES):
                self._publish([one], number)
        self._settle(Event())
        figures.seconds = monotonic() - began
        self._check(chosen, figures)
        return figures

    def troubled(self, targets: int, *, seed: int, trouble: Trouble) -> Figures:
        """The updates come apart from each other, while everything goes wrong."""
        dice = Random(seed)
        chosen = self._targets("troubled", targets, dice)
        figures, began = Figures(targets=targets), monotonic()
        with self._misbehaving(trouble, figures, seed=seed):
            for number in range(UPDATES):
                dice.shuffle(chosen)
                for part in _parts(chosen):
                    self._publish(part, number)
            self._settle(Event(), in_a_hurry=trouble.in_a_hurry)
        figures.seconds = monotonic() - began
        self._check(chosen, figures)
        return figures

    def _targets(self, phase: str, targets: int, dice: Random) -> list[Target]:
        repository = self._forge.state.add_repository(REPOSITORY)
        commits = [token_hex(20) for _ in range(-(-targets // TARGETS_A_COMMIT))]
        with self._forge.state.lock:
            repository.commits.update(commits)
        kinds = [dice.choice(list(STATES)) for _ in range(targets)]
        return [
            Target(
                context=f"{phase}/{number}",
                kind=kind,
                sha=commits[number // TARGETS_A_COMMIT],
                states=dice.choices(STATES[kind], k=UPDATES),
            )
            for number, kind in enumerate(kinds)
        ]

    def _publish(self, targets: Sequence[Target], number: int) -> None:
        with self._database.begin() as connection:
            for one in targets:
                notify.publish(connection, one.update(number), doorbell=self._bell)

    @contextmanager
    def _misbehaving(self, trouble: Trouble, figures: Figures, *, seed: int) -> Iterator[None]:
        forge = self._forge.rest.misbehaviour
        forge.sometimes("/repos/", answer=Answer(502), rate=FAILING, seed=seed)
        forge.sometimes("/repos/", answer=Answer(502, done=True), rate=FAILING, seed=seed + 1)
        # Not at intervals: they would always hit the same target once it is the last one.
        forge.sometimes("/repos/", answer=Answer(403, headers=RETRY_LATER), rate=trouble.limited, seed=seed + 2)
        forge.sometimes("/repos/", answer=LOST, rate=trouble.lost, seed=seed + 3)
        over = Event()
        threads = [
            Thread(target=self._kill, args=(over, trouble, figures, Random(seed))),
            Thread(target=self._expire, args=(over, trouble.expire_every, figures)),
        ]
        for one in threads:
            one.start()
        try:
            yield
        finally:
            over.set()
            for one in threads:
                one.join()
            self._forge.rest.behave()

    def _kill(self, over: Event, trouble: Trouble, figures: Figures, dice: Random) -> None:
        """Kill a process, and the next one after its parent has replaced it."""
        while figures.killed < trouble.kills and not over.wait(trouble.kill_every):
            with suppress(psutil.NoSuchProcess):
                psutil.Process(dice.choice(self._running.children)).kill()
                figures.killed += 1
            until(lambda: over.is_set() or len(self._running.children) == PROCESSES, seconds=60)

    def _expire(self, over: Event, every: float, figures: Figures) -> None:
        while not over.wait(every):
            self._forge.rest.expire_tokens()
            figures.tokens_expired += 1

    def _settle(self, pause: Event, *, in_a_hurry: bool = False) -> None:
        """Return when every target is at its end; ``_check`` names those that are at a wrong one."""

        def is_over() -> bool:
            pause.wait(0.1)
            with self._database.begin() as connection:
                if in_a_hurry:
                    connection.execute(TIME_PASSES)
                return not connection.scalar(LEFT)

        until(is_over, seconds=1_800)

    def _check(self, targets: Sequence[Target], figures: Figures) -> None:
        """Compare what was wanted, what the forge shows and what notify believes."""
        with self._database.begin() as connection:
            believed = {row.context: row._asdict() for row in connection.execute(BELIEVED)}
        state = self._forge.state
        repository = state.repository(REPOSITORY).id
        runs = Counter(run.name for sha in {one.sha for one in targets} for run in state.statuses.runs(repository, sha))
        for one in targets:
            told, row = state.statuses.of(repository, one.sha, one.context), believed[one.context]
            figures.broken += [f"{one.context}: {fault}" for fault in _faults(one, told, row, runs[one.context])]
            different = len({_number(call) for call in told})
            figures.shown += different
            figures.repeated += len(told) - different
            figures.replaced += row["replaced"]
        figures.updates = UPDATES * len(targets)
        figures.check_runs = sum(runs.values())
        self._check_sums(figures)

    def _check_sums(self, figures: Figures) -> None:
        """
        An update that was shown, of which the worker did not hear, and then replaced counts as replaced.

        A killed process can have that many calls of which nobody knows.
        """
        answers = [status for method, path, status in self._forge.rest.calls if _shows(method, path)]
        self._forge.rest.calls.clear()
        done = sum(200 <= status < 300 for status in answers)
        figures.unheard = figures.calls - done
        figures.refused = len(answers) - figures.calls
        unknown = figures.unheard + figures.killed * STATUS_BATCH
        if figures.repeated > unknown:
            figures.broken.append(f"{figures.repeated} calls were repeated, {unknown} at most had a reason")
        never_shown = figures.updates - figures.shown
        if not never_shown <= figures.replaced <= never_shown + unknown:
            figures.broken.append(f"{never_shown} updates were never shown, {figures.replaced} counted")


def _parts(targets: Sequence[Target]) -> Iterator[Sequence[Target]]:
    for first in range(0, len(targets), TARGETS_A_TRANSACTION):
        yield targets[first : first + TARGETS_A_TRANSACTION]


def _shows(method: str, path: str) -> bool:
    """Whether this is a call that sets a status, or creates or updates a check run."""
    return method in {"POST", "PATCH"} and ("/statuses/" in path or "/check-runs" in path)


def _number(call: StatusCall) -> int:
    """Which update of its target the forge was told of."""
    described = call.given["description"] if call.kind is CallKind.STATUS else call.given["output"]["title"]
    return int(described)


def _faults(target: Target, told: Sequence[StatusCall], believed: Mapping[str, Any], runs: int) -> Iterator[str]:
    numbers, last = [_number(call) for call in told], target.states[-1]
    if not told or (numbers[-1], told[-1].state) != (UPDATES, last):
        yield f"shows {told[-1].state if told else None}, wanted {last}"
    if numbers != sorted(numbers):
        yield f"an older update came after a newer one: {numbers}"
    if runs != (target.kind == "check_run"):
        yield f"{runs} check runs"
    versions = believed["wanted_version"], believed["applied_version"]
    if (believed["status"], believed["applied_state"], *versions) != ("applied", last, UPDATES, UPDATES):
        yield f"is believed to be {believed}"


@contextmanager
def soak(
    database: Database, environment: Mapping[str, str], folder: Path, *, broker: str, lease_seconds: int
) -> Iterator[Soak]:
    """
    A forge and a worker with two processes, serving.

    Args:
        environment: Of the worker, complete but for the forge.
    """
    with forging(folder / "forge", webhook_url=None) as forge:
        settings = {
            **environment,
            "NOTIFY_FORGES_FILE": str(forge.configuration),
            "NOTIFY_LEASE_SECONDS": str(lease_seconds),
            "NOTIFY_SWEEP_SECONDS": "0.5",
        }
        bell = wiring.doorbell(Settings(broker_url=broker))
        with worker(settings, folder, processes=PROCESSES, start=fork_server.spawn) as running:
            running.wait_until_serving()
            yield Soak(database, forge, running, bell=bell)


def report(phases: Mapping[str, Figures], *, seed: int) -> Table:
    """Both phases as one table."""
    table = Table(title=f"{os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}, seed {seed}")
    table.add_column("what")
    for phase in phases:
        table.add_column(phase, justify="right")
    rows = [{**asdict(one), "calls": one.calls, "broken": len(one.broken)} for one in phases.values()]
    for name in rows[0]:
        figures = [row[name] for row in rows]
        table.add_row(name.replace("_", " "), *(f"{one:,.0f}" for one in figures))
    return table


def main() -> int:
    """Soak as the arguments say; the exit code."""
    parser = ArgumentParser(prog="python -m tests.faults.statuses_soak", description=__doc__)
    parser.add_argument("--targets", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    console = Console()
    with TemporaryDirectory(prefix="notify-statuses-") as folder, ExitStack() as stack:
        postgres = stack.enter_context(PostgresServer(Path(folder, "database")))
        broker = stack.enter_context(ValkeyServer(Path(folder, "broker")))
        upgrade(postgres.url)
        database = Database(postgres.url)
        stack.callback(database.close)
        environment = {
            **{name: value for name, value in os.environ.items() if not name.startswith("NOTIFY_")},
            "NOTIFY_DATABASE_URL": postgres.url,
            "NOTIFY_BROKER_URL": broker.url,
            "NOTIFY_SECRET_KEYS": "k" * 32,
        }
        made = stack.enter_context(soak(database, environment, Path(folder), broker=broker.url, lease_seconds=5))
        phases = {"troubled": made.troubled(asked.targets, seed=asked.seed, trouble=LASTING)}
        console.print(report(phases, seed=asked.seed))
        phases["together"] = made.together(asked.targets, seed=asked.seed)
    console.print(report(phases, seed=asked.seed))
    broken = [line for one in phases.values() for line in one.broken]
    if phases["together"].calls > CALLS_A_TARGET * asked.targets:
        broken.append(f"the five updates cost more than {CALLS_A_TARGET} calls a target")
    for line in broken[:50]:
        console.print(line, style="red", markup=False)
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
