"""Delivery: whether there are workers, whether emails leave in time, and what they die of."""

from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType

from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.domain.measures import Role
from notify.domain.outcomes import INTERNAL_ERROR, POISON, UNKNOWN_TOPIC, UNKNOWN_TYPE
from notify.domain.stages import queue
from notify.domain.waves import Wave, wave
from notify.store.operations import gauges, process_totals
from notify.store.operations.gauges import Gauges
from notify.wiring import STAGES

LONGEST_WAIT_SECONDS = 120
WAITING = {kind.name: kind.waiting for kind in STAGES}
# Reasons that are notify's fault or its deployment's, not the relay's or the reader's.
OURS: Mapping[str, str] = MappingProxyType(
    {
        POISON: "look at how the workers ended and at the event's comment; then notify jobs retry --reason poison",
        "template_error": "correct the template (notify preview); then notify jobs retry --reason template_error",
        INTERNAL_ERROR: "report the trace in the workers' log; then notify jobs retry --reason internal_error",
        UNKNOWN_TOPIC: "state author or reviewers with the event, or by PUT /api/v1/cls/{link}, and emit it again",
        UNKNOWN_TYPE: "emit events of types that are known",
    }
)


def delivery(deployment: Deployment) -> Sequence[Finding]:
    with deployment.database.begin() as connection:
        stages, seen = gauges.read(connection, tuple(WAITING)), process_totals.alive(connection)
        ended = gauges.ended_of_late(connection)
    return [*_workers(stages, seen), *_waits(stages), _wave(wave(ended)), *_deaths(stages)]


def _workers(stages: Mapping[str, Gauges], seen: Mapping[str, int]) -> Iterator[Finding]:
    workers, due = seen.get(Role.WORKER, 0), sum(numbers.due for numbers in stages.values())
    queues = ",".join(map(queue, WAITING))
    words = f"{workers} processes seen within a minute, {due:,} rows are due"
    fix = f"python -m notify.worker --queues {queues},notify.upkeep -E"
    yield Finding("workers", workers > 0 or due == 0, words, "Nobody else sends emails.", fix)


def _waits(stages: Mapping[str, Gauges]) -> Iterator[Finding]:
    for stage, numbers in stages.items():
        waited = numbers.oldest_due_seconds
        words = f"{numbers.due:,} {WAITING[stage]}, the oldest for {waited:,.0f} s"
        why = "No worker takes them, or the relay does not, or its rate leaves no room (notify relays list)."
        fix = "start workers, or fix what else is named here"
        yield Finding(f"queue {stage}", waited < LONGEST_WAIT_SECONDS, words, why, fix)


def _wave(found: Wave | None) -> Finding:
    why = "It is seldom the emails' own fault: the next ones will die too, until the cause is fixed."
    if found is None:
        return Finding("wave of deaths", True, "most emails of the last minutes did not die of one reason", why, "")
    fix = f"{found.listing}; fix the cause; then notify jobs retry --reason {found.deaths.reason}"
    return Finding("wave of deaths", False, found.in_words, why, fix)


def _deaths(stages: Mapping[str, Gauges]) -> Iterator[Finding]:
    for stage, numbers in stages.items():
        for reason in sorted(numbers.dead_last_day.keys() & OURS.keys()):
            words = f"{numbers.dead_last_day[reason]:,} ended as dead by {reason} within a day"
            yield Finding(f"dead in {stage}", False, words, "The people they were for were not told.", OURS[reason])
