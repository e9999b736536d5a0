"""``notify events``: list events, show what became of one, retry those that wait or are dead, withdraw one."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Annotated

from sqlalchemy import Connection
from typer import Argument, Option, Typer, confirm

from notify.cli.connect import connect
from notify.cli.output import AsJson, Columns, Yes, console, print_facts, print_json, print_records, when
from notify.domain.errors import NoSuchEvent, NotifyError
from notify.domain.outcomes import EventStatus
from notify.domain.stages import FAN_OUT
from notify.intake.withdraw import withdraw as withdraw_event
from notify.store.outbox import event_list, jobs
from notify.store.outbox.event_list import EventFilter, ListedEvent

NEWEST = 3
PAGE = 1_000
COLUMNS: Columns = {
    "key": "key",
    "topic": "topic",
    "status": lambda event: f"{event.status}: {event.reason}" if event.reason else event.status,
    "when": lambda event: when(event.due_at, event.finished_at),
}
PEOPLE_COLUMNS: Columns = {"person": "username", "reason": "reason", "status": "status", "why": "why", "job": "job_id"}

app = Typer(help="List events; see what became of one; retry or withdraw it.", no_args_is_help=True)

Status = Annotated[
    EventStatus | None, Option(metavar="STATUS", help=f"Only events with this status: {', '.join(EventStatus)}.")
]
Reason = Annotated[str | None, Option(help="Only events whose fan-out failed for this reason, such as unknown_topic.")]
Link = Annotated[str | None, Option(help="Only events about this change list, or another topic such as forge:NAME.")]


class NoEventsSelected(NotifyError):
    """Expected keys, --status, --reason or --cl to say which events to retry."""


@app.command("list")
def list_(
    *,
    status: Status = None,
    reason: Reason = None,
    cl: Link = None,
    below: Annotated[int | None, Option(metavar="ID", help="Only ids below this one, for the next page.")] = None,
    limit: Annotated[int, Option(min=1, max=PAGE, help="How many events to list at most.")] = 50,
    as_json: AsJson = False,
) -> None:
    """List events, newest first."""
    wanted = EventFilter(topic=cl, status=status, reason=reason)
    with connect() as deployment, deployment.database.begin() as connection:
        found = event_list.newest(connection, wanted, below=below, limit=limit)
    print_records(found, COLUMNS, empty="no event matches", as_json=as_json)


@app.command()
def show(
    key: Annotated[str, Argument(metavar="KEY", help="The event's key, as `notify events list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """Show one event, and what became of it for each person it concerns."""
    with connect() as deployment, deployment.database.begin() as connection:
        event = jobs.of_event(connection, key)
        if event is None:
            raise no_such_event(connection, key)
        (listed,) = event_list.newest(connection, EventFilter(keys=[key]), limit=1)
    if as_json:
        print_json({**asdict(event), "due_at": listed.due_at})
        return
    facts = {**asdict(event), "due_at": listed.due_at}
    people = facts.pop("people")
    print_facts(facts)
    console.print()
    if people:
        print_records(event.people, PEOPLE_COLUMNS)
    else:
        console.print("nobody has been told of it" if event.finished_at else "not fanned out yet")


@app.command()
def retry(
    keys: Annotated[list[str] | None, Argument(metavar="KEY", help="Keys, as `notify events list` shows them.")] = None,
    *,
    status: Status = None,
    reason: Reason = None,
    cl: Link = None,
    yes: Yes = False,
    as_json: AsJson = False,
) -> None:
    """
    Fan out events now that wait for their next attempt or are dead.

    Events that are done, or have lost their text to retention, stay as they are.
    """
    wanted = EventFilter(keys=keys or None, topic=cl, status=status, reason=reason)
    if wanted == EventFilter():
        raise NoEventsSelected
    with connect() as deployment:
        with deployment.database.begin() as connection:
            selected = _all(connection, wanted)
            unknown = sorted(set(keys or ()) - {one.key for one in selected})
            if unknown:
                raise no_such_event(connection, *unknown)
        if len(selected) > 1 and not yes:
            confirm(f"Retry {len(selected):,} events?", abort=True, err=True)
        done: list[int] = []
        for first in range(0, len(selected), PAGE):
            with deployment.database.begin() as connection:
                done += event_list.retry(connection, [one.id for one in selected[first : first + PAGE]])
            deployment.doorbell.ring(FAN_OUT)
    if as_json:
        retried = set(done)
        print_json({"matched": len(selected), "keys": [one.key for one in selected if one.id in retried]})
    else:
        console.print(f"retried {len(done):,} of {len(selected):,} matching events")


@app.command()
def withdraw(
    key: Annotated[str, Argument(metavar="KEY", help="The event's key, as `notify events list` shows it.")],
    *,
    as_json: AsJson = False,
) -> None:
    """
    Withdraw an event: people who have not been told of it yet are not told.

    An email about several events is sent without this one. Emails that are being sent or are sent stay as they are.
    """
    with connect() as deployment, deployment.database.begin() as connection:
        try:
            withdrawn = withdraw_event(connection, key)
        except NoSuchEvent:
            raise no_such_event(connection, key) from None
    if as_json:
        print_json(withdrawn)
    elif withdrawn.people:
        print_records(withdrawn.people, {name: PEOPLE_COLUMNS[name] for name in ("person", "reason", "status", "why")})
    else:
        console.print("withdrawn; nobody had been told of it")


def no_such_event(connection: Connection, *keys: str) -> NoSuchEvent:
    """The error that names the newest events beside the keys that are unknown."""
    newest = event_list.newest(connection, EventFilter(), limit=NEWEST)
    return NoSuchEvent(key=", ".join(keys), newest=", ".join(one.key for one in newest) or "none")


def _all(connection: Connection, wanted: EventFilter) -> Sequence[ListedEvent]:
    """Every event that may be retried among these."""
    found: list[ListedEvent] = []
    while page := event_list.newest(connection, wanted, below=found[-1].id if found else None, limit=PAGE):
        found += page
    return found
