"""Delivery: whether there are workers, whether emails leave in time, and why they die."""

from collections.abc import Iterator, Mapping, Sequence
from shlex import quote
from types import MappingProxyType

from notify.cli.checks import Finding
from notify.cli.connect import Deployment
from notify.cli.output import duration
from notify.domain.measures import Role
from notify.domain.outcomes import INTERNAL_ERROR, POISON, UNKNOWN_TOPIC, UNKNOWN_TYPE, EventStatus
from notify.domain.stages import DELIVER, FAN_OUT, HEADS, INBOX, RECONCILE, STATUSES, WEBHOOKS, queue
from notify.domain.waves import Wave, wave
from notify.store.operations import gauges, process_totals
from notify.store.operations.gauges import Gauges
from notify.store.outbox import event_list
from notify.store.outbox.event_list import EventFilter
from notify.wiring import STAGES

LONGEST_WAIT_SECONDS = 120
NAMED = 3
WAITING = {kind.name: kind.waiting for kind in STAGES}
# How what is dead in a stage is retried.
RETRIES: Mapping[str, str] = MappingProxyType(
    {
        FAN_OUT: "notify events retry --reason {reason}",
        DELIVER: "notify jobs retry --reason {reason}",
        INBOX: "notify forges deliveries replay ID",
        RECONCILE: "notify forges rebuild NAME",
        STATUSES: "notify statuses retry --reason {reason}",
        HEADS: "push a commit, which is validated by itself",
        WEBHOOKS: "notify webhooks retry --endpoint NAME",
    }
)
UNTOLD: Mapping[str, str] = MappingProxyType(
    {STATUSES: "Commits do not show it.", WEBHOOKS: "Their endpoints were not told."}
)
# For reasons that are the fault of notify or its deployment: what to do before a retry.
FIXES: Mapping[str, str] = MappingProxyType(
    {
        POISON: "see in the workers' log how they ended, and look at the event's comment",
        "template_error": "correct the template (notify preview)",
        INTERNAL_ERROR: "report the trace in the workers' log",
        UNKNOWN_TOPIC: "notify cls put LINK --author NAME --reviewer NAME",
        UNKNOWN_TYPE: "notify migrate, if the event type is new",
    }
)


def delivery(deployment: Deployment) -> Sequence[Finding]:
    with deployment.database.begin() as connection:
        stages, seen = gauges.read(connection, tuple(WAITING)), process_totals.alive(connection)
        ended = gauges.recently_ended(connection)
    return [*_workers(stages, seen), *_waits(stages), _wave(wave(ended)), *_deaths(stages)]


def unknown_change_lists(deployment: Deployment) -> Sequence[Finding]:
    """Events that wait until the directory knows their change list."""
    wanted = EventFilter(status=EventStatus.PENDING, reason=UNKNOWN_TOPIC)
    with deployment.database.begin() as connection:
        waiting = event_list.newest(connection, wanted, limit=NAMED + 1)
    about, why = "change lists", "Nobody is told of these events; after an hour of attempts they are dead."
    if not waiting:
        return [Finding(about, True, "no event waits for one that is unknown", why, "")]
    named = ", ".join(f"{one.key} for {one.topic}" for one in waiting[:NAMED])
    more = " and more" if len(waiting) > NAMED else ""
    found = f"the directory does not know a change list: event {named}{more} waits"
    put = f"notify cls put {quote(waiting[0].topic)} --author NAME --reviewer NAME"
    fix = f"{put}; notify events retry --reason {UNKNOWN_TOPIC}"
    return [Finding(about, False, found, why, fix)]


def _workers(stages: Mapping[str, Gauges], seen: Mapping[str, int]) -> Iterator[Finding]:
    workers, due = seen.get(Role.WORKER, 0), sum(numbers.due for numbers in stages.values())
    queues = ",".join(map(queue, WAITING))
    words = f"{workers} worker processes, {due:,} items due"
    fix = f"python -m notify.worker --queues {queues},notify.upkeep -E"
    yield Finding("workers", workers > 0 or due == 0, words, "Without workers nothing is sent.", fix)


def _waits(stages: Mapping[str, Gauges]) -> Iterator[Finding]:
    for stage, numbers in stages.items():
        waited = numbers.oldest_due_seconds
        found = f"{numbers.due:,} {WAITING[stage]}, the oldest for {duration(waited)}" if numbers.due else "nothing due"
        why = "Workers are missing or busy, or the relay refuses or limits emails (notify relays list)."
        fix = "start workers, or fix the other findings"
        yield Finding(f"queue {stage}", waited < LONGEST_WAIT_SECONDS, found, why, fix)


def _wave(found: Wave | None) -> Finding:
    why = "The emails are seldom at fault: more will die until the cause is fixed."
    if found is None:
        return Finding("wave of deaths", True, "recent emails did not die of one common reason", why, "")
    fix = f"{found.listing}; fix the cause; then notify jobs retry --reason {found.deaths.reason}"
    return Finding("wave of deaths", False, found.in_words, why, fix)


def _deaths(stages: Mapping[str, Gauges]) -> Iterator[Finding]:
    for stage, numbers in stages.items():
        for reason in sorted(numbers.dead_last_day.keys() & FIXES.keys()):
            words = f"{numbers.dead_last_day[reason]:,} died of {reason} within a day"
            retry = RETRIES[stage].format(reason=reason)
            why = UNTOLD.get(stage, "The people concerned were not told.")
            yield Finding(f"dead in {stage}", False, words, why, f"{FIXES[reason]}; then {retry}")
